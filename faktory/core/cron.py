"""Cron expressions: when a periodic job is due. Pure: the time and the zone are arguments.

The five fields of Vixie cron: minute, hour, day of month, month, day of week (0 and 7 are Sunday), or a word like
@daily. Day of month OR day of week counts when neither begins with a star, both count otherwise, as in crontab(5).

Where clocks are changed:

* An hour field that means every hour goes by elapsed time: no tick in the hour that is left out, and ticks in both
  passes of the one that comes twice.
* Any other tick that falls into the gap comes once, when the gap ends (02:30 at 03:00), and one in the hour that
  comes twice in the first pass alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from ..errors import ConfigurationError
from .settings import nearest

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MINUTE: Final = timedelta(minutes=1)
_ITEM: Final = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/([0-9]+))?")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Words for the numbers, from `least` on."""

    def read(self, text: str) -> tuple[int, ...]:
        """Return the numbers that a field means, in order. Raises ValueError, whose text is what was expected."""
        found: set[int] = set()
        for item in text.split(","):
            match = _ITEM.fullmatch(item)
            if match is None:
                raise ValueError(f"expected {self._expected}, got {item!a:.40}")
            star, first, last, step = match.groups()
            low = self.least if star else self._number(first)
            high = self.most if star or (step and last is None) else low if last is None else self._number(last)
            if low > high and self.name == "day of week" and high == 0:
                high = 7  # FRI-SUN
            if low > high:
                raise ValueError(f"expected a range that goes up, got {item!a:.40}; write it as a list of two ranges")
            if step is not None and not 0 < int(step[:9]) <= self.most:
                raise ValueError(f"expected a step from 1 to {self.most}, got {item!a:.40}")
            found.update(range(low, high + 1, int(step or 1)))
        return tuple(sorted({number % 7 for number in found} if self.name == "day of week" else found))

    @property
    def _expected(self) -> str:
        names = f" or {self.names[0].upper()} to {self.names[-1].upper()}" if self.names else ""
        return f"numbers from {self.least} to {self.most}{names}, as *, 5, 1-5, */2 or a list with commas"

    def _number(self, word: str) -> int:
        if word.lower() in self.names:
            return self.names.index(word.lower()) + self.least
        if not re.fullmatch(r"[0-9]{1,4}", word) or not self.least <= int(word) <= self.most:
            raise ValueError(f"expected {self._expected}, got {word!a:.40}{nearest(word.lower(), self.names)}")
        return int(word)


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is due, in the wall time of a zone. Made by `Cron.parse`."""

    expression: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    """Of the week: 0 is Sunday."""
    needs_both: bool
    """Day of month and day of week must both match: one of them begins with a star."""

    @classmethod
    def parse(cls, expression: str) -> Cron:
        """Read an expression like "*/5 8-18 * * MON-FRI" or "@daily". Raises `ConfigurationError`."""
        if not isinstance(expression, str):
            raise ConfigurationError(f'expected a cron expression like "*/5 * * * *", got {expression!a:.60}')
        text = expression.strip()
        if text.startswith("@"):
            if text.lower() not in _WORDS:
                known = ", ".join(_WORDS)
                raise ConfigurationError(f"expected one of {known}, got {text!a:.40}{nearest(text.lower(), _WORDS)}")
            text = _WORDS[text.lower()]
        words = text.split()
        if len(words) != 5:
            raise ConfigurationError(
                "expected the five fields minute, hour, day of month, month and day of week, "
                f"got {len(words)} in {expression!a:.80}; every five minutes is */5 * * * *"
            )
        found: list[tuple[int, ...]] = []
        for each, word in zip(_FIELDS, words, strict=True):
            try:
                found.append(each.read(word))
            except ValueError as exc:
                raise ConfigurationError(f"the {each.name} of {expression!a:.80}: {exc}") from None
        minutes, hours, days, months, weekdays = found
        needs_both = words[2].startswith("*") or words[4].startswith("*")
        if needs_both and days[0] > max(monthrange(2024, month)[1] for month in months):
            raise ConfigurationError(f"expected a day that comes, got {expression!a:.80}: no such month is that long")
        return cls(" ".join(expression.split()), minutes, hours, days, months, weekdays, needs_both)

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the first tick after a moment, an aware datetime, in the time of the zone."""
        if len(self.hours) == 24:
            return self._next_by_elapsed_time(moment, zone)
        here = moment.astimezone(zone).replace(tzinfo=None)
        day = here.date()
        clock: time | None = here.time()
        while True:
            if not self._has_day(day):
                day, clock = self._next_day(day), None
            for hour in self.hours:
                for minute in self.minutes:
                    wall = time(hour, minute)
                    # Candidates up to the wall time of the moment come no later than it, in both passes of an hour.
                    if clock is None or wall > clock:
                        tick = _instant(datetime.combine(day, wall), zone)
                        if tick > moment:
                            return tick.astimezone(zone)
            day, clock = day + timedelta(days=1), None

    def _next_by_elapsed_time(self, moment: datetime, zone: tzinfo) -> datetime:
        at = moment.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
        while True:
            here = at.astimezone(zone)
            if not self._has_day(here.date()):
                midnight = datetime.combine(self._next_day(here.date()), time())
                at = max(_instant(midnight, zone), at + _MINUTE)
                continue
            place = bisect_left(self.minutes, here.minute)
            minute = self.minutes[place] if place < len(self.minutes) else 60
            if minute == here.minute:
                return here
            at += timedelta(minutes=minute - here.minute)

    def last_before(self, until: datetime, after: datetime, zone: tzinfo) -> datetime | None:
        """Return the last tick after one moment and not after another; None when there is none."""
        span = timedelta(hours=1)
        while (start := max(after, until - span)) > after and self.next_after(start, zone) > until:
            span *= 2
        found: datetime | None = None
        tick = self.next_after(start, zone)
        while tick <= until:
            found, tick = tick, self.next_after(tick, zone)
        return found

    def _has_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        is_day, is_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (is_day and is_weekday) if self.needs_both else (is_day or is_weekday)

    def _next_day(self, day: date) -> date:
        day += timedelta(days=1)
        while not self._has_day(day):
            if day.month not in self.months:  # on to the first of a month that counts
                place = bisect_right(self.months, day.month)
                is_next_year = place == len(self.months)
                day = date(day.year + is_next_year, self.months[0 if is_next_year else place], 1)
            else:
                day += timedelta(days=1)
        return day

    def __str__(self) -> str:
        return self.expression


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """Return when a wall time comes, in UTC: the first of two passes, the end of the gap that leaves it out."""
    first = wall.replace(tzinfo=zone, fold=0)
    came = first.astimezone(UTC)
    if came.astimezone(zone).replace(tzinfo=None) == wall:
        return came
    # In a gap the offset from before it gives a moment after its end, the one from after it a moment before.
    low, high = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), came
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return (low + timedelta(seconds=1)).replace(microsecond=0)
