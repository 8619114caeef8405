"""Children shared by whoever has a thread to wait in for them: the jobs of an async consumer."""

from __future__ import annotations

import json
import threading
from time import monotonic

from ..errors import JobCancelled
from ..job import Job
from .parent import Nursery
from .runner import ChildRunner


class Children:
    """As many children as jobs run at a time, each lent to one of them. Thread-safe."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._idle: list[ChildRunner] = []

    def borrow(self) -> ChildRunner:
        """Return an idle one, the latest used first, or a new one."""
        try:
            return self._idle.pop()
        except IndexError:
            return ChildRunner(self._nursery)

    def give_back(self, runner: ChildRunner) -> None:
        """Take one back that can run another job."""
        self._idle.append(runner)

    def close(self) -> None:
        """End all of them."""
        while self._idle:
            self._idle.pop().close()
        self._nursery.close()


class IsolatedCall:
    """One job in a child. `carry_out` blocks the thread that calls it; any thread may call `interrupt`."""

    def __init__(self, children: Children, job: Job, limit: float) -> None:
        self._children = children
        self._job = job
        self._limit = limit
        self._lock = threading.Lock()  # a runner is cancelled only while this call has it
        self._runner: ChildRunner | None = None
        self._is_cancelled = threading.Event()

    def carry_out(self) -> None:
        """Run the job. Raises what `ChildRunner.run` raises."""
        runner = self._children.borrow()
        try:
            with self._lock:
                if self._is_cancelled.is_set():
                    raise JobCancelled
                self._runner = runner
            self._await_child(runner)
            runner.run(json.dumps(self._job._received).encode(), self._limit, self._job.reservation)
        finally:
            with self._lock:
                was_cancelled = self._runner is not None and self._is_cancelled.is_set()
                self._runner = None
            if was_cancelled:
                runner.close()
            else:
                self._children.give_back(runner)

    def _await_child(self, runner: ChildRunner) -> None:
        """Wait for a child, after one that could not start: its job has failed by it, this one need not."""
        limit = monotonic() + self._limit
        while not runner.make_ready() and monotonic() < limit:
            wait = runner.start_in()
            if self._is_cancelled.wait(min(wait, max(0.0, limit - monotonic()))):
                raise JobCancelled
            if not wait:
                runner.await_start()

    def interrupt(self, exc_type: type[Exception]) -> bool:
        """Kill the child at a shutdown; time limits are the runner's own business. Returns True when it is killed."""
        if exc_type is not JobCancelled:
            return False
        with self._lock:
            self._is_cancelled.set()
            if self._runner is not None:
                self._runner.cancel()
        return True
