"""One worker's next step, and which idle FETCHes may wait at the server. Pure: `now` is monotonic seconds.

A `Slot` is the place of one job at a time. Its thread asks `next_step`, carries it out, and tells the slot what came.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from math import ceil

from ..errors import ConfigurationError
from ..job import DEFAULT_RESERVE, MAX_RESERVE, MIN_RESERVE, Job
from ..options import (
    IDLE_FETCH_PATIENCE,
    IDLE_FETCH_PATIENCE_LIMIT,
    IDLE_FETCH_ROUND_TRIPS,
    RESERVATION_MARGIN,
    RESERVATION_MARGIN_SHARE,
    RESERVATION_WARNING,
)
from .outbox import Outcome


class Step(Enum):
    """What a worker does next."""

    REPORT = auto()
    """Send the outcome alone: no new job is wanted, or the last try was cut off."""
    REPORT_AND_FETCH = auto()
    """Send the outcome and FETCH in one write."""
    FETCH = auto()
    PARK = auto()
    """Wait to be woken."""
    END = auto()


class Alarm(Enum):
    """What a running job has coming."""

    WARNING = auto()
    """Most of the reservation is gone."""
    LIMIT = auto()
    """The time limit has passed."""


class Slot:
    """The place of one job: waiting, fetched and running, or done and not yet reported."""

    __slots__ = (
        "_asked_at",
        "_limit_at",
        "_reported_at",
        "_waited",
        "_warn_at",
        "alarm_at",
        "ends_at",
        "expires_at",
        "index",
        "is_cancelled",
        "is_cut",
        "is_fetching",
        "is_shortened",
        "is_told",
        "is_woken",
        "job",
        "left",
        "limit",
        "outcome",
        "reserved_at",
        "sent_at",
        "started_at",
    )

    def __init__(self, index: int) -> None:
        self.index: int = index
        self.job: Job | None = None
        """The job that is running."""
        self.outcome: Outcome | None = None
        """The outcome not yet confirmed."""
        self.is_fetching: bool = False
        self.sent_at: float | None = None
        """When the FETCH under way was sent; None before."""
        self.reserved_at: float | None = None
        """The same on the clock of reservations, and kept: from then on the server may have reserved the job."""
        self.is_woken: bool = False
        """True when the arrival of a job elsewhere allows one FETCH."""
        self.is_cut: bool = False
        """True after an exchange was cut off: the outcome goes alone, and first."""
        self.is_cancelled: bool = False
        """True when the running job was failed by the shutdown: what it still brings is discarded."""
        self.is_told: bool = False
        """True when the hooks were told of that, or are about to be."""
        self.started_at: float = 0.0
        self.ends_at: float = 0.0
        """When the job reaches its time limit."""
        self.limit: float = 0.0
        """How many seconds it may run."""
        self.is_shortened: bool = False
        """True when that is less than the handler's own limit: the reservation ends before."""
        self.left: float = 0.0
        """How many seconds of the reservation were left when the job was received."""
        self.expires_at: float = 0.0
        """When the reservation ends, on the clock of reservations."""
        self.alarm_at: float = float("inf")
        """When `next_alarm` wants to be asked; infinite when no job runs."""
        self._warn_at = self._limit_at = 0.0
        self._asked_at = 0.0  # when the last FETCH left
        self._waited = 0.0  # how long it waited for its job
        self._reported_at: float | None = None  # when an outcome left alone, until its reply has been there

    def next_step(self, *, wants_jobs: bool, is_ending: bool, lookouts: Lookouts, now: float) -> Step:
        """Return what to do: report first, fetch while jobs are wanted, else wait or end."""
        if self.outcome is not None:
            if wants_jobs and not self.is_cut and lookouts.grant(now, self._waited):
                self._asked_at = now
                return Step.REPORT_AND_FETCH
            self._reported_at = None if self.is_cut else now
            return Step.REPORT
        if self._reported_at is not None:
            if not self.is_cut:  # else the reply never came
                lookouts.measured(now - self._reported_at)
            self._reported_at = None
        if is_ending:
            return Step.END
        if wants_jobs and (self.is_woken or lookouts.has_room):
            self._asked_at = now
            return Step.FETCH
        return Step.PARK

    def drop_late(self, now: float) -> Outcome | None:
        """Let go of an outcome that the server should not get any more, and return it.

        A FAIL past its reservation could hit another worker's run; an ACK may be sent late, but not tried for ever.
        """
        outcome = self.outcome
        if outcome is None or now < outcome.deadline or (outcome.may_be_sent(now) and not self.is_cut):
            return None
        self.outcome = None
        return outcome

    def fetch_leaves(self, now: float, reserved_now: float) -> None:
        """Note that a FETCH is about to be sent, on both clocks."""
        self.sent_at = now
        self.reserved_at = reserved_now

    def begin(self, job: Job, timeout: float | None, now: float, reserved_now: float | None = None) -> None:
        """Start a job: its own time limit counts from now, when it was received, its reservation since its FETCH left.

        `reserved_now` is the moment on the clock of reservations, which goes on while the machine sleeps; None when the
        clocks are one. An outcome still here is one that was refused with this job's FETCH behind it. It stays in the
        outbox, from where it is sent once more without waiting for this job to end.
        """
        reservation = job.reservation
        if reserved_now is None:
            reserved_now = now
        spent = 0.0 if self.reserved_at is None else max(0.0, reserved_now - self.reserved_at)
        self.job = job
        self.outcome = None
        self.is_cut = False
        self.is_cancelled = self.is_told = False
        self._waited = now - self._asked_at
        self.started_at = now
        self.left = left = reservation - spent
        self.expires_at = reserved_now + left
        self._warn_at = warn_at = now + reservation * RESERVATION_WARNING - spent
        self.limit = limit = time_limit(left, timeout)
        self.is_shortened = timeout is not None and limit < timeout
        ends_at = now + limit
        self._limit_at = ends_at
        self.ends_at = ends_at
        self.alarm_at = warn_at if warn_at < ends_at else ends_at

    def sleep(self, seconds: float) -> None:
        """Note that the machine has slept: the reservation went on, and the job must end the earlier."""
        if self.job is not None:
            self._warn_at -= seconds
            if self._limit_at != float("inf"):
                self._limit_at = min(self._limit_at, self.started_at + time_limit(self.left, None) - seconds)
            self.alarm_at = min(self._warn_at, self._limit_at)

    def finish(self) -> None:
        """End the job: it can no longer be late."""
        self.job = None
        self.alarm_at = float("inf")

    def next_alarm(self, now: float) -> Alarm | None:
        """Return what is due for the running job, each alarm once."""
        if self.job is None or now < self.alarm_at:
            return None
        never = float("inf")
        if now >= self._limit_at:
            alarm, self._limit_at = Alarm.LIMIT, never
        else:
            alarm, self._warn_at = Alarm.WARNING, never
        self.alarm_at = min(self._warn_at, self._limit_at)
        return alarm


