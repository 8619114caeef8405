"""A consumer's way from running to its end, and when the next beat is due. Pure: `now` is monotonic seconds.

running -> quiet (no new jobs) -> terminating (no new jobs, and an end in sight) -> terminated. Never back: the server's
own states only move forward, too (server/workers.go), but it forgets them, so they are kept here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

from .pulse import Pulse


class State(StrEnum):
    """Where a consumer is in its life.

    >>> if consumer.state is State.QUIET:
    ...     print("takes no new jobs")
    """

    RUNNING = "running"
    QUIET = "quiet"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


StoppedBy = Literal["server", "signal", "method", "predicate", "error"]
"""Who has asked for a consumer's end."""


class News(NamedTuple):
    """What the log is to be told of a change."""

    text: str
    args: tuple[object, ...] = ()
    """What its `%` signs stand for: who reads logs knows a line by its text."""
    is_urgent: bool = False
    """True for a warning."""


class Lifecycle:
    """The one door through which the server, signals and methods change a consumer's state."""

    __slots__ = (
        "_interval",
        "_next_beat",
        "_shutdown_timeout",
        "deadline",
        "is_ending",
        "may_fetch",
        "pulse",
        "state",
        "stopped_by",
    )

    def __init__(self, *, shutdown_timeout: float, heartbeat_interval: float, now: float) -> None:
        self.state: State = State.RUNNING
        self.may_fetch: bool = True
        """True while new jobs are wanted."""
        self.is_ending: bool = False
        """True from terminate on."""
        self.deadline: float = float("inf")
        """When running jobs are cut off; infinite until terminating."""
        self.stopped_by: StoppedBy | None = None
        """Who was the first to ask for the end; "error" is taken back by `resume`."""
        self.pulse: Pulse = Pulse()
        """When the consumer's own loops went round."""
        self._shutdown_timeout = shutdown_timeout
        self._interval = heartbeat_interval
        self._next_beat = now  # the first one at once: HELLO, which the server counts as one, tells no memory

    @property
    def beat_state(self) -> Literal["quiet", "terminate"] | None:
        """What BEAT tells the server; None while running."""
        if self.state is State.RUNNING:
            return None
        return "quiet" if self.state is State.QUIET else "terminate"

    def quiet(self, now: float) -> News | None:
        """Stop taking jobs. Returns None when that is no news."""
        if self.state is not State.RUNNING:
            return None
        self._enter(State.QUIET)
        self._next_beat = now  # the server's Web UI should know
        return News("quiet: no new jobs are taken")

    def terminate(self, now: float, by: StoppedBy = "method") -> News | None:
        """Stop taking jobs and end after the shutdown timeout at the latest. Returns None when that is no news."""
        if self.is_ending:
            return None
        self._asked(by)
        self._enter(State.TERMINATING)
        self.deadline = now + self._shutdown_timeout
        self._next_beat = now
        return News("terminating: running jobs have %g s to end", (self._shutdown_timeout,))

    def force(self, now: float, by: StoppedBy = "method") -> News:
        """Give running jobs no more time."""
        self.terminate(now, by)
        self.deadline = min(self.deadline, now)
        return News("terminating now: running jobs are cut off", is_urgent=True)

    def server_says(self, wanted: str | None, now: float) -> News | None:
        """Obey the answer to a BEAT; None asks for nothing."""
        if wanted == "quiet":
            return self.quiet(now)
        if wanted == "terminate":
            return self.terminate(now, "server")
        if wanted is None:
            return None
        return News("the server wants the unknown state %a; going on", (wanted[:80],), is_urgent=True)

    def failed(self) -> None:
        """Note that an error has ended a session, or the start."""
        self._asked("error")

    def resume(self) -> None:
        """Note that another session begins, if it may: what has ended the one before is past."""
        if not self.is_ending:
            self.stopped_by = None

    def finish(self) -> None:
        """Note that everything has ended; of what nobody has stopped before, by a method: it was closed."""
        self._asked("method")
        self._enter(State.TERMINATED)

    def _asked(self, by: StoppedBy) -> None:
        self.stopped_by = self.stopped_by or by

    def _enter(self, state: State) -> None:
        self.state = state
        self.may_fetch = False
        self.is_ending = state is not State.QUIET

    def is_over(self, now: float) -> bool:
        """True once the time for running jobs is up."""
        return now >= self.deadline

    def beat_in(self, now: float) -> float:
        """Return the seconds until the next beat is due, 0 when it is."""
        return max(0.0, self._next_beat - now)

    def beat_sent(self, now: float, told: Literal["quiet", "terminate"] | None) -> None:
        """Note a beat that the server has answered, and the state it told; if that is old news, the next is due."""
        self._next_beat = now + self._interval if told == self.beat_state else now

    def beat_at_once(self, now: float) -> None:
        """Note that there is reason to beat: the server can be reached again."""
        self._next_beat = min(self._next_beat, now)

    def beat_failed(self, now: float, retry_in: float) -> None:
        """Note that the server was not reached; try again in so many seconds, or when a beat is due anyway."""
        due = self._next_beat if self._next_beat > now else now + self._interval
        self._next_beat = min(now + retry_in, due)
