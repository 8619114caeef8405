"""A consumer as observers of it see it, made up."""

from __future__ import annotations

from dataclasses import dataclass, field

from faktory.core.lifecycle import State
from faktory.core.pulse import Pulse
from faktory.core.standing import Health
from faktory.observe.collecting import Subject
from faktory.observe.metrics import Metrics


@dataclass
class FakeConsumer:
    """Says of itself what a test tells it to."""

    state: State = State.RUNNING
    is_ready: bool = True
    busy: int = 0
    reconnects: int = 0
    pulse: Pulse = field(default_factory=Pulse)
    metrics: Metrics = field(default_factory=Metrics)
    children: dict[str, int] = field(default_factory=dict)

    def health(self) -> Health:
        return Health(self.state, self.is_ready, 4, self.busy, 1.5, 2.5, None, self.reconnects, 3)

    @property
    def _observation(self) -> FakeConsumer:
        return self

    def subject(self) -> Subject:
        info = {"version": "1", "server": "tcp://localhost:7419", "pool": "threads"}
        return Subject(self.health, self.pulse, self.metrics, info, lambda: self.children)
