"""One fetcher's turns: how it is woken, and when its FETCH left."""

from __future__ import annotations

from collections.abc import Callable

from .backend import Event


class Turn:
    """What a fetcher shares with others. For the scheduler's thread.

    `is_connected()` tells whether it has a connection that has not been found broken.
    """

    __slots__ = ("_wake", "asked_at", "is_connected", "is_over")

    def __init__(self, event: Event, is_connected: Callable[[], bool]) -> None:
        self.is_connected: Callable[[], bool] = is_connected
        self.asked_at: float = 0.0
        """When its last FETCH left, on the clock of reservations."""
        self.is_over: bool = False
        """True when it was to fetch once, and has."""
        self._wake = event

    def rest(self, event: Event) -> None:
        """Have the next `wait` wait for a new event."""
        self._wake = event

    def be_woken(self) -> None:
        """Have the fetcher look again."""
        self._wake.set()

    async def wait(self) -> None:
        """Wait to be woken."""
        await self._wake.wait()

    def fetch_leaves(self, asked_at: float) -> None:
        """Note when a FETCH left."""
        self.asked_at = asked_at

    def end(self) -> None:
        """Note that it has fetched all that it was to fetch."""
        self.is_over = True
