"""Who has taken over where jobs go, and what time it is for them: nobody, or the test kit. One for the whole process.

`App`, `Client`, the async clients and the builders ask at every use, so that what was made before, or in another
thread, follows, too. `faktory.testing` pushes and pops, as context managers; nothing else does. Without an override
asking costs a look at a list. No I/O, no locks: a list's append and remove are atomic.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from .protocol.address import Address

T = TypeVar("T")


class Runner(Protocol):
    """Who can run the jobs of an app in this process."""

    def perform(self, job: Any) -> Any:
        """Run a job as a worker would, in this thread. Returns what it returned, raises what it raised."""
        ...

    def end_values(self) -> None:
        """Close the managed values that its jobs made."""
        ...


class Taker(Protocol):
    """Who takes what would be sent."""

    def take(self, job: Any, runner: Runner) -> None:
        """Take a job that an app pushes, and who would run it; the job has made the journey through JSON."""
        ...

    def call(self, command: Any) -> Any:
        """Answer a command that a client would send."""
        ...


class Override(Protocol):
    """What the latest one pushed decides. Called by any thread, and in forked children, too."""

    @property
    def taker(self) -> Taker | None:
        """Who takes jobs and commands; None when they are sent."""
        ...

    def address(self, told: Address) -> Address:
        """Return where a client or worker connects that was told this address. Raises `ConfigurationError`."""
        ...

    def time(self) -> float:
        """Return the time in seconds since 1970, for what is said relative to it."""
        ...

    def keep(self, owner: object, make: Callable[[], T]) -> T:
        """Return what `make` made for this owner when it first asked; closed when the override ends."""
        ...

    def describe(self) -> dict[str, Any] | None:
        """Return, as JSON, what a child process is told; its "adopt" is the reference of a function that takes it."""
        ...


_pushed: list[Override] = []


def push(override: Override) -> None:
    """Put an override in force, above those that are."""
    _pushed.append(override)


def pop(override: Override) -> None:
    """End an override, whatever was pushed since."""
    _pushed.remove(override)


def active() -> Override | None:
    """Return what is in force; None, as always outside of tests, when nothing is."""
    return _pushed[-1] if _pushed else None


def taker() -> Taker | None:
    """Return who takes what would be sent; None when it is sent."""
    return _pushed[-1].taker if _pushed else None


def place(told: Address) -> Address:
    """Return where a client or worker connects that was told this address. Raises `ConfigurationError`."""
    return _pushed[-1].address(told) if _pushed else told


def now() -> datetime:
    """Return the time that "in 60 seconds" counts from."""
    return datetime.fromtimestamp(_pushed[-1].time(), UTC) if _pushed else datetime.now(UTC)
