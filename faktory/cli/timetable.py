"""Which ticks of periodic jobs are due, missed, or to be tried again. Pure: the time is an argument.

`Timetable.turn` is called when the clock has gone on, and says what to push and what to tell; `failed` and `done` say
what became of a push. All moments are aware datetimes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ..core.backoff import Backoff
from ..job import Job
from ..typed.periodic import Periodic

LATE: Final = timedelta(minutes=1)
"""A tick that is noticed later than this was missed."""
SET_BACK: Final = timedelta(hours=3)
"""A clock that is set back by less is waited for, as no tick comes twice; by more, and all is planned anew."""
GLANCE: Final = 30.0
"""Seconds at most between looks at the clock: a wait does not count what the machine sleeps, or a clock set anew."""
_MOST_COUNTED: Final = 1_000


@dataclass(slots=True)
class Tick:
    """One tick of a job, whose push has not succeeded yet."""

    periodic: Periodic
    at: datetime
    job: Job
    """Pushed under the same jid however often it is tried."""
    again_at: datetime
    backoff: Backoff
    has_failed: bool = False

    def __str__(self) -> str:
        return f"{self.periodic.typed.jobtype} of {self.at.isoformat(sep=' ', timespec='minutes')}"


@dataclass(slots=True)
class _Row:
    periodic: Periodic
    next: datetime
    tick: Tick | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done: ticks to push now, and what to warn of."""

    ticks: tuple[Tick, ...]
    warnings: tuple[str, ...]


class Timetable:
    """The ticks of several periodic jobs, from a moment on: what was due before it is not known."""

    def __init__(
        self, periodics: Iterable[Periodic], now: datetime, make_backoff: Callable[[], Backoff] = Backoff
    ) -> None:
        self._make_backoff = make_backoff
        self._seen = now
        self._rows = [_Row(each, each.cron.next_after(now, each.zone)) for each in periodics]

    def turn(self, now: datetime) -> Turn:
        """Return what is to be done at this moment."""
        warnings: list[str] = []
        if self._seen - now > SET_BACK:
            warnings.append(f"the clock was set back by {self._seen - now}: the ticks are planned anew from now on")
            for row in self._rows:
                row.next = row.periodic.cron.next_after(now, row.periodic.zone)
            self._seen = now
        self._seen = max(self._seen, now)
        for row in self._rows:
            if row.next <= now:
                warnings += self._advance(row, now)
        ticks = [row.tick for row in self._rows if row.tick is not None and row.tick.again_at <= now]
        return Turn(tuple(ticks), tuple(warnings))

    def _advance(self, row: _Row, now: datetime) -> list[str]:
        """Go on to the tick after this moment. Returns what is told of those that are lost."""
        warnings: list[str] = []
        periodic = row.periodic
        if row.tick is not None:
            warnings.append(f"missed {row.tick}: it could not be pushed before the next tick (jid {row.tick.job.jid})")
            row.tick = None
        first = row.next
        last = periodic.cron.last_before(now, first, periodic.zone) or first
        row.next = periodic.cron.next_after(now, periodic.zone)
        is_late = now - last > LATE
        is_pushed = not is_late or periodic.catch_up == "last"
        missed = _count(periodic, first, last) - (0 if is_late else 1)
        if missed:
            text = f"missed {_number(missed)} of {periodic}, from {first.isoformat(sep=' ', timespec='minutes')} on"
            warnings.append(f"{text}; the last of them is pushed now" if is_late and is_pushed else text)
        if is_pushed:
            row.tick = Tick(periodic, last, periodic.typed.to_job(), now, self._make_backoff())
        return warnings

    def failed(self, tick: Tick, now: datetime) -> float:
        """Take note that a push may be tried again; return in how many seconds that is."""
        delay = tick.backoff.next_delay()
        tick.has_failed, tick.again_at = True, now + timedelta(seconds=delay)
        return delay

    def done(self, tick: Tick) -> None:
        """Take note that a tick is pushed, or never can be."""
        for row in self._rows:
            if row.tick is tick:
                row.tick = None

    def wait(self, now: datetime) -> float:
        """Return the seconds until there is something to do, at most `GLANCE`."""
        moments = [row.next for row in self._rows]
        moments += [row.tick.again_at for row in self._rows if row.tick is not None]
        return min(max((min(moments) - now.astimezone(UTC)).total_seconds(), 0.0), GLANCE)

    def unpushed(self) -> list[Tick]:
        """Return the ticks whose pushes have not succeeded."""
        return [row.tick for row in self._rows if row.tick is not None]


def _count(periodic: Periodic, first: datetime, last: datetime) -> int:
    count = 1
    while first < last and count <= _MOST_COUNTED:
        first = periodic.cron.next_after(first, periodic.zone)
        count += 1
    return count


def _number(count: int) -> str:
    if count > _MOST_COUNTED - 1:
        return f"{_MOST_COUNTED:,} ticks or more"
    return "1 tick" if count == 1 else f"{count} ticks"
