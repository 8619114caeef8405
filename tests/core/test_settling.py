"""`faktory.core.settling`: what is done, and said, when a job asks to run again or to be dropped."""

from __future__ import annotations

import logging
from typing import NoReturn

import pytest

from faktory.client import Client
from faktory.core.failure import Report, ReportedFailure
from faktory.core.settling import asked_by, plain_settler, settle
from faktory.errors import ConfigurationError, ConnectionLost, Discard, JobCancelled, Retry
from faktory.job import Job
from faktory.server import Server


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


class Sink:
    def __init__(self, answer: bool = True) -> None:
        self.jobs: list[Job] = []
        self._answer = answer

    def __call__(self, job: Job) -> bool:
        self.jobs.append(job)
        return self._answer


def test_a_failure_is_left_to_others() -> None:
    sink = Sink()
    assert not settle(Job("work"), ValueError("no"), sink)
    assert not settle(Job("work", retry=0), OSError(), sink, (OSError,))  # its last run
    assert sink.jobs == []


def test_where_there_is_no_later_a_job_that_wants_to_run_again_is_done(caplog: pytest.LogCaptureFixture) -> None:
    assert settle(Job("work"), raised(Retry(in_=5)), Sink(answer=False))
    assert "('work') is to run again, which it does not in this mode: Retry: " in caplog.text


class Nameless(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise SystemExit(4)


class Odd(Exception, metaclass=Nameless):
    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(4)

    @property
    def __traceback__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(4)


def test_an_exception_that_does_harm_when_it_is_looked_at_is_settled_as_any(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sink = Sink()
    assert settle(Job("work"), raised(Odd("x")), sink, (Exception,))
    assert settle(Job("work"), raised(Odd("x")), sink, (), (Exception,))
    assert len(sink.jobs) == 1
    assert "is discarded: Exception: 'x'" in caplog.text


def test_an_exception_that_is_retried_leaves_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sink, job = Sink(), Job("work")
    assert settle(job, raised(OSError("the disk is full")), sink, (OSError,))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.exc_info is None
    copy = sink.jobs[0].jid
    assert f"job {job.jid!r} ('work') is pushed again as {copy!r}: OSError: 'the disk is full'" in caplog.text
    assert f"at {__file__}:" in record.getMessage()
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    assert settle(job, raised(Retry(in_=5)), sink)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.exc_info is not None


def test_a_job_that_is_dropped_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert settle(Job("work"), Discard("too old"), Sink())
    assert "is discarded: Discard: 'too old'" in caplog.text


def test_what_the_push_raises_is_raised() -> None:
    def lost(job: Job) -> bool:
        raise ConnectionLost("gone")

    with pytest.raises(ConnectionLost):
        settle(Job("work"), Retry(), lost)


def test_plain_handlers_push_by_a_client_that_is_closed(server: Server) -> None:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client(server.url))
        return made[-1]

    settled = plain_settler(make)
    assert not settled(Job("work"), ValueError())
    assert made == []
    assert settled(Job("work"), Discard("too old"))
    assert settled(Job("work"), Retry(in_=60))
    assert settled(Job("work"), Retry(in_=60))
    assert len(server.scheduled) == 2
    with pytest.raises(ConfigurationError):
        made[0].push(Job("late"))


def test_what_may_ask_for_something() -> None:
    error, report = ValueError("no"), Report("ValueError", "no")
    assert asked_by(error) is error
    assert asked_by(JobCancelled("no time left")) is None
    assert asked_by(ReportedFailure(report)) is None  # dealt with in a child
    retry = Retry(in_=5)
    assert asked_by(ReportedFailure(report, retry)) is retry
