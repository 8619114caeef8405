"""Work in threads of this process: jobs, for the mode without a server; calls that would hold up an event loop."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .. import override
from ..core.run import facts_of
from ..errors import ConfigurationError
from ..job import Job
from ..runtime.ticking import monotonic

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

log: logging.Logger = logging.getLogger("faktory.background")

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 10
"""Jobs that run at a time."""
_PUSHERS = 32
"""Awaited calls that block at a time."""


class Background:
    """Runs jobs by `perform`, each at its time. A job that fails is logged and not run again. Thread-safe."""

    def __init__(self, perform: Callable[[Job], object]) -> None:
        self._perform = perform
        self._lock = threading.RLock()  # a signal handler may push in the midst of a push
        self._changed = threading.Condition(self._lock)
        self._waiting: list[tuple[float, int, Job]] = []
        self._order = count()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._is_closed = False

    def push(self, job: Job) -> None:
        """Have a job run now, or at its `at`.

        Where no thread can run it, at the end of the program for instance, it is run here, or refused when it is due
        later: `ConfigurationError`.
        """
        delay = 0.0 if job.at is None else max(0.0, (job.at - override.now()).total_seconds())
        with self._lock:
            if self._is_closed:
                raise ConfigurationError(f"the job {job.jobtype!a} came too late: its app was closed")
            if len(self._threads) < THREADS and len(self._threads) - self._busy <= len(self._waiting):
                self._start()
            if self._threads:
                heappush(self._waiting, (monotonic() + delay, next(self._order), job))
                self._changed.notify_all()
                return
        if delay > 0:
            raise ConfigurationError(
                f"the job {job.jobtype!a} is due in {delay:.0f} s, and nobody would run it then: the program ends, or "
                "has no thread left to start"
            )
        self._run(job)

    def _start(self) -> None:
        """Start one more thread, where that is possible; those that are there go on."""
        if not threading.main_thread().is_alive():
            return  # the program ends: it could start, but would not be waited for
        name = f"faktory-background-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._live, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._threads.append(thread)

    def _run(self, job: Job) -> None:
        try:
            self._perform(job)
        except BaseException:  # also SystemExit: a job must not end its thread
            log.exception(
                "job %a (%a) failed, and is not run again in this mode", job.jid, job.jobtype, extra=facts_of(job)
            )

    def _live(self) -> None:
        while (job := self._next()) is not None:
            self._run(job)
            with self._lock:
                self._busy -= 1
                self._changed.notify_all()

    def _next(self) -> Job | None:
        """Wait for a job that is due, and take it; None at the end."""
        with self._lock:
            while True:
                left = self._waiting[0][0] - monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    self._busy += 1
                    return heappop(self._waiting)[2]
                if self._is_closed:
                    return None
                self._changed.wait(left)

    def close(self, timeout: float) -> None:
        """Wait for the jobs that run or are due, at most so many seconds. Those of later are dropped, and logged."""

        def is_done() -> bool:
            return not self._busy and not (self._waiting and self._waiting[0][0] <= monotonic())

        with self._lock:
            in_time = self._changed.wait_for(is_done, timeout)
            self._is_closed = True
            dropped, self._waiting = len(self._waiting), []
            self._changed.notify_all()
        if dropped or not in_time:
            log.warning("ended with %d jobs still running and %d not begun, which are lost", self._busy, dropped)
        if in_time:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await a call that blocks, in a thread of the loop that runs: trio's or asyncio's."""
    trio: Any = sys.modules.get("trio")  # whoever runs it has imported it
    call = partial(function, *args, **kwargs)
    if trio is not None and trio.lowlevel.in_trio_run():
        return cast(T, await trio.to_thread.run_sync(call, limiter=trio.CapacityLimiter(1)))
    import asyncio

    # In threads of our own: the loop's may all be busy, with what takes long.
    return await asyncio.get_running_loop().run_in_executor(_executor(), copy_context().run, call)


def _executor() -> ThreadPoolExecutor:
    pid = os.getpid()  # threads do not survive a fork
    found = _executors.get(pid)
    if found is None:
        from concurrent.futures import ThreadPoolExecutor

        found = _executors.setdefault(pid, ThreadPoolExecutor(_PUSHERS, thread_name_prefix="aenqueue"))
    return found


_executors: dict[int, ThreadPoolExecutor] = {}
