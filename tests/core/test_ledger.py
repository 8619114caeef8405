"""`faktory.core.ledger`: what becomes of each job is recorded and counted once, whoever else has failed it before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.commands import Ack, Fail
from faktory.core.job_timer import JobTimer
from faktory.core.ledger import Ledger, Tally, cut_off_report, is_too_late
from faktory.core.outbox import Outcome
from faktory.job import Job

JID = "job-00001"


def begun(jid: str = JID) -> JobTimer:
    """Return the timer of a job whose reservation ends at 5060."""
    timer = JobTimer()
    timer.begin(Job("work", jid=jid, reserve_for=60), None, 100.0, 5000.0, 5000.0)
    return timer


def test_a_success_is_recorded_and_counted() -> None:
    ledger, timer = Ledger(), begun()
    outcome = ledger.succeeded(timer, Ack(JID))
    assert outcome is not None
    assert (outcome.jid, outcome.deadline, timer.job) == (JID, 5060.0, None)
    assert ledger.outbox.waiting() == [outcome]
    assert ledger.tally() == Tally(succeeded=1)


def test_a_job_that_middleware_has_ended_is_counted_as_skipped() -> None:
    ledger = Ledger()
    assert ledger.succeeded(begun(), Ack(JID), is_skipped=True) is not None
    assert ledger.tally() == Tally(skipped=1)


def test_a_failure_is_recorded_and_counted() -> None:
    ledger, timer = Ledger(), begun()
    outcome = ledger.failed(timer, Fail(JID, "E", "m"), 5059.9)
    assert ledger.outbox.waiting() == [outcome]
    assert (ledger.tally(), timer.job) == (Tally(failed=1), None)


def test_a_failure_past_its_reservation_is_counted_and_not_sent() -> None:
    """J7, fact 7: the job may be another worker's."""
    ledger = Ledger()
    assert ledger.failed(begun(), Fail(JID, "E", "m"), 5060.0) is None
    assert (len(ledger.outbox), ledger.tally()) == (0, Tally(failed=1))


def test_a_job_that_was_cut_off_is_failed_once_whatever_it_still_brings() -> None:
    """P5."""
    ledger, timer = Ledger(), begun()
    outcome = ledger.cut_off(timer, 5001.0)
    assert outcome is not None
    assert (type(outcome.command), timer.is_cut_off) == (Fail, True)
    assert ledger.cut_off(timer, 5001.0) is None
    assert ledger.succeeded(timer, Ack(JID)) is None
    assert timer.job is not None  # its thread goes on, and fails it
    assert ledger.failed(timer, Fail(JID, "E", "m"), 5002.0) is None
    assert timer.job is None
    assert ledger.tally() == Tally(failed=1)
    assert ledger.outbox.waiting() == [outcome]


def test_a_cut_off_past_the_reservation_is_counted_and_not_sent() -> None:
    """J17."""
    ledger, timer = Ledger(), begun()
    assert ledger.cut_off(timer, 5060.0) is None
    assert (timer.is_cut_off, ledger.tally(), len(ledger.outbox)) == (True, Tally(failed=1), 0)


def test_who_runs_nothing_is_not_cut_off() -> None:
    ledger, timer = Ledger(), begun()
    timer.finish()
    assert ledger.cut_off(timer, 5001.0) is None
    assert not timer.is_cut_off
    ledger.gave_up(2)
    ledger.gave_up(1)
    assert ledger.cut_offs == 3


def test_a_cut_off_is_reported_as_what_the_shutdown_did() -> None:
    command = cut_off_report(JID)
    assert (command.jid, b"JobCancelled" in command.line) == (JID, True)


def test_what_the_server_has_confirmed_is_forgotten_and_the_moment_kept() -> None:
    ledger = Ledger()
    outcome = ledger.succeeded(begun(), Ack(JID))
    assert outcome is not None
    before = ledger.reported_at
    ledger.settle(outcome, 107.0)
    assert (len(ledger.outbox), before, ledger.reported_at) == (0, None, 107.0)


def test_orphans_are_those_that_nobody_owns() -> None:
    ledger = Ledger()
    assert ledger.orphans(set()) == []
    owned = ledger.succeeded(begun(), Ack(JID))
    orphan = ledger.succeeded(begun("job-00002"), Ack("job-00002"))
    assert ledger.orphans({id(owned)}) == [orphan]


def test_a_refusal_is_seen_until_it_is_settled() -> None:
    ledger = Ledger()
    outcome = ledger.succeeded(begun(), Ack(JID))
    assert outcome is not None
    assert not ledger.has_refused
    ledger.outbox.refuse(outcome, "busy", 5001.0)
    assert ledger.has_refused
    ledger.settle(outcome, 108.0)
    assert not ledger.has_refused


def test_a_tally_tells_what_has_come_since() -> None:
    before = Tally(1, 2, 3, 4)
    assert Tally(6, 5, 4, 4).since(before) == Tally(5, 3, 1, 0)
    assert Tally(1, 2, 3, 4).total == 6


@pytest.mark.parametrize(
    ("command", "is_cut", "now", "is_late"),
    [
        (Fail(JID, "E", "m"), False, 99.9, False),
        (Fail(JID, "E", "m"), True, 99.9, False),
        (Fail(JID, "E", "m"), False, 100.0, True),
        (Ack(JID), True, 99.9, False),
        (Ack(JID), False, 100.0, False),
        (Ack(JID), True, 100.0, True),
    ],
)
def test_a_late_outcome_is_kept_back_when_it_would_do_harm_or_has_been_tried(
    command: Ack | Fail, is_cut: bool, now: float, is_late: bool
) -> None:
    """J3, J7, fact 7: an ACK past the reservation is still sent, once; a FAIL is not."""
    assert is_too_late(Outcome(command, 100.0), now, is_cut=is_cut) is is_late


@given(st.lists(st.sampled_from(["succeed", "fail", "cut off"]), max_size=6), st.floats(5000.0, 5100.0))
def test_however_a_job_ends_it_counts_once_and_has_one_outcome_at_most(ends: list[str], now: float) -> None:
    ledger, timer = Ledger(), begun()
    for end in ends:
        if timer.job is None:
            break
        match end:
            case "succeed":
                ledger.succeeded(timer, Ack(JID))
            case "fail":
                ledger.failed(timer, Fail(JID, "E", "m"), now)
            case _:
                ledger.cut_off(timer, now)
    assert ledger.tally().total == bool(ends)
    assert len(ledger.outbox) <= ledger.tally().total
