"""Whether and when children may be started, after some ended before they were ready. For all children of a consumer.

Thread-safe; pure but for its lock: `now` is monotonic seconds, and what to log is returned, not logged.
"""

from __future__ import annotations

import threading
from typing import Final

from ..core.backoff import Backoff
from ..errors import ChildStartFailed
from ..options import CHILD_START_TRIES

_SAY_AGAIN: Final = 60.0
"""Seconds after which the same trouble is worth another line in the log."""


class Starts:
    """Counts failed starts in rounds: children that were started together, and failed together, have failed once."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = Backoff(first=0.5) if backoff is None else backoff
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._failed_at = 0.0
        self._said_at: float | None = None
        self.rounds: int = 0
        """How often starting has failed since a child was ready."""
        self.reason: str = ""
        """Why it failed the last time."""
        self.have_succeeded: bool = False
        """True once a child was ready."""

    def trouble(self) -> ChildStartFailed | None:
        """Return what a `run` that does not go on for ever should raise; None while there is hope."""
        if self.rounds < CHILD_START_TRIES:
            return None
        return ChildStartFailed(
            f"child processes did not start, {self.rounds} times in a row, and no job was fetched for them: "
            f"{self.reason}"
        )

    def wait(self, now: float) -> float:
        """Return the seconds until another child may be started, 0 when it may be now."""
        return max(0.0, self._not_before - now)

    def note_failure(self, reason: str, begun: float, now: float) -> str | None:
        """Note that a start, begun at a time, has failed. Returns what to log, None when that was said a moment ago."""
        with self._lock:
            self.reason = reason
            if begun < self._failed_at:
                return None  # of the round that is counted already
            self._failed_at = now
            self.rounds += 1
            delay = self._backoff.next_delay()
            self._not_before = now + delay
            if self._said_at is not None and now - self._said_at < _SAY_AGAIN:
                return None
            self._said_at = now
            return f"{reason}; no job is fetched for it, and the next one starts in {delay:.1f} s"

    def note_success(self) -> str | None:
        """Note that a child is ready. Returns what to log when there was trouble before."""
        with self._lock:
            self.have_succeeded = True
            if not self.rounds:
                return None
            self.rounds = 0
            self._not_before = 0.0
            self._said_at = None
            self._backoff.reset()
            return "child processes start again"
