"""A clock that can be turned forward, for everything in the server that waits for a time to come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ..errors import ConfigurationError


class Clock:
    """The time of a server: the real one plus what `advance` added. Thread-safe.

    With `start`, an aware datetime, the clock stands there and moves only by `advance`; FETCH still waits 2 real
    seconds, since a client's patience is real.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.utcoffset() is None:
            raise ConfigurationError("a clock's start must be a datetime with a time zone")
        self._start = None if start is None else start.timestamp()
        self._advanced = 0.0
        self._watchers: list[Callable[[bool], None]] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return (time.time() if self._start is None else self._start) + self._advanced

    def utcnow(self) -> datetime:
        """Return the time as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def monotonic(self) -> float:
        """Return the time that waits are measured on, in seconds: it runs always, and `advance` moves it too."""
        return time.monotonic() + self._advanced

    def advance(self, seconds: float | timedelta, *, beating: bool = False) -> None:
        """Move the clock forward, by seconds or a timedelta; when this returns, all that became due has happened.

        Reservations expire, retries and scheduled jobs enter their queues and waiting FETCHes get them, old dead jobs
        go, FETCHes that have now waited 2 s end. Workers are silent meanwhile, so those whose last beat is now more
        than 60 s ago are cut off; `beating` spares them. It is one jump: what happens gets the new time, and what
        follows from it (the retry of a job that expired just now) needs another.
        """
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        if not seconds >= 0:
            raise ConfigurationError(f"a clock can only be moved forward, got {seconds} seconds")
        with self._lock:
            self._advanced += seconds
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher(beating)

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Call `watcher` at every `advance`, with its `beating`."""
        with self._lock:
            self._watchers.append(watcher)

    def __repr__(self) -> str:
        kind = "real" if self._start is None else "standing"
        return f"<Clock {kind} {self.utcnow().isoformat(timespec='seconds')}>"
