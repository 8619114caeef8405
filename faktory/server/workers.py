"""The workers a server knows: who they are, when they last beat, what they were told to do. Pure.

`now` is seconds since 1970. Source: server/workers.go of contribsys/faktory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

SILENT_FOR: Final = 60.0
"""A worker that has not beaten for this many seconds is forgotten, and its connections are closed."""


class WorkerState(IntEnum):
    """What a worker was told; it only ever goes up."""

    RUNNING = 0
    QUIET = 1
    TERMINATE = 2


_STATES: Final = {"quiet": WorkerState.QUIET, "terminate": WorkerState.TERMINATE}


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process, as its first HELLO described it; it may have many connections."""

    wid: str
    hostname: str = ""
    pid: int = 0
    labels: tuple[str, ...] = ()
    state: WorkerState = WorkerState.RUNNING
    started_at: float = 0.0
    last_beat: float = 0.0
    rss_kb: int = 0
    connections: set[object] = field(default_factory=set[object])

    def signal(self, state: WorkerState) -> None:
        """Tell the worker `state` at its next beat, unless it was told more already."""
        self.state = max(self.state, state)


class Workers:
    """Workers by wid."""

    def __init__(self) -> None:
        self._by_wid: dict[str, Worker] = {}

    def __len__(self) -> int:
        return len(self._by_wid)

    @property
    def known(self) -> list[Worker]:
        """A copy of the list of workers."""
        return list(self._by_wid.values())

    def get(self, wid: str) -> Worker | None:
        """Return the worker `wid`, or None."""
        return self._by_wid.get(wid)

    def join(self, worker: Worker, connection: object, now: float) -> None:
        """Register a connection. Only the first one of a wid describes its worker, and only it can be told to rest."""
        known = self._by_wid.get(worker.wid)
        if known is None:
            worker.started_at = worker.last_beat = now
            known = self._by_wid[worker.wid] = worker
        known.connections.add(connection)

    def leave(self, wid: str, connection: object) -> None:
        """Forget a closed connection, and with the last one its worker."""
        worker = self._by_wid.get(wid)
        if worker is not None:
            worker.connections.discard(connection)
            if not worker.connections:
                del self._by_wid[wid]

    def beat(self, wid: str, current_state: str, rss_kb: int, now: float) -> Worker | None:
        """Note a BEAT; None when the worker is not known."""
        worker = self._by_wid.get(wid)
        if worker is not None:
            worker.last_beat = now
            worker.rss_kb = rss_kb
            worker.signal(_STATES.get(current_state, WorkerState.RUNNING))
        return worker

    def beat_all(self, now: float) -> None:
        """Take it that every worker beats right now."""
        for worker in self._by_wid.values():
            worker.last_beat = now

    def reap(self, now: float) -> list[Worker]:
        """Forget the silent workers and return them; their connections are to be closed."""
        silent = [worker for worker in self._by_wid.values() if worker.last_beat < now - SILENT_FOR]
        for worker in silent:
            del self._by_wid[worker.wid]
        return silent

    def clear(self) -> None:
        """Forget all, as a restart does."""
        self._by_wid.clear()
