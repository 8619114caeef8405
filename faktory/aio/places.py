"""A number of places, taken in the order of coming: a fair semaphore."""

from __future__ import annotations

from collections import deque

from ..runtime.ticking import monotonic
from .backend import Backend, Event, more_time


class Places:
    """A place given back goes to the one who has waited longest, never past it to the task that gave it back."""

    __slots__ = ("_backend", "_free", "_is_closed", "_waiting")

    def __init__(self, backend: Backend, number: int) -> None:
        self._backend = backend
        self._free = number
        self._waiting: deque[Event] = deque()  # never anybody while a place is free
        self._is_closed = False

    async def take(self, seconds: float = float("inf")) -> bool:
        """Wait for a place so long. Returns False without one; always, from `close` on."""
        if self._is_closed:
            return False
        if self._free:
            self._free -= 1
            return True
        event = self._backend.event()
        self._waiting.append(event)
        limit = monotonic() + seconds
        try:
            if not await self._backend.wait(event, seconds):
                # After a freeze those who have the places may be able to give them back.
                await self._backend.wait(event, more_time(monotonic() - limit))
        except BaseException:
            if event.is_set():
                self.give_back()  # it was ours already, and is another's now
            else:
                self._waiting.remove(event)
            raise
        if not event.is_set():
            self._waiting.remove(event)
        return event.is_set() and not self._is_closed

    def give_back(self) -> None:
        """Hand a place on."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1

    def close(self) -> None:
        """Send everybody away who waits."""
        self._is_closed = True
        while self._waiting:
            self._waiting.popleft().set()
