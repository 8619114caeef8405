"""Where everything is just now: the stacks of threads, and of jobs that wait on the loop."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable

from ..core.run import facts_of
from .job_task import JobTask

log: logging.Logger = logging.getLogger("faktory.stacks")


def dump_stacks(tasks: Iterable[JobTask]) -> None:
    """Log the stack of every thread and of every running job, with its jid."""
    import traceback

    for task in tasks:
        lines = [f"  {name}, line {line}\n" for name, line in task.places()]
        job = task.job
        log.warning("stack of job %a (%a):\n%s", job.jid, job.jobtype, "".join(lines), extra=facts_of(job))
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for thread_id, frame in sys._current_frames().items():
        log.warning("stack of thread %s:\n%s", names.get(thread_id, thread_id), "".join(traceback.format_stack(frame)))
