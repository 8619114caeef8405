"""One job, called: `run` and `make_context`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from faktory import App, ConfigurationError, Discard, InvalidJob, Job, JobContext, Retry
from faktory.testing import assert_enqueued, capture, make_context, run

app = App("tcp://never.invalid:7419")


class Database:
    def __init__(self) -> None:
        self.rows: list[Any] = []


app.manage(Database, Database)


@app.use
def around(ctx: JobContext, call_next: Any) -> Any:
    ctx.get(Database).rows.append(ctx.jid)
    return call_next()


@app.job(queue="mail", retry=3)
def welcome(ctx: JobContext, when: datetime) -> str:
    helper.enqueue()
    return f"{ctx.attempt} {when.isoformat()} {ctx.is_last_attempt}"


@app.job
def helper(mood: str = "") -> str:
    if mood == "again":
        raise Retry(in_=60)
    if mood == "never mind":
        raise Discard
    if mood:
        raise KeyError(mood)
    return "done"


def test_run_goes_the_whole_way_and_returns_what_the_function_does() -> None:
    with capture():
        assert run(welcome, datetime(2030, 1, 2, tzinfo=UTC)) == "1 2030-01-02T00:00:00+00:00 False"
        assert len(app.managed.get(Database).rows) == 1
    assert not app.managed.is_made(Database)
    run(helper)
    assert not app.managed.is_made(Database)
    with pytest.raises(InvalidJob, match=r"args\[0\]"):
        run(welcome, "no time")  # type: ignore[call-overload]
    with pytest.raises(KeyError, match="wrong"):
        run(helper, "wrong")
    assert run(helper, "never mind") is None


def test_what_a_run_job_pushes_goes_where_the_test_says_or_nowhere() -> None:
    assert run(helper, "again") is None
    with capture() as jobs:
        run(welcome, datetime(2030, 1, 2, tzinfo=UTC))
        run(helper, "again")
        assert_enqueued(helper, times=2)
        assert_enqueued(helper, "again", at=60)
        assert jobs.of(welcome) == []


def test_run_runs_async_jobs_also_where_a_loop_runs() -> None:
    @app.job
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        if number < 0:
            raise ValueError(number)
        return 2 * number

    async def test() -> int:
        with pytest.raises(ValueError, match="-1"):
            run(double, -1)
        return run(double, 4)

    assert run(double, 3) == 6
    assert asyncio.run(test()) == 8


def test_a_plain_call_takes_a_context_of_the_tests_making() -> None:
    ctx = make_context(welcome, attempt=3)
    with capture():
        assert welcome(ctx, datetime(2030, 1, 2, tzinfo=UTC)) == "3 2030-01-02T00:00:00+00:00 False"
    assert (ctx.job.queue, ctx.job.jobtype, ctx.cancelled) == ("mail", "welcome", False)
    ctx.log.info("hello")
    with capture():
        assert make_context(welcome).get(Database) is app.managed.get(Database)
    assert not app.managed.is_made(Database)


@pytest.mark.parametrize("attempt", [1, 2, 3, 26])
@pytest.mark.parametrize("is_last_attempt", [True, False])
def test_a_context_is_of_the_attempt_that_is_asked_for(attempt: int, is_last_attempt: bool) -> None:
    ctx = make_context(welcome, attempt, is_last_attempt)
    assert (ctx.attempt, ctx.is_last_attempt) == (attempt, is_last_attempt)


def test_a_context_can_be_of_any_job() -> None:
    job = Job("plain", [1], queue="low", custom={"a": 1})
    assert make_context(job, attempt=2).job.to_document() | {"retry": 25} == job.to_document()
    assert make_context("plain").job.jobtype == "plain"
    with pytest.raises(ConfigurationError, match="not managed"):
        make_context("plain").get(Database)


def test_a_context_reaches_no_server_that_the_test_has_not_named() -> None:
    ctx = make_context(welcome)
    ctx.progress(50)
    with pytest.raises(ConfigurationError, match="no server"):
        ctx.client.info()
    with capture() as jobs:
        ctx = make_context(welcome)
        ctx.progress(50)
        ctx.client.push(Job("plain"))
        assert jobs.one().jobtype == "plain"
