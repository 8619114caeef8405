"""What a supervisor does with one child process: start, end, wait, start anew. Pure: `now` is monotonic seconds."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

NEVER: Final = float("inf")
STEADY: Final = 10.0
"""A child that has lived so many seconds has its earlier deaths forgotten."""
LONGEST_PAUSE: Final = 30.0
RELOAD_PATIENCE: Final = 3.0
"""Seconds that running jobs have when the code has changed, before the second signal."""
END_PATIENCE: Final = 5.0
"""Seconds that a child has beyond what it was promised, before it is killed."""


class Act(Enum):
    """What to do now."""

    START = auto()
    TERMINATE = auto()
    FORCE = auto()
    """Send the second signal, which ends it at once."""
    KILL = auto()


class Then(Enum):
    """What follows when a child has ended by itself."""

    AT_ONCE = auto()
    LATER = auto()
    """After a pause that grows."""
    WAIT = auto()
    """For a change of the code."""
    STOP = auto()
    """It is done; so is its place."""
    GIVE_UP = auto()
    """There is no use in going on with any."""


Policy = Callable[[int, int], Then]
"""Called with the exit code and the number of starts so far."""


class Course:
    """One child's course. The caller carries out what `due` says, and tells what happened."""

    def __init__(self, policy: Policy, now: float) -> None:
        self.has_child: bool = False
        self.is_over: bool = False
        """True when nothing will be started any more, and nothing runs."""
        self.is_ending: bool = False
        self.is_replacing: bool = False
        self.starts: int = 0
        self.start_at: float = now
        self._policy = policy
        self._started_at = now
        self._failures = 0
        self._terminate_at = self._force_at = self._kill_at = NEVER

    @property
    def next_at(self) -> float:
        """When `due` has something to say; infinite when only an event can bring it."""
        times = (self._terminate_at, self._force_at, self._kill_at) if self.has_child else (self.start_at,)
        return min(times)

    def due(self, now: float) -> Act | None:
        """Return what to do now; ask until it is None."""
        if not self.has_child:
            if self.start_at > now:
                return None
            self.start_at = NEVER
            self.has_child = True
            self.starts += 1
            self._started_at = now
            return Act.START
        for act, name in ((Act.KILL, "_kill_at"), (Act.TERMINATE, "_terminate_at"), (Act.FORCE, "_force_at")):
            if getattr(self, name) <= now:
                setattr(self, name, NEVER)
                return act
        return None

    def replace(self, now: float) -> None:
        """Start anew, as the code has changed."""
        if self.is_ending:
            return
        if not self.has_child:
            self.start_at = now
        elif not self.is_replacing:
            self.is_replacing = True
            self._terminate_at = now
            self._force_at = now + RELOAD_PATIENCE
            self._kill_at = self._force_at + END_PATIENCE

    def end(self, now: float, timeout: float) -> None:
        """End it: its jobs have so many seconds."""
        self.is_ending = True
        self.start_at = NEVER
        if self.has_child:
            self._terminate_at, self._force_at = now, NEVER
            self._kill_at = now + timeout + END_PATIENCE
        else:
            self.is_over = True

    def force(self, now: float) -> None:
        """End it at once."""
        self.end(now, 0.0)
        self._terminate_at, self._force_at = NEVER, now if self.has_child else NEVER

    def ended(self, code: int, now: float) -> Then:
        """Note that the child has ended; return what follows."""
        self.has_child = False
        self._terminate_at = self._force_at = self._kill_at = NEVER
        if self.is_ending:
            self.is_over = True
            return Then.STOP
        if self.is_replacing:
            self.is_replacing = False
            self._failures = 0
            self.start_at = now
            return Then.AT_ONCE
        if now - self._started_at >= STEADY:
            self._failures = 0
        then = self._policy(code, self.starts)
        if then is Then.AT_ONCE:
            self.start_at = now
        elif then is Then.LATER:
            self.start_at = now + min(LONGEST_PAUSE, 2.0**self._failures)
            self._failures += 1
        self.is_over = then in (Then.STOP, Then.GIVE_UP)
        return then
