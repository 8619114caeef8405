"""The run of a job, wherever it happens: threads, child processes, event loops; and what any code in it can ask for."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar, cast

from ..errors import ConfigurationError
from ..job import Job
from .again import runs_before
from .hand import in_hand
from .managed import Managed

T = TypeVar("T")


class Life(Protocol):
    """What a run can know of its worker: a `Lifecycle`, where there is one."""

    @property
    def is_ending(self) -> bool:
        """True from terminate on."""
        ...


class _Endless:
    is_ending = False


ENDLESS: Final[Life] = _Endless()
"""The life of what nobody tells to end: jobs run by their caller."""


class Run:
    """One run of a job. Made by the consumer, who also cancels it."""

    __slots__ = ("_life", "deadline", "is_cancelled", "is_settled", "job", "managed", "settled_as")

    def __init__(self, job: Job, deadline: float, managed: Managed, life: Life = ENDLESS) -> None:
        self.job: Job = job
        self.deadline: float = deadline
        """When the job has to end, in monotonic seconds."""
        self.managed: Managed = managed
        self.is_cancelled: bool = False
        """True once the job is past its time limit, or cut off by a shutdown."""
        self.is_settled: bool = False
        """True once a typed job has answered its exception itself, by a copy for later or by letting go."""
        self.settled_as: str | None = None
        """"retried" or "discarded" once what the job's exception asks for was done, or middleware has skipped it."""
        self._life = life

    def note_outcome(self, settled_as: str) -> None:
        """Note that the job was "retried" or "discarded"."""
        self.settled_as = settled_as

    def cancel(self) -> None:
        """Note that the job is past its time limit, or cut off by a shutdown."""
        self.is_cancelled = True

    @property
    def stopping(self) -> bool:
        """True once the worker was told to end; the job has until the shutdown's deadline."""
        return self._life.is_ending


running: Final = cast(ContextVar[Run | None], in_hand)
"""The run that the code belongs to; None outside of jobs."""


def current_job() -> Job | None:
    """Return the job that the calling code runs in; None outside of jobs."""
    run = running.get()
    return None if run is None else run.job


def managed(kind: type[T]) -> T:
    """Return the managed value of a type, in any code that a job runs; see `App.manage` and `ConsumerBuilder.manage`.

    Raises `ConfigurationError` outside of jobs, and for a type that nobody manages.
    """
    run = running.get()
    if run is None:
        raise ConfigurationError(
            f"faktory.managed({kind.__qualname__}) is for code that a job runs, and no job runs here; use "
            "consumer.get(...), or make the value yourself"
        )
    return run.managed.get(kind)


class JobLogFilter(logging.Filter):
    """Adds `jid`, `jobtype`, `queue` and `attempt` to each record of a running job, None outside: for a handler.

    >>> handler.addFilter(JobLogFilter())
    >>> handler.setFormatter(logging.Formatter("%(jid)s %(jobtype)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with the facts of the job it belongs to; one from a child process brings its own."""
        job = current_job()
        if job is not None:
            vars(record).update(facts_of(job))
        else:
            for name in NO_FACTS:
                vars(record).setdefault(name, None)
        return True


NO_FACTS: Final[dict[str, Any]] = dict.fromkeys(("jid", "jobtype", "queue", "attempt"))
"""What a log record says outside of jobs."""


def facts_of(job: Job) -> dict[str, Any]:
    """Return what a log record says of a job."""
    attempt = job.attempt + runs_before(job)
    return {"jid": job.jid, "jobtype": job.jobtype, "queue": job.queue, "attempt": attempt}
