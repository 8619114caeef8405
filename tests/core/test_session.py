"""`faktory.core.session`: what a call of `run` counts, fetches and raises, and what is said of late jobs."""

from __future__ import annotations

import pytest

from faktory import ConnectFailed, ConnectionLost, Job, ServerError
from faktory.commands import Ack
from faktory.core.chain import Skipped
from faktory.core.failure import Report
from faktory.core.job_timer import Alarm
from faktory.core.ledger import Tally
from faktory.core.outbox import Outcome
from faktory.core.queues import order_of
from faktory.core.session import (
    Session,
    Shortened,
    as_lost,
    log_cut_off,
    log_end,
    log_failed,
    log_given_up,
    log_late,
    log_refused,
    log_skipped,
    log_too_late,
    log_unreported,
    log_unserved,
    raise_for,
)
from faktory.options import ConsumerOptions, QueueLimit
from faktory.runtime.logs import close


def session(queues: list[str] | dict[str, float]) -> Session:
    return Session(order_of(queues), is_persistent=False, until_empty=False)


def test_a_fetch_is_made_once_for_each_order_of_queues() -> None:
    strict = session(["critical", "default"])
    assert strict.next_fetch() is strict.next_fetch()
    assert strict.next_fetch().line == b"FETCH critical default\r\n"


def test_the_memory_of_fetches_is_bounded() -> None:
    weighted = session({f"queue-{n}": 1.0 for n in range(30)})
    for _ in range(3_000):
        weighted.next_fetch()
    assert len(weighted._fetches) <= 1_001


def test_the_first_error_is_what_has_ended_a_session() -> None:
    ended = session(["default"])
    ended.stop()
    assert (ended.is_stopping, ended.error) == (True, None)
    first = ValueError("first")
    ended.stop(first)
    ended.stop(ValueError("second"))
    ended.stop()
    assert ended.error is first


def test_what_ended_a_shift_is_raised_as_run_promises() -> None:
    ended = session(["default"])
    raise_for(ended)
    ended.error = ConnectFailed("no server")
    with pytest.raises(ConnectionLost, match="no server"):
        raise_for(ended)
    ended.error = ValueError("of ours")
    with pytest.raises(ValueError, match="of ours"):
        raise_for(ended)


def test_late_jobs_are_named(caplog: pytest.LogCaptureFixture) -> None:
    job = Job("work", jid="job-late-1", reserve_for=60)
    log_late(Alarm.LIMIT, job, 40.0)
    log_late(Alarm.WARNING, job, 48.0)
    log_given_up(Outcome(Ack("job-late-1"), 60.0))
    close(10)  # they are written by a thread, which nobody waits for
    assert caplog.messages == [
        "job 'job-late-1' ('work') ran past its time limit; interrupting it after 40.0 s",
        "job 'job-late-1' ('work') has run for 48 s of the 60 s of its reservation",
        "could not report job 'job-late-1' before its reservation ended; the server has it run again",
    ]


def test_an_unopened_connection_is_a_lost_one_to_run() -> None:
    error = ConnectFailed("no server", retry_after=1)
    lost = as_lost(error)
    assert type(lost) is ConnectionLost
    assert (str(lost), lost.maybe_executed, lost.__cause__) == ("no server", False, error)
    assert as_lost(lost) is lost


def test_what_became_of_jobs_and_outcomes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    outcome = Outcome(Ack("job-late-1"), 60.0)
    log_refused(outcome, ServerError("ERR", "busy"), is_final=False)
    log_refused(outcome, ServerError("ERR", "invalid"), is_final=True)
    log_skipped(Job("work", jid="job-late-1"), Skipped("guard"))
    log_end(Tally(3, 2, 1), 4)
    log_cut_off([])
    log_cut_off(["job-cut-1", "job-cut-2"])
    log_unreported(0)
    log_unreported(2)
    assert caplog.messages == [
        "the server refuses outcomes for now, that of job 'job-late-1' first: 'ERR busy'",
        "gave up reporting job 'job-late-1', the server refuses its outcome: 'ERR invalid'",
        "job 'job-late-1' ('work') was skipped by the middleware guard",
        "ended: 3 jobs succeeded, 2 failed, 1 were skipped, 4 were cut off",
        "cut off 2 jobs: 'job-cut-1', 'job-cut-2'",
        "2 outcomes could not be reported; the server will have those jobs run again",
    ]


