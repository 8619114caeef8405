"""What all sessions of one server share: the jobs, the workers, who waits, the counters, the sweeps. Pure.

`now` is seconds since 1970 by the server's clock. After every command and every sweep the owner calls `serve`, which
hands jobs to waiting sessions, and closes the connections that `take_evicted` names.

Sources: server/server.go, server/tasks.go and server/task_runner.go of contribsys/faktory.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from .enterprise import Enterprise
from .store import Store
from .timestamps import timestamp
from .waiters import Waiter, Waiters
from .workers import Workers

VERSION: Final = "1.10.0"
"""The release of the real server whose behaviour this one has."""
FETCH_WAIT: Final = 2.0
"""How long FETCH waits for a job, in seconds (manager/fetch.go)."""
MAX_CONNECTIONS: Final = 2_000
"""Connections before the server refuses more (server/config.go)."""
_EVERY: Final = {"Scheduled": 5, "Retries": 5, "Dead": 60, "Busy": 15, "Workers": 15}


class Broker:
    """One server's state, without its sockets. Not thread-safe: its owner holds the lock."""

    def __init__(
        self,
        *,
        now: float,
        password: str | None = None,
        enterprise: bool = False,
        max_connections: int = MAX_CONNECTIONS,
        randomness: random.Random | None = None,
        memory_mb: Callable[[], int] | None = None,
        fetch_wait: float = FETCH_WAIT,
    ) -> None:
        self.fetch_wait = fetch_wait
        self.random: random.Random = randomness or random.Random()
        self.store: Store = Store(self.random)
        self.enterprise: Enterprise | None = Enterprise(self.store, self.random) if enterprise else None
        self.store.rules = self.enterprise
        self.workers: Workers = Workers()
        self.waiters: Waiters = Waiters()
        self.password = password
        self.max_connections = max_connections
        self.is_stopping: bool = False
        self.connections: int = 0
        self.commands: int = 0
        self._memory_mb = memory_mb or (lambda: 0)
        self._evicted: list[object] = []
        self.restart(now)

    def restart(self, now: float) -> None:
        """Begin anew with the same jobs: what a restarted server has forgotten is forgotten."""
        self.started_at = now
        self.is_stopping = False
        self.connections = 0
        self.commands = 0
        self.workers.clear()
        self.waiters.pop_all()
        self._evicted.clear()
        self._counts = dict.fromkeys(_EVERY, 0)
        self._cycles = dict.fromkeys(_EVERY, 0)
        self._due = {name: _next(now, every) for name, every in _EVERY.items()}

    # -- waiting --------------------------------------------------------------------------------------------

    def fetch(
        self, queues: list[str], wid: str, now: float, clock: float, answer: Callable[[bytes | None], None]
    ) -> bytes | None:
        """Return a job, or park: then `answer` is called later. `clock` is the time that waits are measured on."""
        active = self.store.unpaused(queues)
        text = self.store.fetch(active, wid, now)
        if text is None:
            self.rest(active, wid, clock, answer)
        return text

    def rest(self, queues: list[str], wid: str, clock: float, answer: Callable[[bytes | None], None]) -> None:
        """Park for as long as FETCH waits; with no queues only the time can end it."""
        self.waiters.park(Waiter(tuple(queues), wid, clock + self.fetch_wait, answer))

    def serve(self, now: float) -> None:
        """Hand the jobs that came in to those who wait for them, earliest first."""
        store, waiters = self.store, self.waiters
        while pushed := store.take_pushed():  # to fetch may push: a batch's callback, when its last job has expired
            if not waiters:
                return
            for name in pushed:
                while (waiter := waiters.first(name)) is not None:
                    text = store.fetch((name,), waiter.wid, now)
                    if text is None:
                        break
                    waiters.leave(waiter)
                    waiter.answer(text)

    def end_waits(self, clock: float) -> None:
        """Answer those who have waited long enough."""
        for waiter in self.waiters.pop_due(clock):
            waiter.answer(None)

    # -- the passing of time --------------------------------------------------------------------------------

    @property
    def next_sweep(self) -> float:
        """When `sweep` has something to look at next."""
        return min(self._due.values())

    def is_sweep_due(self, now: float) -> bool:
        """True when `sweep` has something to do; also when somebody has put the clock back."""
        return any(due <= now or due > now + _EVERY[name] for name, due in self._due.items())

    def sweep(self, now: float) -> None:
        """Run the tasks whose turn it is: each at the multiples of its interval, as in the real server."""
        for name, due in self._due.items():
            every = _EVERY[name]
            if due <= now or due > now + every:
                self._due[name] = _next(now, every)
                self._run(name, now)
        self.serve(now)

    def catch_up(self, now: float) -> None:
        """Run every task at once, jobs in the order of their time: after this nothing is overdue."""
        for name, done in self.store.catch_up(now).items():
            self._cycles[name] += 1
            self._counts[name] += done
        for name in ("Dead", "Workers"):
            self._run(name, now)
        self._due = {name: _next(now, every) for name, every in _EVERY.items()}
        self.serve(now)

    def _run(self, name: str, now: float) -> None:
        store = self.store
        self._cycles[name] += 1
        if name == "Scheduled":
            done = store.enqueue_due(store.scheduled, now)
        elif name == "Retries":
            done = store.enqueue_due(store.retries, now)
        elif name == "Dead":
            done = store.purge_dead(now)
        elif name == "Busy":
            done = store.expire_reservations(now)
        else:
            silent = self.workers.reap(now)
            done = len(silent)
            for worker in silent:
                self._evicted.extend(worker.connections)
        self._counts[name] += done

    def take_evicted(self) -> list[object]:
        """Return the connections of reaped workers, which are to be closed without a word."""
        evicted, self._evicted = self._evicted, []
        return evicted

    # -- control --------------------------------------------------------------------------------------------

    def info(self, now: float) -> dict[str, Any]:
        """Describe the server as INFO does."""
        store, sizes = self.store, self.store.sizes
        return {
            "now": timestamp(now),
            "server_utc_time": f"{timestamp(now)[11:19]} UTC",
            "faktory": {
                "queues": dict(sorted(sizes.items())),
                "sets": {
                    "dead": len(store.dead),
                    "retries": len(store.retries),
                    "scheduled": len(store.scheduled),
                    "working": store.working_count,
                },
                "tasks": self._tasks(),
                "total_failures": store.failures,
                "total_processed": store.processed,
                "total_enqueued": sum(sizes.values()),
                "total_queues": len(sizes),
            },
            "server": {
                "description": "Faktory",
                "faktory_version": VERSION,
                "uptime": max(0, int(now - self.started_at)),
                "connections": self.connections,
                "command_count": self.commands,
                "used_memory_mb": self._memory_mb(),
            },
        }

    def _tasks(self) -> dict[str, dict[str, float]]:
        store = self.store
        tasks: dict[str, dict[str, float]] = {
            "Busy": {"reaped": self._counts["Busy"], "size": store.working_count},
            "Workers": {"reaped": self._counts["Workers"], "size": len(self.workers)},
        }
        for name, size in (("Dead", store.dead), ("Retries", store.retries), ("Scheduled", store.scheduled)):
            tasks[name] = {
                "cycles": self._cycles[name],
                "enqueued": self._counts[name],
                "size": len(size),
                "wall_time_sec": 0,
            }
        return dict(sorted(tasks.items()))


def _next(now: float, every: int) -> float:
    return (now // every + 1) * every
