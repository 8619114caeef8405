"""When the main loop and the heartbeat's thread last went round, for whoever asks whether a worker lives. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Ages:
    """How long ago, in seconds: None for what does not turn just now, which is no fault."""

    tick: float | None
    """Since the main loop went round; None while nothing is run, or nobody looks."""
    heartbeat: float | None
    """Since the heartbeat's thread went round, to beat or to reconnect; None while it is not started."""


class Pulse:
    """Written by the main loop and the heartbeat's thread, read by any. Moments are monotonic seconds."""

    __slots__ = ("every", "rounded_at", "ticked_at")

    def __init__(self) -> None:
        self.every: float = inf
        """Seconds that the main loop may wait before it ticks; infinite while nobody looks."""
        self.ticked_at: float | None = None
        """When the main loop last went round; None while it does not."""
        self.rounded_at: float | None = None
        """When the heartbeat's thread last went round; None while it does not."""

    def watch(self, every: float, now: float) -> None:
        """Have the main loop tick each so many seconds at most. Wake it, if it waits already."""
        self.every = min(self.every, every)
        if self.ticked_at is not None:
            self.ticked_at = now

    def tick(self, now: float) -> None:
        """Note that the main loop goes round."""
        self.ticked_at = now

    def round(self, now: float) -> None:
        """Note that the heartbeat's thread goes round."""
        self.rounded_at = now

    def rest(self) -> None:
        """Note that nothing is run any more: from now on neither goes round."""
        self.ticked_at = self.rounded_at = None

    def ages(self, now: float) -> Ages:
        """Return how long ago each went round."""
        ticked_at, rounded_at = self.ticked_at, self.rounded_at
        return Ages(
            None if ticked_at is None or self.every == inf else max(0.0, now - ticked_at),
            None if rounded_at is None else max(0.0, now - rounded_at),
        )
