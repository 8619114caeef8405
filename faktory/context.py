"""What a running handler can know of its job, wherever it runs: threads, child processes, event loops."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from .job import Job
from .managed import Managed


class Run:
    """One run of a job. Made by the consumer, which also sets `is_cancelled`."""

    __slots__ = ("deadline", "is_cancelled", "job", "managed")

    def __init__(self, job: Job, deadline: float, managed: Managed) -> None:
        self.job = job
        self.deadline = deadline
        """When the job has to end, in monotonic seconds."""
        self.managed = managed
        self.is_cancelled = False
        """True once the job is past its time limit, or cut off by a shutdown."""


running: Final[ContextVar[Run | None]] = ContextVar("faktory_running", default=None)
"""The run that the code belongs to; None outside of jobs."""


def current_job() -> Job | None:
    """Return the job that the calling code runs in; None outside of jobs."""
    run = running.get()
    return None if run is None else run.job
