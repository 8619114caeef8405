"""Periodic jobs: which job of an app is due when. Declared by `App.periodic`, pushed by `faktoryctl cron`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from ..core.cron import Cron
from ..core.settings import nearest
from ..errors import ConfigurationError
from .context import JobContext
from .job import ContextJob, PlainJob, TypedJob

P = ParamSpec("P")
R = TypeVar("R")

CatchUp = Literal["none", "last"]
"""What becomes of ticks that were missed: nothing, or the last of them is pushed."""


class DeclarePeriodic(Protocol):
    """What `app.periodic(...)` gives: the decorator, for a job or for a function that is made one."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: ContextJob[P, R], /
    ) -> ContextJob[P, R]: ...
    @overload
    def __call__(self, fn: PlainJob[P, R], /) -> PlainJob[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[JobContext, P], R], /
    ) -> ContextJob[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> PlainJob[P, R]: ...


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job, and when it is due."""

    typed: TypedJob[Any, Any]
    cron: Cron
    tz: str
    """The name of the time zone."""
    zone: tzinfo = field(compare=False)
    catch_up: CatchUp = "none"

    def __str__(self) -> str:
        return f"{self.typed.jobtype} ({self.cron}, {self.tz})"


class Calendar:
    """The periodic jobs that one app has declared."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Periodic] = {}

    def add(self, typed: TypedJob[Any, Any], cron: Cron, tz: str, zone: tzinfo, catch_up: CatchUp) -> None:
        """Add a job; the same one at the same times, of a module imported again, takes its own place.

        Raises `ConfigurationError` for a job that cannot be called without arguments.
        """
        required = typed.signature.required
        if required:
            raise ConfigurationError(
                f"the periodic job {typed.jobtype!a} must be callable without arguments, and needs "
                f"{', '.join(required)}; give them defaults, or make a job without them that calls it"
            )
        self._known[typed.jobtype, cron.expression, tz] = Periodic(typed, cron, tz, zone, catch_up)

    def move(self, old: object, new: TypedJob[Any, Any]) -> None:
        """Have a job that was declared anew, `@app.job` above `@app.periodic`, take the place of the old one."""
        moved = [each for each in self._known.values() if each.typed is old]
        self._known = {key: each for key, each in self._known.items() if each.typed is not old}
        for each in moved:
            self._known[new.jobtype, each.cron.expression, each.tz] = replace(each, typed=new)

    def decorator(
        self, expression: str, tz: str, catch_up: CatchUp, declare: Callable[[Any], TypedJob[Any, Any]]
    ) -> Callable[[Any], Any]:
        """Return what adds a job, or what `declare` makes of a function. Raises `ConfigurationError`."""
        cron, zone = checked_times(expression, tz, catch_up)

        def decorate(fn: Any) -> TypedJob[Any, Any]:
            typed = fn if isinstance(fn, TypedJob) else declare(fn)
            self.add(typed, cron, tz, zone, catch_up)
            return typed

        return decorate

    def __iter__(self) -> Iterator[Periodic]:
        return iter(list(self._known.values()))


def checked_times(expression: str, tz: str, catch_up: str) -> tuple[Cron, tzinfo]:
    """Return when something is due, and in which zone. Raises `ConfigurationError`."""
    if catch_up not in ("none", "last"):
        raise ConfigurationError(f'catch_up must be "none" or "last", got {catch_up!a:.60}')
    return Cron.parse(expression), _zone(tz)


def _zone(tz: str) -> tzinfo:
    if tz == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(tz)
    except (ValueError, TypeError, OSError, LookupError):
        known = available_timezones()
        hint = nearest(tz, sorted(known)) if isinstance(tz, str) and known else ""
        if not known:
            hint = "; this system has no time zones: install its package of them, or tzdata"
        raise ConfigurationError(f'tz must be a time zone like "Europe/Berlin", got {tz!a:.60}{hint}') from None
