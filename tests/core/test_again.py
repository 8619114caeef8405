"""`faktory.core.again`: what an exception asks for, and the copy of a job that runs again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from faktory.core.again import Again, Drop, copy_for_later, runs_before, wish_of
from faktory.errors import Discard, InvalidJob, JobCancelled, JobTimeout, Retry
from faktory.job import Job

EXPLICIT = Again(None, uses_retry=False)
BY_RULE = Again(None, uses_retry=True)


@pytest.mark.parametrize(
    ("exc", "retry_on", "discard_on", "wish"),
    [
        (ValueError(), (), (), None),
        (ValueError(), (ValueError,), (), BY_RULE),
        (ValueError(), (), (Exception,), Drop()),
        (Retry(), (), (Exception,), EXPLICIT),  # it would be lost
        (Retry(in_=7), (Exception,), (), Again(7, uses_retry=False)),
        (Retry(in_=timedelta(minutes=1)), (), (), Again(60.0, uses_retry=False)),
        (Discard("old"), (Exception,), (), Drop()),
        (ConnectionResetError(), (OSError,), (Exception,), BY_RULE),  # the nearest class
        (ConnectionResetError(), (Exception,), (ConnectionError,), Drop()),
        (KeyError(), (KeyError,), (KeyError,), BY_RULE),
        (JobCancelled(), (Exception,), (Exception,), None),
        (JobTimeout(), (JobTimeout,), (), BY_RULE),
        (InvalidJob("bad"), (), (InvalidJob,), Drop()),
        (InvalidJob("bad"), (), (Exception,), Drop()),
        (InvalidJob("bad"), (ValueError,), (ValueError,), None),
        (SystemExit(), (Exception,), (Exception,), None),
    ],
)
def test_what_an_exception_asks_for(exc: BaseException, retry_on: Any, discard_on: Any, wish: Any) -> None:
    assert wish_of(exc, retry_on, discard_on) == wish


@pytest.mark.parametrize(
    ("leaves", "wish"),
    [
        ([Retry(), Retry()], EXPLICIT),
        ([Retry(in_=5), Retry(in_=timedelta(minutes=1)), Retry()], Again(60.0, uses_retry=False)),
        ([Retry(in_=5), OSError()], Again(5, uses_retry=True)),
        ([Discard(), KeyError()], Drop()),
        ([Discard(), Retry()], None),
        ([Retry(), ValueError()], None),
        ([ValueError(), Retry()], None),
        ([ExceptionGroup("inner", [Retry()]), Retry()], EXPLICIT),
    ],
)
def test_a_group_asks_for_what_all_in_it_ask_for(leaves: list[Exception], wish: Any) -> None:
    assert wish_of(ExceptionGroup("outer", leaves), (OSError,), (KeyError,)) == wish


class WithoutClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(4)


class Bottomless(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        return (self,)


class Unreachable(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise KeyboardInterrupt


class Locked(Retry):
    @property
    def in_(self) -> NoReturn:
        raise SystemExit(4)

    @in_.setter
    def in_(self, value: object) -> None: ...


@pytest.mark.parametrize(
    "exc",
    [
        ExceptionGroup("outer", [WithoutClass()]),
        ExceptionGroup("outer", [Retry(), WithoutClass()]),
        Bottomless("outer", [Retry()]),
        Unreachable("outer", [Retry()]),
        Locked(in_=5),
    ],
    ids=["leaf", "one leaf", "endless group", "closed group", "locked"],
)
def test_an_exception_that_does_harm_when_it_is_looked_at_is_a_failure(exc: BaseException) -> None:
    """None of it may reach the worker."""
    assert wish_of(exc, (OSError,), (KeyError,)) is None


def arrived(job: Job) -> Job:
    return Job.decode(json.dumps(job.to_document()).encode())


def delay_of(job: Job) -> float:
    assert job.at is not None
    return (job.at - datetime.now(UTC)).total_seconds()


def test_a_copy_keeps_what_matters() -> None:
    job = Job("work", [1], queue="low", retry=4, reserve_for=90, backtrace=3, custom={"unique_for": 5, "a": 1})
    again = copy_for_later(job, Again(60, uses_retry=False), 0)
    assert again.jid != job.jid
    assert (again.args, again.queue, again.retry, again.reserve_for, again.backtrace) == ([1], "low", 4, 90, 3)
    assert again.custom == {"a": 1, "retried": {"jid": job.jid, "runs": 1}}
    assert 55 < delay_of(again) <= 60
    once_more = copy_for_later(arrived(again), EXPLICIT, 0)
    assert (once_more.custom or {})["retried"] == {"jid": job.jid, "runs": 2}
    assert runs_before(once_more) == 2
    assert 10 < delay_of(once_more) <= 1 + 15


def test_a_copy_is_what_was_fetched_whatever_was_done_to_it() -> None:
    job = arrived(Job("work", [[1], {"k": [2]}], custom={"deep": {"a": 1}}))
    job.args[0].append(9)
    job.args[1]["k"].clear()
    job.args.append("more")
    assert job.custom is not None
    job.custom["deep"]["a"] = 2
    again = copy_for_later(job, EXPLICIT, 0)
    assert again.args == [[1], {"k": [2]}]
    assert (again.custom or {})["deep"] == {"a": 1}


def test_a_copy_of_a_job_with_a_strange_mark_starts_anew() -> None:
    for mark in ("text", {"runs": "many"}, {"runs": -1}, {}):
        job = Job("work", custom={"retried": mark})
        again = copy_for_later(job, Again(1, uses_retry=False), 0)
        assert (again.custom or {})["retried"] == {"jid": job.jid, "runs": 1}


def test_delays_grow_and_are_spread_as_the_servers_are() -> None:
    def copy(runs: int, spread: float) -> float:
        job = Job("work", custom={"retried": {"jid": "first-one", "runs": runs - 1}} if runs > 1 else None)
        return round(delay_of(copy_for_later(job, EXPLICIT, spread)))

    assert [copy(runs, 0) for runs in (1, 2, 3, 10, 11, 25)] == [15, 16, 31, 6576, 6576, 6576]
    assert [copy(runs, 0.5) for runs in (1, 2, 3)] == [30, 46, 76]


def test_no_copy_runs_at_once() -> None:
    """Else `Retry(in_=0)` would run in a hot loop, without an end."""
    assert 0.5 < delay_of(copy_for_later(Job("work"), Again(0, uses_retry=False), 0)) <= 1


@pytest.mark.parametrize(("retry", "left"), [(25, 24), (2, 1), (1, -1)])
def test_a_copy_by_rule_has_the_retries_that_are_left(retry: int, left: int) -> None:
    assert copy_for_later(Job("work", retry=retry), BY_RULE, 0).retry == left


@pytest.mark.parametrize("bad", [-1, "text", True, float("nan"), timedelta(days=-1), timedelta(days=4000), [5]])
def test_a_delay_that_is_none_is_told_where_it_is_raised(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"Retry takes in_= seconds from now or a timedelta.*write Retry\(in_=60\)"):
        Retry(bad)
