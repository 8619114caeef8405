"""What a consumer tells of itself: how it is just now, and what a drain has done. In every front end."""

from __future__ import annotations

from dataclasses import dataclass

from .ledger import Tally
from .lifecycle import State


@dataclass(frozen=True, slots=True)
class Summary:
    """What `drain` has done: jobs that succeeded and failed, and how long it took in seconds.

    >>> summary = consumer.drain(["default"])
    >>> print(f"{summary.succeeded} of {summary.total} succeeded in {summary.seconds:.1f} s")
    """

    succeeded: int
    failed: int
    seconds: float
    skipped: int = 0
    """Jobs that middleware has ended on purpose, without running them: acknowledged, too."""
    unreported: int = 0
    """Jobs whose outcome the server has not confirmed: it has them run again, unless it says why in the log."""

    @property
    def total(self) -> int:
        """Jobs done, whatever became of them."""
        return self.succeeded + self.failed + self.skipped


@dataclass(frozen=True, slots=True)
class Health:
    """How a consumer is just now. Ages are in seconds; None before the first time.

    >>> health = consumer.health()
    >>> print(health.is_ready, f"{health.busy} of {health.workers} busy")
    """

    state: State
    is_ready: bool
    """True while it takes jobs: running, at work, and fetching (or with every worker busy)."""
    workers: int
    busy: int
    """Workers that run a job."""
    last_fetch_age: float | None
    """Since a FETCH was answered; it grows while every worker is busy."""
    last_beat_age: float | None
    last_report_age: float | None
    """Since the server confirmed an outcome."""
    reconnects: int
    """Connections lost so far."""
    unreported: int
    """Outcomes that the server has not confirmed."""


def summary_of(done: Tally, seconds: float, waiting: int) -> Summary:
    """Return what a drain has done; `waiting` is how many outcomes wait for the server yet."""
    return Summary(done.succeeded, done.failed, seconds, done.skipped, done.given_up + waiting)
