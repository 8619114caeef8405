"""Limits of queues, per worker process: a queue that is full is not named in a FETCH. Pure: `now` is monotonic seconds.

A FETCH may bring a job of any queue that it names, so it takes a place in each limited one first. Once answered, it
keeps the place of the job's queue until the job ends, and gives the others back. So a limit is never exceeded, and no
job is fetched to be held. The caller sees to it that one thread at a time calls in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

from ..options import QueueLimit

BURST: Final = 0.1
"""Seconds for which jobs that a rate has allowed may be saved up; one may be, however low the rate is."""


class _Queue:
    """One limited queue: places taken, and jobs that may begin just now."""

    __slots__ = ("_at", "_limit", "allowed", "taken")

    def __init__(self, limit: QueueLimit, now: float) -> None:
        self._limit = limit
        self._at = now
        self.taken = 0
        self.allowed = self._most

    @property
    def _most(self) -> float:
        return inf if self._limit.per_second is None else max(1.0, self._limit.per_second * BURST)

    @property
    def has_place(self) -> bool:
        return self._limit.concurrency is None or self.taken < self._limit.concurrency

    def renew(self, now: float) -> None:
        if self._limit.per_second is not None:
            self.allowed = min(self._most, self.allowed + (now - self._at) * self._limit.per_second)
        self._at = now

    def next_in(self) -> float:
        """Seconds until the rate allows another job; 0 when it does. A little more, so that rounding is no hot loop."""
        rate = self._limit.per_second
        return 0.0 if rate is None or self.allowed >= 1.0 else (1.0 - self.allowed) / rate + 1e-4

    def take(self) -> None:
        self.taken += 1
        self.allowed -= 1.0

    def give_back(self, *, has_begun: bool) -> None:
        self.taken -= 1
        if not has_begun:
            self.allowed = min(self._most, self.allowed + 1.0)


class Claim:
    """The places that one FETCH, and then its job, has taken."""

    __slots__ = ("_has_begun", "_held", "_limits", "is_whole", "names")

    def __init__(self, limits: Limits, names: tuple[str, ...], held: dict[str, _Queue], *, is_whole: bool) -> None:
        self.names: tuple[str, ...] = names
        """The queues that the FETCH may name; empty when it must not be sent."""
        self.is_whole: bool = is_whole
        """True when no queue is left out: then an empty answer tells that all are empty."""
        self._limits = limits
        self._held = held
        self._has_begun = False

    def keep(self, queue: str | None) -> None:
        """Keep the place of the queue that a job came from, None for none, and give the others back."""
        for name in [name for name in self._held if name != queue]:
            self._held.pop(name).give_back(has_begun=False)
        self._has_begun = bool(self._held)
        self._limits.note_release()

    def end(self) -> None:
        """Give back what is left: the job has ended, or the FETCH has come to nothing. Can be called twice."""
        for queue in self._held.values():
            queue.give_back(has_begun=self._has_begun)
        if self._held:
            self._held = {}
            self._limits.note_release()


class Limits:
    """The limited queues of one worker process."""

    def __init__(self, limits: Mapping[str, QueueLimit], now: float) -> None:
        self.releases: int = 0
        """Grows when places are given back: whoever waits for one looks again."""
        self._queues: dict[str, _Queue] = {name: _Queue(limit, now) for name, limit in limits.items()}

    def note_release(self) -> None:
        """Note that places were given back."""
        self.releases += 1

    def claim(self, names: Iterable[str], now: float) -> Claim:
        """Take a place in each limited queue that has one, for a FETCH of these queues."""
        wanted = tuple(names)
        open_names: list[str] = []
        held: dict[str, _Queue] = {}
        for name in wanted:
            queue = self._queues.get(name)
            if queue is None:
                open_names.append(name)
                continue
            queue.renew(now)
            if queue.has_place and queue.allowed >= 1.0:
                queue.take()
                held[name] = queue
                open_names.append(name)
        return Claim(self, tuple(open_names), held, is_whole=len(open_names) == len(wanted))

    def next_in(self, names: Iterable[str]) -> float:
        """Return the seconds until a rate allows a job again; infinite when only a job's end can help."""
        queues = (self._queues.get(name) for name in names)
        return min((queue.next_in() for queue in queues if queue is not None and queue.has_place), default=inf)
