"""Runs a job for a test, as a worker would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from ..job import Job
from ..runtime.interpreter import is_asyncio_running


def performed(perform: Callable[[Job], Any], job: Job) -> Any:
    """Return what the job returns. Raises what it raises.

    It runs in the calling thread, but where an asyncio loop runs, inside which an async job's own loop could not: then
    in a thread that is waited for.
    """
    if not is_asyncio_running():
        return perform(job)
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(perform(job))
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=copy_context().run, args=(work,), name="faktory-testing-job", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
