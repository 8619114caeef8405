"""Jobs captured and run inline: `capture`, `inline`, and the assertions on them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from faktory import App, Client, ConfigurationError, ConsumerBuilder, Discard, Job, JobContext, Retry
from faktory.asyncio import Client as AsyncioClient
from faktory.testing import Captured, assert_enqueued, capture, inline, refute_enqueued

app = App("tcp://never.invalid:7419")
ran: list[Any] = []


@app.job(queue="mail", retry=3)
def welcome(ctx: JobContext, user: int, since: datetime | None = None) -> None:
    ran.append((user, since, ctx.attempt))


@app.job
def countdown(number: int) -> None:
    ran.append(number)
    if number:
        countdown.enqueue(number - 1)


@app.job
def endless() -> None:
    endless.enqueue()


@app.job(retry_on=(OSError,), discard_on=(KeyError,))
def moody(mood: str) -> None:
    ran.append(mood)
    if mood == "again":
        raise Retry(in_=60)
    if mood == "never mind":
        raise Discard("too old")
    if mood == "broken pipe":
        raise BrokenPipeError
    if mood == "no key":
        raise KeyError(mood)
    if mood == "wrong":
        raise ZeroDivisionError(mood)


@app.job
async def fetch(url: str) -> None:
    await asyncio.sleep(0)
    ran.append(url)


@app.job
def hang(event: bool) -> None:
    if event:
        threading.Event().wait(30)
    while True:
        try:
            time.sleep(0.001)
        except Exception:
            ran.append("not so fast")


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def test_captured_jobs_are_a_list_and_nothing_is_sent() -> None:
    with capture() as jobs:
        assert jobs == []
        jid = welcome.enqueue(7)
        welcome.enqueue_many([(8,), (9,)])
        countdown.enqueue(1)
        assert (len(jobs), jobs[0].jid, ran) == (4, jid, [])
        assert [job.args for job in jobs.of(welcome)] == [[7], [8], [9]]
        assert jobs.of("countdown").one().args == [1]
        with pytest.raises(AssertionError, match=r"expected one job, got 4:\n  welcome\(7\) queue=mail\n"):
            jobs.one()
        with pytest.raises(AssertionError, match=r"expected one job, got 0$"):
            jobs.of("nobody").one()
        jobs.clear()
        assert jobs == []


def test_what_a_client_pushes_is_captured_too() -> None:
    before = Client("tcp://never.invalid:7419")
    with capture() as jobs:
        before.push(Job("plain", [1], queue="low"))
        app.client.push_bulk(Job("bulk", [number]) for number in range(2_000))
        asyncio.run(AsyncioClient("tcp://never.invalid:1").push(Job("async", [2])))
        assert len(jobs.of("bulk")) == 2_000
        assert [job.queue for job in (jobs.of("plain").one(), jobs.of("async").one())] == ["low", "default"]
    before.close()


def test_what_only_a_server_can_answer_is_refused() -> None:
    with capture():
        with pytest.raises(ConfigurationError, match=r"INFO needs a server, .* captured; use faktory_server"):
            app.client.info()
        with pytest.raises(ConfigurationError, match="no server to connect to while jobs are captured"):
            asyncio.run(_connect())
        with pytest.raises(ConfigurationError, match="no server"):
            ConsumerBuilder().register("a", print).connect("tcp://localhost:1")
        app.client.set_track("a-job-that-tells-how-far-it-is", percent=50)
    with inline(), pytest.raises(ConfigurationError, match="while jobs are run inline"):
        app.client.info()


def test_a_capture_inside_another_takes_the_jobs_and_gives_them_back() -> None:
    with capture() as outer:
        welcome.enqueue(1)
        with pytest.raises(ZeroDivisionError), capture() as inner:
            welcome.enqueue(2)
            raise ZeroDivisionError
        welcome.enqueue(3)
    assert [[job.args for job in jobs] for jobs in (outer, inner)] == [[[1], [3]], [[2]]]


def test_a_drain_runs_what_jobs_push_and_keeps_what_is_for_later() -> None:
    with capture() as jobs:
        countdown.enqueue(5)
        welcome.enqueue_in(60, 7)
        moody.enqueue("again")
        fetch.enqueue("a url")
        assert jobs.drain() == 8
        assert ran == [5, "again", "a url", 4, 3, 2, 1, 0]
        assert [job.jobtype for job in jobs] == ["welcome", "moody"]
        assert jobs.drain() == 0
        jobs.clock.advance(61)
        assert jobs.drain() == 2
        assert ran[-2:] == [(7, None, 1), "again"]
        moody_again = jobs.one()
        assert moody_again.at is not None
        assert timedelta(seconds=55) < moody_again.at - jobs.clock.utcnow() <= timedelta(seconds=60)


def test_a_jobs_exception_ends_the_drain_and_the_rest_stays() -> None:
    with capture() as jobs:
        moody.enqueue("wrong")
        moody.enqueue("never mind")
        with pytest.raises(ZeroDivisionError, match="wrong"):
            jobs.drain()
        assert jobs.one().args == ["never mind"]
        assert jobs.drain() == 1


def test_a_drain_cannot_loop() -> None:
    with capture() as jobs:
        endless.enqueue()
        with pytest.raises(AssertionError, match=r"drain ran 20 jobs, and there are more:\n  endless\(\)"):
            jobs.drain(limit=20)
        assert len(jobs) == 1


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_a_drain_cannot_hang(in_main_thread: bool) -> None:
    errors: list[str] = []

    def drain() -> None:
        with capture() as jobs:
            hang.enqueue(event=in_main_thread)  # a wait in C is cut short in the main thread alone
            with pytest.raises(AssertionError, match=r"drain did not end within 0.05 s, 1 jobs were begun"):
                jobs.drain(timeout=0.05)
            errors.append("raised")

    if in_main_thread:
        drain()
    else:
        thread = threading.Thread(target=drain)
        thread.start()
        thread.join(10)
    assert errors == ["raised"]


def test_a_plain_job_that_nobody_here_can_run_is_told() -> None:
    with capture() as jobs:
        app.client.push(Job("plain"))
        with pytest.raises(ConfigurationError, match=r"'plain' was pushed by a Client, .* faktory_worker\(builder\)"):
            jobs.drain()
    with inline(), pytest.raises(ConfigurationError, match="pushed by a Client"):
        app.client.push(Job("plain"))


def test_managed_values_end_with_the_block() -> None:
    class Database:
        def close(self) -> None:
            ran.append("closed")

    shop = App()
    shop.manage(Database, Database)

    @shop.job
    def sell(ctx: JobContext) -> None:
        ctx.get(Database)

    with capture() as jobs:
        sell.enqueue()
        jobs.drain()
        assert ran == []
    assert ran == ["closed"]


# -- inline -----------------------------------------------------------------------------------------------------------


def test_inline_runs_through_json_conversion_and_middleware() -> None:
    shop = App()
    order: list[Any] = []

    @shop.use
    def around(ctx: JobContext, call_next: Any) -> Any:
        order.append(f"before {ctx.job.jobtype}")
        return call_next()

    @shop.job
    def first(when: datetime) -> None:
        order.append(when)
        second.enqueue()
        order.append("end of first")

    @shop.job
    async def second() -> None:
        order.append("second")

    when = datetime(2030, 1, 2, tzinfo=UTC)
    with inline() as jobs:
        first.enqueue(when)
        assert jobs == []
    assert order == ["before first", when, "end of first", "before second", "second"]


def test_inline_keeps_what_is_for_later() -> None:
    with inline() as jobs:
        welcome.enqueue_in(3600, 7)
        moody.enqueue("again")
        moody.enqueue("broken pipe")
        assert [job.jobtype for job in jobs] == ["welcome", "moody", "moody"]
        assert ran == ["again", "broken pipe"]
        jobs.clock.advance(3601)
        jobs.drain(timeout=5)
        assert ran[2:] == [(7, None, 1), "again", "broken pipe"]


def test_inline_lets_failures_reach_the_caller_and_discards_not() -> None:
    with inline():
        moody.enqueue("never mind")
        moody.enqueue("no key")
        with pytest.raises(ZeroDivisionError):
            moody.enqueue("wrong")


async def _connect() -> None:
    await app.consumer().connect_asyncio()


async def _in_a_loop() -> None:
    fetch.enqueue("one")
    await fetch.aenqueue("two")


def test_inline_runs_async_jobs_where_a_loop_runs() -> None:
    with inline():
        asyncio.run(_in_a_loop())
    assert ran == ["one", "two"]


def test_inline_takes_a_long_chain() -> None:
    with inline():
        countdown.enqueue(900)
    assert len(ran) == 901


# -- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told_that_its_jobs_would_not_be_seen() -> None:
    with capture() as jobs:
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                welcome.enqueue(1)
            except ConfigurationError as exc:
                os.write(write, str(exc).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            told = pipe.read().decode()
        os.waitpid(pid, 0)
        assert "pushed in a child process" in told
        assert "use faktory_server" in told
        assert jobs == []


# -- assertions -------------------------------------------------------------------------------------------------------


def test_enqueued_jobs_are_found_by_what_they_are() -> None:
    since = datetime(2030, 1, 2, tzinfo=UTC)
    with capture():
        welcome.enqueue(7)
        welcome.using(queue="low").enqueue(8)
        welcome.enqueue_in(60, 9)
        countdown.enqueue_at(since, 3)
        countdown.enqueue_at(since, 3)
        app.client.push(Job("plain", [1, "a"]))
        assert_enqueued(welcome, 7)
        assert_enqueued(welcome, 7, queue="mail", at=None)
        assert_enqueued(welcome, 8, queue="low")
        assert_enqueued(welcome, 9, at=60)
        assert_enqueued(welcome, 9, at=timedelta(minutes=1))
        assert_enqueued(countdown, 3, at=since, times=2)
        assert_enqueued(welcome, times=3)
        assert_enqueued("plain", 1, "a")
        assert_enqueued("plain")
        assert_enqueued(moody, times=0)
        refute_enqueued(moody)
        refute_enqueued("nobody")


def test_a_failed_assertion_shows_the_nearest_misses() -> None:
    with capture() as jobs:
        with pytest.raises(AssertionError, match=r"^expected 1 job welcome\(7\), got none; nothing was enqueued$"):
            assert_enqueued(welcome, 7)
        countdown.enqueue(1)
        welcome.enqueue(8)
        welcome.using(queue="low").enqueue(7)
        with pytest.raises(AssertionError) as caught:
            assert_enqueued(welcome, 7, queue="mail", at=None)
        assert str(caught.value).splitlines() == [
            "expected 1 job welcome(7) queue=mail at=once, got none; of 3 jobs enqueued, the nearest:",
            "  welcome(7) queue=low  <- another queue",
            "  welcome(8) queue=mail  <- other arguments",
            "  countdown(1) queue=default  <- another job type",
        ]
        welcome.enqueue(7)
        with pytest.raises(AssertionError, match=r"expected 2 jobs welcome\(7\) queue=mail, got 1; .*\n.*<- this is"):
            assert_enqueued(welcome, 7, queue="mail", times=2)
        with pytest.raises(AssertionError, match=r"at=20.*another time"):
            welcome.enqueue_in(600, 5)
            assert_enqueued(welcome, 5, at=60)
        jobs.clear()
        for number in range(20):
            countdown.enqueue(number)
        with pytest.raises(AssertionError, match="and 15 more"):
            assert_enqueued(countdown, 99)
        with pytest.raises(AssertionError, match=r"expected no job countdown, got 20:\n  countdown\(0\)"):
            refute_enqueued(countdown)


def test_a_job_that_travels_by_name_is_found_too() -> None:
    by_name = App()

    @by_name.job(by_name=True)
    def greet(user: int, text: str = "hello") -> None:
        ran.append((user, text))

    with capture() as jobs:
        greet.enqueue(7, text="hi")
        assert_enqueued(greet, 7, "hi")
        with pytest.raises(AssertionError, match="other arguments"):
            assert_enqueued(greet, 8)
        jobs.drain()
    assert ran == [(7, "hi")]


def test_a_bad_argument_is_told_as_at_enqueue() -> None:
    with capture(), pytest.raises(TypeError, match="at most"):
        assert_enqueued(countdown, 1, 2)


def test_inline_asserts_on_what_has_run_too() -> None:
    with inline():
        countdown.enqueue(2)
        assert_enqueued(countdown, 2)
        assert_enqueued(countdown, times=3)


def test_without_anything_in_force_assertions_say_so() -> None:
    with pytest.raises(ConfigurationError, match=r"nothing watches .* faktory_jobs"):
        assert_enqueued(welcome)


def test_captured_is_a_list_for_type_checkers() -> None:
    with capture() as jobs:
        typed: list[Job] = jobs
        assert isinstance(jobs, Captured)
        assert typed is jobs
