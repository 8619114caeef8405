"""Children shared by whoever has a thread to wait in for them: the jobs of an async consumer."""

from __future__ import annotations

import threading

from ..core.chain import Skipped
from ..errors import ChildStartFailed, JobCancelled
from ..runtime.ticking import monotonic
from .fork_client import ForkServer
from .runner import ChildRunner


class Children:
    """As many children as jobs run at a time, each lent to one FETCH and then to its job. Thread-safe."""

    def __init__(self, fork_server: ForkServer) -> None:
        self._fork_server = fork_server
        self._lock = threading.Lock()
        self._idle: list[ChildRunner] = []

    @property
    def can_run_jobs(self) -> bool:
        """True while children start as they should, or one is ready all the same."""
        return self._fork_server.can_run_jobs

    @property
    def ends(self) -> dict[str, int]:
        """How many children have ended, by reason."""
        return self._fork_server.ends

    def resident_kb(self) -> int | None:
        """Return how much memory this process and all its children hold, in kB."""
        return self._fork_server.resident_kb()

    def take(self) -> ChildRunner | None:
        """Return an idle one that is ready, the latest used first; None when one must be waited for. Does not wait."""
        with self._lock:
            for runner in reversed(self._idle):
                if runner.is_ready():
                    self._idle.remove(runner)
                    return runner
        return None

    def start_in(self) -> float:
        """Return the seconds to wait before `start` can do something."""
        return self._fork_server.starts.wait(monotonic())

    def start(self) -> None:
        """Try to have one more that is ready: blocks until it is, or has ended. For a thread that may wait."""
        with self._lock:
            runner = self._idle.pop(0) if self._idle else ChildRunner(self._fork_server)
        try:
            runner.await_start()
        finally:
            self.give_back(runner)

    def tell_stopping(self, *, in_a_hurry: bool = False) -> None:
        """Have jobs know that their worker is ending, soon or now. Any thread may call it."""
        self._fork_server.tell_stopping(in_a_hurry=in_a_hurry)

    def trouble(self) -> ChildStartFailed | None:
        """Return what a `run` that does not go on for ever should raise; None while there is hope."""
        return self._fork_server.starts.trouble()

    def give_back(self, runner: ChildRunner) -> None:
        """Take one back, for another job if it can run one."""
        if runner.is_cancelled:
            runner.close()
            return
        with self._lock:
            self._idle.append(runner)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for runner in idle:
            runner.close()
        self._fork_server.close()


class IsolatedCall:
    """One job in a child. `carry_out` blocks the thread that calls it; any thread may call `interrupt`."""

    def __init__(self, children: Children, runner: ChildRunner, document: bytes, limit: float, left: float) -> None:
        self._children = children
        self._runner = runner
        self._document = document  # the job, as it came
        self._limit = limit
        self._left = left  # seconds of its reservation
        self._lock = threading.Lock()  # the runner is cancelled only while this call has it
        self._has_ended = False

    def carry_out(self) -> Skipped | None:
        """Run the job, return who skipped it, and give the child back. Raises what `ChildRunner.run` raises."""
        try:
            return self._runner.run(self._document, self._limit, self._left)
        finally:
            with self._lock:
                self._has_ended = True
            self._children.give_back(self._runner)

    def interrupt(self, error: Exception) -> bool:
        """Kill the child at a shutdown; time limits are the runner's own business. Returns True when it is killed."""
        if not isinstance(error, JobCancelled):
            return False
        with self._lock:
            if not self._has_ended:
                self._runner.cancel()
        return True
