"""Sessions that wait in FETCH, in the order of their arrival. Pure: `until` and `now` come from the caller's clock.

A job goes to the earliest waiter of its queue, as with Redis' BRPOP (manager/fetch.go of contribsys/faktory). A waiter
whose client has gone still takes a job: the real server does not look at the socket either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Waiter:
    """One FETCH that found nothing. `answer` is called once, with the job's text or None; it may not raise."""

    queues: tuple[str, ...]
    wid: str
    until: float
    answer: Callable[[bytes | None], None]


class Waiters:
    """All waiters of a server; each waits on all of its queues until it is answered."""

    def __init__(self) -> None:
        self._by_arrival: dict[Waiter, None] = {}
        self._by_queue: dict[str, dict[Waiter, None]] = {}

    def __len__(self) -> int:
        return len(self._by_arrival)

    def park(self, waiter: Waiter) -> None:
        """Add a waiter behind the others."""
        self._by_arrival[waiter] = None
        for name in waiter.queues:
            self._by_queue.setdefault(name, {})[waiter] = None

    def first(self, queue: str) -> Waiter | None:
        """Return who is next to get a job of `queue`."""
        return next(iter(self._by_queue.get(queue, ())), None)

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter that is being answered, or whose server has gone."""
        if waiter not in self._by_arrival:
            return
        del self._by_arrival[waiter]
        for name in set(waiter.queues):
            waiting = self._by_queue[name]
            del waiting[waiter]
            if not waiting:
                del self._by_queue[name]

    @property
    def next_due(self) -> float | None:
        """When the wait of the earliest waiter ends: all wait for the same time, so the first ends first."""
        waiter = next(iter(self._by_arrival), None)
        return None if waiter is None else waiter.until

    def pop_due(self, now: float) -> list[Waiter]:
        """Remove and return the waiters whose time is over."""
        due: list[Waiter] = []
        for waiter in self._by_arrival:
            if waiter.until > now:
                break
            due.append(waiter)
        for waiter in due:
            self.leave(waiter)
        return due

    def pop_all(self) -> list[Waiter]:
        """Remove and return all waiters."""
        everyone = list(self._by_arrival)
        self._by_arrival.clear()
        self._by_queue.clear()
        return everyone
