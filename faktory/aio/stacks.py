"""Where everything is just now: the stacks of threads, and of jobs that wait on the loop."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable

from ..core.run import facts_of
from .job_task import Work

log: logging.Logger = logging.getLogger("faktory.consumer")


def dump_stacks(works: Iterable[Work]) -> None:
    """Log the stack of every thread and of every running job, with its jid."""
    import traceback

    for work in works:
        lines = [f"  {name}, line {line}\n" for name, line in work.places()]
        log.warning(
            "stack of job %a (%a):\n%s", work.job.jid, work.job.jobtype, "".join(lines), extra=facts_of(work.job)
        )
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for thread_id, frame in sys._current_frames().items():
        log.warning("stack of thread %s:\n%s", names.get(thread_id, thread_id), "".join(traceback.format_stack(frame)))
