"""Where everything is just now: the stacks of threads, with the job that each one runs."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable

from ..core.run import facts_of
from .worker import Worker

log: logging.Logger = logging.getLogger("faktory.stacks")


def dump_stacks(workers: Iterable[Worker]) -> None:
    """Log the stack of every thread, with its job; children write theirs to stderr."""
    import traceback

    slots = [worker.slot for worker in workers]
    for slot in slots:
        job, pid = slot.timer.job, slot.hands.dump_child()
        if job is not None and pid:
            log.warning(
                "child process %d writes its stacks to stderr, job %a (%a)",
                pid,
                job.jid,
                job.jobtype,
                extra=facts_of(job),
            )
    jobs = {slot.thread_id: slot.timer.job for slot in slots}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for thread_id, frame in sys._current_frames().items():
        job = jobs.get(thread_id)
        log.warning(
            "stack of thread %s%s:\n%s",
            names.get(thread_id, thread_id),
            "" if job is None else f", job {job.jid!a} ({job.jobtype!a})",
            "".join(traceback.format_stack(frame)),
        )
