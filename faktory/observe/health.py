"""What a probe is told: pure judgements over what a consumer says of itself.

*Live* is what a restart could mend: the main loop and the heartbeat's thread go round. A server that is away is no
reason to restart a worker, and a worker whose threads are all busy is well. *Ready* is what the consumer says.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final, Protocol

from ..core.pulse import Ages

TICK_LIMIT: Final = 30.0
"""Seconds without a tick after which the main loop hangs."""
TICK_EVERY: Final = 5.0
"""Seconds between two ticks, at most, where somebody looks."""
HEARTBEAT_LIMIT: Final = 60.0
"""Seconds without a round after which the heartbeat's thread hangs: a beat, with a new connection, may take 35."""


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
