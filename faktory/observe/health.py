"""What a probe is told: pure judgements over what a consumer says of itself.

*Live* is what a restart could mend: the main loop and the heartbeat's thread go round. A server that is away is no
reason to restart a worker, and a worker whose threads are all busy is well. *Ready* is what the consumer says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, Final, Protocol

from ..runtime.ticking import monotonic

TICK_LIMIT: Final = 30.0
"""Seconds without a tick after which the main loop hangs."""
TICK_EVERY: Final = 5.0
"""Seconds between two ticks, at most, where somebody looks."""
HEARTBEAT_LIMIT: Final = 60.0
"""Seconds without a round after which the heartbeat's thread hangs: a beat, with a new connection, may take 35."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How long ago, in seconds: None for what does not turn just now, which is no fault."""

    tick: float | None
    """Since the main loop went round; None while nothing is run."""
    heartbeat: float | None
    """Since the heartbeat's thread went round, to beat or to reconnect; None while it is not started."""


class Pulse:
    """When the main loop and the heartbeat's thread last went round. Written by those two, read by any thread."""

    __slots__ = ("every", "rounded_at", "ticked_at")

    def __init__(self) -> None:
        self.every: float = inf
        """Seconds that the main loop may wait before it ticks; infinite while nobody looks."""
        self.ticked_at: float | None = None
        self.rounded_at: float | None = None

    def watch(self, every: float) -> None:
        """Have the main loop tick each so many seconds at most. Wake it, if it waits already."""
        self.every = min(self.every, every)
        if self.ticked_at is not None:
            self.tick()

    def tick(self) -> None:
        """Note that the main loop goes round."""
        self.ticked_at = monotonic()

    def round(self) -> None:
        """Note that the heartbeat's thread goes round."""
        self.rounded_at = monotonic()

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


class Healthy(Protocol):
    """What `faktory.Health` says, as far as it is read here."""

    @property
    def state(self) -> Any:
        """Running, quiet, terminating or terminated."""
        ...

    @property
    def is_ready(self) -> bool:
        """True while it takes jobs."""
        ...

    @property
    def workers(self) -> int:
        """Jobs at a time."""
        ...

    @property
    def busy(self) -> int:
        """Jobs that run."""
        ...

    @property
    def last_fetch_age(self) -> float | None:
        """Seconds since a FETCH was answered."""
        ...

    @property
    def last_beat_age(self) -> float | None:
        """Seconds since a BEAT was answered."""
        ...

    @property
    def reconnects(self) -> int:
        """Connections lost so far."""
        ...

    @property
    def unreported(self) -> int:
        """Outcomes that the server has not confirmed."""
        ...


def reason_not_live(ages: Ages) -> str | None:
    """Return why a worker is to be restarted; None for one that lives."""
    if ages.tick is not None and ages.tick > TICK_LIMIT:
        return f"the main loop has not gone round for {ages.tick:.0f} s (at most {TICK_LIMIT:g} s)"
    if ages.heartbeat is not None and ages.heartbeat > HEARTBEAT_LIMIT:
        return f"the heartbeat has not gone round for {ages.heartbeat:.0f} s (at most {HEARTBEAT_LIMIT:g} s)"
    return None


def reason_not_ready(health: Healthy) -> str | None:
    """Return why a worker takes no jobs; None for one that does."""
    if health.is_ready:
        return None
    state = getattr(health.state, "value", health.state)
    return f"the worker is {state}" if state != "running" else "the worker does not fetch: not at work, or no server"


def document_of(health: object, *, is_live: bool) -> dict[str, Any]:
    """Return `health()` as JSON can carry it, with `is_live`."""
    names = getattr(health, "__dataclass_fields__", {})
    found = {name: getattr(health, name) for name in names}
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in found.items()}
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in plain.items()}
    return {"is_live": is_live, **rounded}


def text_of(document: dict[str, Any]) -> str:
    """Return a document as one line."""
    return json.dumps(document) + "\n"
