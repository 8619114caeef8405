"""Is a FETCH overdue, and is a consumer consuming? Pure: `now` and all moments are monotonic seconds.

Every front end asks here: its heartbeat before it cuts a FETCH or wakes somebody, and `health()`. What counts is when a
FETCH **was sent** and has no answer, each for itself; never how long ago one was answered: when every worker is busy
for minutes there is none to be answered, and the next one is healthy. Cutting a healthy FETCH hides a job: the server
takes one for the client that is gone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


class FetchWatch(Generic[S]):
    """Finds the FETCHes that hang, and idle workers that nobody wakes. The caller locks.

    `limit` is how many seconds a FETCH may be unanswered; far longer than the server takes (2 s), and longer than the
    connection's own time limit, which deals with most of what hangs. It must hang at two looks, `patience` seconds
    apart: a process that was frozen wakes with the answer unread and all limits passed, and reads it in between.
    """

    __slots__ = ("_idle_since", "_limit", "_patience", "_suspects")

    def __init__(self, limit: float, patience: float) -> None:
        self._limit = limit
        self._patience = patience
        self._suspects: dict[S, tuple[float, float]] = {}  # whose FETCH: when it was sent, and was first found late
        self._idle_since: float | None = None

    def next_look(self, sent: Mapping[S, float]) -> float:
        """Return when to look again, infinite for never. `sent` is when each FETCH under way was sent."""
        moments = [self._due(key, sent_at) for key, sent_at in sent.items()]
        if self._idle_since is not None:
            moments.append(self._idle_since + self._limit)
        return min(moments, default=float("inf"))

    def _due(self, key: S, sent_at: float) -> float:
        suspect = self._suspects.get(key)
        if suspect is not None and suspect[0] == sent_at:
            return suspect[1] + self._patience
        return sent_at + self._limit

    def overdue(self, sent: Mapping[S, float], now: float) -> list[S]:
        """Return whose FETCHes are to be cut."""
        before, self._suspects = self._suspects, {}
        found: list[S] = []
        for key, sent_at in sent.items():
            if now - sent_at < self._limit:
                continue
            suspect = before.get(key)
            first_look = suspect[1] if suspect is not None and suspect[0] == sent_at else now
            if now - first_look >= self._patience:
                found.append(key)
                first_look = now  # once is enough, unless that does not help
            self._suspects[key] = (sent_at, first_look)
        return found

    def is_neglected(self, now: float, *, is_idle: bool) -> bool:
        """Tell whether somebody is to be woken: jobs are wanted, workers idle, and no FETCH under way (`is_idle`).

        True when it has been so at every look for as long as the limit; each time counts anew.
        """
        if not is_idle:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        if now - self._idle_since < self._limit:
            return False
        self._idle_since = now
        return True

    def is_consuming(
        self, sent: Mapping[S, float], *, is_anyone_free: bool, answered_at: float | None, now: float
    ) -> bool:
        """Tell whether jobs are taken: a FETCH is under way or was answered lately, or nobody is free to send one."""
        if not is_anyone_free or (answered_at is not None and now - answered_at < self._limit):
            return True
        return any(now - sent_at < self._limit for sent_at in sent.values())