def untold(slots: Iterable[Slot]) -> list[Job]:
    """Return the jobs that were cut off and go on, each once: nobody else will tell the hooks of them."""
    jobs: list[Job] = []
    for slot in slots:
        if slot.is_cancelled and slot.job is not None and not slot.is_told:
            slot.is_told = True
            jobs.append(slot.job)
    return jobs


def time_limit(reservation: float, timeout: float | None) -> float:
    """Return the seconds a job may run: its own limit, else what leaves a margin before its reservation ends.

    The latter, too, when its own limit is no shorter than the reservation: past that, the job is somebody else's.
    """
    if timeout is not None and timeout < reservation:
        return timeout
    return max(0.0, reservation - min(RESERVATION_MARGIN, reservation * RESERVATION_MARGIN_SHARE))


def fitting_reservation(reserve_for: int | None, timeout: float | None) -> int | None:
    """Return the `reserve_for` of jobs with a time limit: as given, or long enough for a limit that needs more.

    Raises `ConfigurationError` when both are given and contradict.
    """
    if timeout is None or (reserve_for is None and timeout + RESERVATION_MARGIN <= DEFAULT_RESERVE):
        return reserve_for
    if reserve_for is None:
        return min(ceil(timeout + RESERVATION_MARGIN), MAX_RESERVE)
    if timeout >= max(reserve_for, MIN_RESERVE):
        raise ConfigurationError(
            f"a time limit of {timeout:g} s contradicts a reservation of {reserve_for} s (reserve_for), after which "
            f"the server has the job run again: expected a longer reservation; leave reserve_for away to have one"
        )
    return reserve_for


class Naps:
    """Finds out how long the machine has slept, by two clocks of which one goes on meanwhile."""

    __slots__ = ("_ahead",)

    def __init__(self, now: float, reserved_now: float) -> None:
        self._ahead = reserved_now - now

    def since(self, now: float, reserved_now: float) -> float:
        """Return the seconds slept since this was last asked, 0 for less than a tenth."""
        slept = reserved_now - now - self._ahead
        if slept < 0.1:  # the clocks are not read at the same moment
            return 0.0
        self._ahead += slept
        return slept


class Lookouts:
    """Keeps the number of FETCHes that wait on empty queues at `limit`, however many slots there are. The caller locks.

    A FETCH whose client dies takes a job with it for a whole reservation, so idle slots park but for the
    lookouts. Each job that arrives wakes one parked slot before it runs; under load every slot fetches for itself.
    """

    __slots__ = ("_limit", "_patience", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._patience = IDLE_FETCH_PATIENCE
        self._waiting: dict[int, float] = {}  # the lookouts: slot index to the time its FETCH left

    @property
    def has_room(self) -> bool:
        """True when one more idle FETCH may wait."""
        return len(self._waiting) < self._limit

    def grant(self, now: float, waited: float) -> bool:
        """Tell whether a slot that has just done a job may send FETCH behind its report.

        Not when its own FETCH had `waited` for a while, or a lookout's has: then the queues are empty, and it would
        only wait, too.
        """
        if len(self._waiting) < self._limit:
            return True
        return waited < self._patience and now - next(iter(self._waiting.values())) < self._patience

    def measured(self, round_trip: float) -> None:
        """Note how many seconds the server's reply to a report took: the least that a FETCH takes in any case.

        With less patience than that, slots far from the server would share one FETCH a round trip under load.
        """
        self._patience = min(max(IDLE_FETCH_PATIENCE, IDLE_FETCH_ROUND_TRIPS * round_trip), IDLE_FETCH_PATIENCE_LIMIT)

    def sent(self, index: int, now: float) -> None:
        """Note a FETCH that leaves, or that a slot just woken is about to send: it is a lookout when there is room.

        Noted when waking, the place cannot be taken by the slot that wakes, which may be done with its job first.
        """
        if len(self._waiting) < self._limit:
            self._waiting[index] = now

    def answered(self, index: int) -> None:
        """Note the end of a FETCH, with or without a job, or its loss."""
        self._waiting.pop(index, None)
