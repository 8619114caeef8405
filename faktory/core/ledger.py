"""What became of the jobs of one consumer: what is reported, what is counted, and what the hooks are told. Pure.

Moments are on the clock of reservations. An outcome stands in the outbox before anything is sent. A job that was cut
off is failed at once, though its handler goes on: what that still brings is discarded, and counted already.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from ..commands import Ack, Fail
from ..errors import JobCancelled
from .failure import CUT_OFF
from .job_timer import JobTimer
from .outbox import Outbox, Outcome


class Tally(NamedTuple):
    """Jobs done so far, by what became of them."""

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    given_up: int = 0
    """Outcomes that the server never confirmed."""

    @property
    def total(self) -> int:
        """All jobs done."""
        return self.succeeded + self.failed + self.skipped

    def since(self, before: Tally) -> Tally:
        """Return what has come since an earlier moment."""
        return Tally(*(now - then for now, then in zip(self, before, strict=True)))


class Ledger:
    """The outcomes of one consumer, and their counts. The caller locks."""

    __slots__ = ("_failed", "_skipped", "_succeeded", "cut_offs", "outbox", "reported_at")

    def __init__(self) -> None:
        self.outbox: Outbox = Outbox()
        self.reported_at: float | None = None
        """When the server last confirmed an outcome, in monotonic seconds."""
        self.cut_offs: int = 0
        """Jobs given up by the shutdown so far."""
        self._succeeded = 0
        self._failed = 0
        self._skipped = 0

    def tally(self) -> Tally:
        """Return what was done so far."""
        return Tally(self._succeeded, self._failed, self._skipped, self.outbox.given_up)

    # -- a job ends -----------------------------------------------------------------------------------------------

    def succeeded(self, timer: JobTimer, command: Ack, *, is_skipped: bool = False) -> Outcome | None:
        """End a job that is done. Returns the outcome to report; None for one that was cut off meanwhile, and fails."""
        if timer.is_cut_off:
            return None
        timer.finish()
        if is_skipped:
            self._skipped += 1
        else:
            self._succeeded += 1
        outcome = Outcome(command, timer.expires_at)
        self.outbox.add(outcome)
        return outcome

    def failed(self, timer: JobTimer, command: Fail, now: float) -> Outcome | None:
        """End a job that has failed. Returns the outcome to report; None when it is failed already, or it is too late.

        Then the job may be another worker's, whom the FAIL would hit.
        """
        timer.finish()
        return None if timer.is_cut_off else self._fail(timer, command, now)

    def cut_off(self, timer: JobTimer, now: float) -> Outcome | None:
        """Fail a job that goes on. Returns the outcome to report, if it is not too late."""
        job = timer.job
        if job is None or timer.is_cut_off:
            return None
        timer.cut_off()
        return self._fail(timer, cut_off_report(job.jid), now)

    def _fail(self, timer: JobTimer, command: Fail, now: float) -> Outcome | None:
        self._failed += 1
        outcome = Outcome(command, timer.expires_at)
        if not outcome.may_be_sent(now):
            return None
        self.outbox.add(outcome)
        return outcome

    def gave_up(self, jobs: int) -> None:
        """Count jobs that the shutdown has given up."""
        self.cut_offs += jobs

    # -- the server answers ----------------------------------------------------------------------------------------

    def settle(self, outcome: Outcome, now: float) -> None:
        """Forget an outcome that the server has confirmed; `now` is monotonic."""
        self.outbox.settle(outcome)
        self.reported_at = now

    def orphans(self, owned: Container[int]) -> list[Outcome]:
        """Return the outcomes that nobody is going to report; `owned` are the `id`s of the others."""
        return [outcome for outcome in self.outbox.waiting() if id(outcome) not in owned] if len(self.outbox) else []

    @property
    def has_refused(self) -> bool:
        """True while the server refuses an outcome that is sent again later."""
        return any(outcome.refusals for outcome in self.outbox.waiting())


def cut_off_report(jid: str) -> Fail:
    """Return the failure of a job that the shutdown has given up."""
    return Fail(jid, JobCancelled.__name__, CUT_OFF)


def is_too_late(outcome: Outcome, now: float, *, is_cut: bool) -> bool:
    """Tell whether the server should not get an outcome any more.

    A FAIL past its reservation could hit another worker's run; an ACK may be sent late, but not tried for ever: once
    its exchange was lost (`is_cut`), that is enough.
    """
    return now >= outcome.deadline and (is_cut or not outcome.may_be_sent(now))
