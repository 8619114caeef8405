"""One job, called: with a context of the test's making, or by the whole way that a worker would go."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import ExitStack
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar, overload

from .. import override
from ..commands import encode_job
from ..core.job_timer import time_limit
from ..core.managed import Managed
from ..core.run import Run
from ..job import Job
from ..runtime.ticking import monotonic
from ..typed.context import JobContext
from ..typed.job import TypedJob
from .capturing import capture
from .force import Borrowed, Ending
from .performing import performed

P = ParamSpec("P")
R = TypeVar("R")


def make_context(job: TypedJob[..., Any] | Job | str, attempt: int = 1, is_last_attempt: bool = False) -> JobContext:
    """Return a context to call a job's function with: `welcome(make_context(welcome), 7)`.

    Of a typed job it has the options and the app's managed values. `client` is there under `serve`, and under `capture`
    and `inline`, where it sends nothing; else it raises `ConfigurationError`, and `progress` does nothing. Managed
    values are closed when what is in force ends.
    """
    made = _job(job)
    document = made.to_document() | {"retry": attempt - 1 if is_last_attempt else max(made.retry, attempt)}
    if attempt > 1:
        document["failure"] = {"retry_count": attempt - 2, "remaining": document["retry"] - attempt + 1}
    arrived = Job.from_document(document)
    managed, client, timeout, module = Managed(), None, None, __name__
    if isinstance(job, TypedJob):
        managed, timeout, module = job._door.managed, job.timeout, job.function.__module__
        client = job._door.client_maker()
    active = override.active()
    if active is None:
        client = None  # what is not in force must not be reached from a test
    else:
        active.keep(managed, lambda: Borrowed(managed))
    return JobContext(Run(arrived, monotonic() + time_limit(arrived.reservation, timeout), managed), client, module)


def _job(job: TypedJob[..., Any] | Job | str) -> Job:
    if isinstance(job, TypedJob):
        return job.options.job(job.jobtype, [])
    return Job(job) if isinstance(job, str) else job


@overload
def run(job: TypedJob[P, CoroutineType[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload  # the same, in the words of mypy
def run(job: TypedJob[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
def run(job: TypedJob[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...


def run(job: TypedJob[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """Run a job as a worker would, at once and in this thread, and return what its function returns.

    The arguments travel through JSON and back; middleware runs around it; a `Discard`, and a `Retry`, which pushes a
    copy, return None. What the job pushes goes where the test has it go; when it has said nothing, it is captured, and
    forgotten. Raises what the job raises.
    """
    arrived = Job.decode(encode_job(job.to_job(*args, **kwargs)))
    with ExitStack() as stack:
        if override.active() is None:
            stack.enter_context(capture())
        active = override.active()
        if active is not None:
            active.keep(job._door, lambda: Ending(job._door.end_values))
        return performed(job._door.perform, arrived)