def test_a_reservation_that_is_too_short_is_told_once_for_each_type(caplog: pytest.LogCaptureFixture) -> None:
    """J18."""
    shortened = Shortened()
    for jobtype in ("report", "report", "resize"):
        shortened.tell(Job(jobtype, reserve_for=60), 3600.0)
    assert [message.split("'")[1] for message in caplog.messages] == ["report", "resize"]
    assert "a time limit of 3600 s and come with reservations of 60 s" in caplog.text


def test_queues_of_the_app_that_are_not_fetched_from_are_told(caplog: pytest.LogCaptureFixture) -> None:
    options = ConsumerOptions("host", "wid-00001", homes=(("mail", "welcome"), ("default", "work")))
    assert options.queues == ("mail", "default")
    log_unserved(options, session(["default", "mail"]))
    assert caplog.messages == []
    log_unserved(options, session(["default"]))
    assert [message.split(": ")[1] for message in caplog.messages] == ["mail, with 'welcome'"]


def test_a_failed_job_is_told_louder_the_last_time(caplog: pytest.LogCaptureFixture) -> None:
    report = Report("ValueError", "no", place=" at work.py:7")
    log_failed(Job("work", jid="job-fails-1"), report, ValueError("no"))
    log_failed(Job("work", jid="job-fails-2", retry=0), report, ValueError("no"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "job 'job-fails-1' ('work') failed: ValueError: 'no' at work.py:7"),
        ("ERROR", "job 'job-fails-2' ('work') failed for the last time: ValueError: 'no' at work.py:7"),
    ]


def test_a_failure_whose_traceback_cannot_be_logged_is_told_all_the_same(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3."""
    told: list[dict[str, object]] = []

    def log(*_: object, **options: object) -> None:
        facts = options.pop("extra")
        assert isinstance(facts, dict)
        assert facts["jobtype"] == "work"
        told.append(options)
        if options:
            raise RuntimeError("a handler of logging is broken")

    monkeypatch.setattr("faktory.core.session.worker_log.log", log)
    log_failed(Job("work"), Report("ValueError", "no"), ValueError("no"))
    assert told == [{"exc_info": None}, {}]


def test_a_failure_that_is_not_reported_is_told(caplog: pytest.LogCaptureFixture) -> None:
    log_too_late("job-late-1")
    close(10)
    assert caplog.messages == [
        "job 'job-late-1' failed after its reservation had ended; the server has taken it back, so no report"
    ]


def test_a_full_queue_is_left_out_until_a_place_is_given_back() -> None:
    limited = session(["slow", "default"])
    limited.limit([], 0.0)
    assert limited.limits is None
    limited.limit([("slow", QueueLimit(concurrency=1))], 0.0)
    limits = limited.limits
    assert limits is not None
    first, second = limited.claim(limits, 0.0), limited.claim(limits, 0.0)
    assert (first.names, second.names) == (("slow", "default"), ("default",))
    assert limited.fetch_of(second.names).line == b"FETCH default\r\n"
    assert limited.rest(limits) == 3600.0
    first.end()
    assert limited.claim(limits, 0.0).names == ("slow", "default")


def test_the_fetch_of_the_same_queues_is_made_once() -> None:
    session = Session(order_of(["a", "b"]), is_persistent=False, until_empty=False)
    assert session.fetch_of(("a", "b")) is session.fetch_of(("a", "b"))
    assert session.fetch_of(("b", "a")).line == b"FETCH b a\r\n"
