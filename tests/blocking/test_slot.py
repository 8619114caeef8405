"""`faktory.blocking.slot`: what a worker's thread owes, and the time in which its job may be interrupted."""

from __future__ import annotations

import pytest

from faktory import JobTimeout
from faktory.blocking.slot import Slot
from faktory.commands import Ack
from faktory.core.managed import Managed
from faktory.core.outbox import Outcome
from faktory.core.run import Run
from faktory.job import Job


class Hands:
    is_connected = True

    def __init__(self, *, can_be_killed: bool = True) -> None:
        self.can_be_killed = can_be_killed

    def interrupt(self) -> None: ...

    def cancel_child(self) -> None: ...

    def dump_child(self) -> int:
        return 0


def slot() -> Slot:
    return Slot(Hands())


def run() -> Run:
    return Run(Job("work"), 100.0, Managed())


def outcome(deadline: float = 100.0) -> Outcome:
    return Outcome(Ack("job-00001"), deadline)


def test_a_slot_begins_without_an_outcome_and_without_a_cut() -> None:
    assert (slot().outcome, slot().is_cut, slot().is_telling) == (None, False, False)


def test_an_outcome_is_owed_until_it_is_settled() -> None:
    owing, owed = slot(), outcome()
    owing.cut()
    owing.owe(owed)
    assert (owing.outcome, owing.is_cut) == (owed, False)
    owing.settle()
    assert owing.outcome is None


def test_a_new_job_leaves_an_outcome_that_was_refused_to_others() -> None:
    """J5: its second try must not wait until this job ends, nor be mistaken for this job's outcome."""
    owing = slot()
    owing.owe(outcome())
    owing.cut()
    owing.begin(None)
    assert (owing.outcome, owing.is_cut) == (None, False)


def test_an_exchange_that_went_well_forgets_the_cut() -> None:
    owing = slot()
    owing.cut()
    owing.was_reported()
    assert not owing.is_cut


def test_a_late_outcome_is_let_go_of() -> None:
    """J7: an ACK is sent late, but once its exchange was lost it is not tried for ever."""
    owing, owed = slot(), outcome(deadline=100.0)
    assert owing.drop_late(100.0) is None
    owing.owe(owed)
    assert owing.drop_late(100.0) is None
    owing.cut()
    assert owing.drop_late(99.9) is None
    assert owing.drop_late(100.0) is owed
    assert owing.outcome is None


@pytest.mark.parametrize("is_telling", [None, False, True])
def test_a_report_that_waits_for_hooks_is_handed_over_at_the_end(is_telling: bool | None) -> None:
    owing = slot()
    owing.owe(outcome())
    if is_telling is not None:
        owing.telling(is_telling=is_telling)
    owing.hand_over()
    assert (owing.outcome is None) is bool(is_telling)


def test_a_job_is_interrupted_once_and_only_while_its_handler_runs() -> None:
    running, job = slot(), run()
    running.interrupt(JobTimeout("nobody is there"))
    running.begin(job)
    assert running.current is job
    first = JobTimeout("late")
    running.interrupt(first)
    running.interrupt(JobTimeout("later"))
    assert job.is_cancelled
    assert running.leave() is first
    assert running.current is None
    running.interrupt(JobTimeout("too late"))
    running.begin(run())
    assert running.leave() is None
