"""Jobs that run at once in the caller, for the mode without a server. Waits for nothing but the jobs themselves.

What a job pushes while it runs is run after it, in order, before the first push returns: so a chain of jobs that push
the next one takes no more of the stack than one job, and a job sees the same order as with a worker.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

from ..core.run import facts_of
from ..job import Job

log: logging.Logger = logging.getLogger("faktory.foreground")


class _Line:
    """The jobs that wait for the one that runs. Thread-safe: a job may push from a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may push in the midst of a push
        self._jobs: deque[tuple[Callable[[Job], object], Job]] = deque()
        self._is_over = False

    def add(self, perform: Callable[[Job], object], job: Job) -> bool:
        """Take a job behind the others; False when nobody runs them any more."""
        with self._lock:
            if not self._is_over:
                self._jobs.append((perform, job))
            return not self._is_over

    def next(self) -> tuple[Callable[[Job], object], Job] | None:
        """Return what to run next; None, and the end, when nothing is left."""
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._is_over = True
            return None

    def close(self) -> int:
        """Take no more; how many jobs are left, which nobody runs."""
        with self._lock:
            self._is_over = True
            return len(self._jobs)


# For all apps: a job of one may push a job of another, which pushes one of the first. Threads and tasks that a job
# starts with its context belong to it.
_line: ContextVar[_Line | None] = ContextVar("faktory_foreground", default=None)


def run(perform: Callable[[Job], object], job: Job) -> None:
    """Run a job by `perform`, and then all that it pushes; inside of a job, have it run after that.

    All are run whatever fails. Then the first failure is raised; the others are logged.
    """
    waiting = _line.get()
    if waiting is not None and waiting.add(perform, job):
        return
    line = _Line()
    line.add(perform, job)
    token = _line.set(line)
    failure: Exception | None = None
    try:
        while (found := line.next()) is not None:
            perform_it, next_job = found
            try:
                perform_it(next_job)
            except Exception as exc:
                if failure is None:
                    failure = exc
                else:
                    log.error(
                        "job %a (%a) failed, too",
                        next_job.jid,
                        next_job.jobtype,
                        exc_info=exc,
                        extra=facts_of(next_job),
                    )
        if failure is not None:
            raise failure
    finally:
        failure = None  # its traceback knows this frame
        _line.reset(token)
        left = line.close()
        if left:  # something like KeyboardInterrupt
            log.warning("%d jobs that jobs in the foreground have pushed are not run", left)
