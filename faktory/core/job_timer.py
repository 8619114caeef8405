"""One job's clock: its time limit, its reservation, and the alarms on the way. Pure: `now` is monotonic seconds.

A thread has one timer for all its jobs, one after the other; a job on an event loop has a timer of its own. Whoever
runs jobs asks `RunningJobs` when to look next, and what is due then.
"""

from __future__ import annotations

from enum import Enum, auto
from math import ceil
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from ..errors import ConfigurationError
from ..job import DEFAULT_RESERVE, MAX_RESERVE, MIN_RESERVE, Job
from ..options import RESERVATION_MARGIN, RESERVATION_MARGIN_SHARE, RESERVATION_WARNING

_NEVER: Final = float("inf")
_UNWARNED: Final = 1.0 - RESERVATION_WARNING


class Alarm(Enum):
    """What a running job has coming."""

    WARNING = auto()
    """Most of the reservation is gone."""
    LIMIT = auto()
    """The time limit has passed."""


class JobTimer:
    """The limits of the job in hand, and whether it was cut off."""

    __slots__ = (
        "_limit_at",
        "_warn_at",
        "alarm_at",
        "ends_at",
        "expires_at",
        "is_cut_off",
        "is_shortened",
        "is_told",
        "job",
        "left",
        "limit",
        "started_at",
    )

    def __init__(self) -> None:
        self.job: Job | None = None
        """The job that is running."""
        self.is_cut_off: bool = False
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
        self.alarm_at: float = _NEVER
        """When `next_alarm` wants to be asked; infinite when no job runs."""
        self._warn_at = self._limit_at = 0.0

    def begin(self, job: Job, timeout: float | None, now: float, reserved_now: float, asked_at: float) -> None:
        """Start a job: its own time limit counts from now, when it was received, its reservation since its FETCH left.

        `reserved_now`, and `asked_at`, when that was, are on the clock of reservations, which goes on while the machine
        sleeps. `timeout` is the handler's own limit in seconds; None for what the reservation allows.
        """
        reservation = job.reservation
        left = reservation - (reserved_now - asked_at)
        if left > reservation:
            left = float(reservation)
        self.job = job
        self.is_cut_off = self.is_told = False
        self.started_at = now
        self.left = left
        self.expires_at = reserved_now + left
        self._warn_at = warn_at = now + left - reservation * _UNWARNED
        self.limit = limit = time_limit(left, timeout)
        self.is_shortened = timeout is not None and limit < timeout
        self._limit_at = self.ends_at = ends_at = now + limit
        self.alarm_at = warn_at if warn_at < ends_at else ends_at

    def finish(self) -> None:
        """End the job: it can no longer be late."""
        self.job = None
        self.alarm_at = _NEVER

    def cut_off(self) -> None:
        """Note that the job was failed though it goes on."""
        self.is_cut_off = True

    def tell(self) -> bool:
        """Return whether the caller is the one to tell the hooks that the job was cut off: True once."""
        was_told, self.is_told = self.is_told, True
        return not was_told

    def sleep(self, seconds: float) -> None:
        """Note that the machine has slept: the reservation went on, and the job must end the earlier."""
        if self.job is not None:
            self._warn_at -= seconds
            if self._limit_at != _NEVER:
                self._limit_at = min(self._limit_at, self.started_at + time_limit(self.left, None) - seconds)
            self.alarm_at = min(self._warn_at, self._limit_at)

    def next_alarm(self, now: float) -> Alarm | None:
        """Return what is due for the running job, each alarm once."""
        if self.job is None or now < self.alarm_at:
            return None
        if now >= self._limit_at:
            alarm, self._limit_at = Alarm.LIMIT, _NEVER
        else:
            alarm, self._warn_at = Alarm.WARNING, _NEVER
        self.alarm_at = min(self._warn_at, self._limit_at)
        return alarm


class Timed(Protocol):
    """Whoever has a job in hand."""

    @property
    def timer(self) -> JobTimer:
        """The clock of that job."""
        ...


H = TypeVar("H", bound=Timed)


class Late(NamedTuple, Generic[H]):
    """An alarm of a job that runs."""

    alarm: Alarm
    holder: H
    job: Job
    seconds: float
    """How long it has run."""


class RunningJobs(Generic[H]):
    """The jobs of one consumer that run, by whoever has one in hand. The caller locks."""

    __slots__ = ("_ahead", "_holders", "wakes_at")

    def __init__(self, now: float, reserved_now: float) -> None:
        self._holders: dict[H, None] = {}
        self._ahead = reserved_now - now  # how far the clock of reservations is ahead of ours
        self.wakes_at: float = _NEVER
        """When somebody looks next: what is due before has to wake him."""

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, holder: H) -> bool:
        return holder in self._holders

    @property
    def holders(self) -> list[H]:
        """Whoever was added and not removed, the first first."""
        return list(self._holders)

    def add(self, holder: H) -> None:
        """Look at the timer of one more; one without a job has no alarms."""
        self._holders[holder] = None

    def remove(self, holder: H) -> None:
        """Look at it no more. Can be called twice."""
        self._holders.pop(holder, None)

    def clear(self) -> None:
        """Look at none."""
        self._holders.clear()

    def busy(self) -> int:
        """Return how many jobs run."""
        return sum(holder.timer.job is not None for holder in self._holders)

    def next_look(self, at_most: float) -> float:
        """Return when the next alarm is due, `at_most` when that is later, and note that somebody looks then."""
        self.wakes_at = wakes_at = min([at_most, *(holder.timer.alarm_at for holder in self._holders)])
        return wakes_at

    def due(self, now: float, reserved_now: float) -> list[Late[H]]:
        """Return the alarms that are due, one a job, each once. `reserved_now` is on the clock of reservations."""
        slept = self._slept(now, reserved_now)
        late: list[Late[H]] = []
        for holder in self._holders:
            timer = holder.timer
            if slept:
                timer.sleep(slept)
            alarm, job = timer.next_alarm(now), timer.job
            if alarm is not None and job is not None:
                late.append(Late(alarm, holder, job, now - timer.started_at))
        return late

    def _slept(self, now: float, reserved_now: float) -> float:
        """Return the seconds that the machine has slept since the last look: one of the clocks goes on meanwhile."""
        slept = reserved_now - now - self._ahead
        if slept < 0.1:  # the clocks are not read at the same moment
            return 0.0
        self._ahead += slept
        return slept

    def untold(self) -> list[Job]:
        """Return the jobs that were cut off and go on, each once: nobody else will tell the hooks of them."""
        cut_off = [holder.timer for holder in self._holders if holder.timer.is_cut_off]
        return [timer.job for timer in cut_off if timer.job is not None and timer.tell()]


def time_limit(reservation: float, timeout: float | None) -> float:
    """Return the seconds a job may run: its own limit, else what leaves a margin before its reservation ends.

    The latter, too, when its own limit is no shorter than the reservation: past that, the job is somebody else's.
    """
    if timeout is not None and timeout < reservation:
        return timeout
    margin = reservation * RESERVATION_MARGIN_SHARE
    limit = reservation - (margin if margin < RESERVATION_MARGIN else RESERVATION_MARGIN)  # min() would take longer
    return limit if limit > 0.0 else 0.0


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
