"""A clock that can be turned forward, for everything in the server that waits for a time to come."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ..errors import ConfigurationError
from .forks import elsewhere, remember
from .timestamps import LATEST


def monotonic() -> float:
    """Return the time that waits are measured on, which also runs while a test has frozen `time`.

    What freezes time replaces `time.monotonic`, in every module that has it, and leaves this one alone.
    """
    if hasattr(time, "clock_gettime"):
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()  # on Windows


class Clock:
    """The time of a server: the real one plus what `advance` added. Thread-safe.

    With `start`, an aware datetime, the clock stands there and moves only by `advance`; FETCH still waits 2 real
    seconds, since a client's patience is real.

    >>> server = Server(clock=Clock(start=datetime(2026, 1, 1, tzinfo=UTC)))
    >>> server.clock.advance(3600)
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.utcoffset() is None:
            raise ConfigurationError("a clock's start must be a datetime with a time zone")
        self._start = None if start is None else start.timestamp()
        if self._start is not None and not self._start <= LATEST:
            raise ConfigurationError(f"a clock's start must be before the last second of the year 9999, got {start}")
        self._advanced = 0.0
        self._watchers: list[weakref.WeakMethod[Callable[[bool], None]]] = []
        self._lock = threading.Lock()
        self._is_elsewhere = False
        remember(self)

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return (time.time() if self._start is None else self._start) + self._advanced

    @property
    def is_standing(self) -> bool:
        """True when it moves by `advance` alone."""
        return self._start is not None

    def utcnow(self) -> datetime:
        """Return the time as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def monotonic(self) -> float:
        """Return the time that waits are measured on, in seconds: it runs always, and `advance` moves it too."""
        return monotonic() + self._advanced

    def advance(self, seconds: float | timedelta, *, beating: bool = False) -> None:
        """Move the clock forward, by seconds or a timedelta; when this returns, all that became due has happened.

        Reservations expire, retries and scheduled jobs enter their queues and waiting FETCHes get them, in the order of
        their time; old dead jobs go, FETCHes that have now waited 2 s end. Workers are silent meanwhile, so those whose
        last beat is now more than 60 s ago are cut off; `beating` spares them. It is one jump: what happens gets the
        new time, and what follows from it (the retry of a job that expired just now) needs another.

        Raises `ConfigurationError` for a step backwards or beyond the year 9999; then nothing has changed.
        """
        if self._is_elsewhere:
            raise elsewhere("this clock's server")
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        if not seconds >= 0:
            raise ConfigurationError(f"a clock can only be moved forward, got {seconds} seconds")
        with self._lock:
            if not self.now() + seconds <= LATEST:
                raise ConfigurationError(f"a clock can be moved forward within the year 9999, got {seconds} seconds")
            self._advanced += seconds
            watchers = [watcher() for watcher in self._watchers]
        for watcher in watchers:
            if watcher is not None:
                watcher(beating)

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Call `watcher`, a method, at every `advance`, with its `beating`. Does not keep its object alive."""
        with self._lock:
            self._watchers = [each for each in self._watchers if each() is not None]
            self._watchers.append(weakref.WeakMethod(watcher))

    def after_fork(self) -> None:
        """Forget the servers, which are in the parent."""
        self._lock = threading.Lock()
        self._is_elsewhere = bool(self._watchers)

    def __repr__(self) -> str:
        kind = "real" if self._start is None else "standing"
        return f"<Clock {kind} {self.utcnow().isoformat(timespec='seconds')}>"
