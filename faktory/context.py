"""What a running handler can know and do, wherever it runs: threads, child processes, event loops."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar, cast

from .again import runs_before
from .client import Batch, Client
from .errors import ConfigurationError, EnterpriseRequired, JobCancelled, JobTimeout
from .hand import in_hand
from .job import Job
from .ticking import monotonic
from .values import Managed

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
    """One run of a job. Made by the consumer, which also sets `is_cancelled`."""

    __slots__ = ("_life", "deadline", "is_cancelled", "is_settled", "job", "managed")

    def __init__(self, job: Job, deadline: float, managed: Managed, life: Life = ENDLESS) -> None:
        self.job: Job = job
        self.deadline: float = deadline
        """When the job has to end, in monotonic seconds."""
        self.managed: Managed = managed
        self.is_cancelled: bool = False
        """True once the job is past its time limit, or cut off by a shutdown."""
        self.is_settled: bool = False
        """True once a typed job has answered its exception itself, by a copy for later or by letting go."""
        self._life = life

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


class JobContext:
    """The running job, for its handler and middleware. Made for each run of a typed job."""

    __slots__ = ("_batch", "_client", "_logger", "_run")

    def __init__(self, run: Run, client: Callable[[], Client] | None, logger: str) -> None:
        self._run = run
        self._client = client
        self._logger = logger
        self._batch: Batch | None = None

    @property
    def job(self) -> Job:
        """The job as it was fetched."""
        return self._run.job

    @property
    def jid(self) -> str:
        """The job's id."""
        return self._run.job.jid

    @property
    def attempt(self) -> int:
        """Number of this run, from 1; those before a `Retry` count."""
        return self._run.job.attempt + runs_before(self._run.job)

    @property
    def is_last_attempt(self) -> bool:
        """True when a failure of this run would be final."""
        return self._run.job.is_last_attempt

    @property
    def deadline(self) -> float:
        """When the job has to end, on the clock of `time.monotonic()`."""
        return self._run.deadline

    @property
    def cancelled(self) -> bool:
        """True once the job is past its deadline, or cut off by a shutdown."""
        return self._run.is_cancelled or monotonic() >= self._run.deadline

    @property
    def stopping(self) -> bool:
        """True once the worker was told to end: a long job may save its state and return, before it is cut off."""
        return self._run.stopping

    def raise_if_cancelled(self) -> None:
        """Raise `JobTimeout` past the deadline, `JobCancelled` when cut off; for long loops."""
        if monotonic() >= self._run.deadline:
            raise JobTimeout("the job ran past its time limit")
        if self._run.is_cancelled:
            raise JobCancelled("the worker had to stop before the job was done")

    @property
    def client(self) -> Client:
        """The app's client. Raises `ConfigurationError` in a mode without a server."""
        if self._client is None:
            raise ConfigurationError('there is no server in this mode; use App(mode="queue") for what needs one')
        return self._client()

    def progress(self, percent: int, description: str | None = None) -> None:
        """Record the job's progress (0 to 100) at the server; nothing in a mode without one. Enterprise.

        On an open-source server nothing is recorded, which is logged once.
        """
        if self._client is None:
            return
        client = self._client()
        try:
            client.set_track(self.jid, percent=percent, description=description)
        except EnterpriseRequired as exc:
            client.edition.learn(exc)
            client.edition.warn("the progress of jobs")

    def get(self, kind: type[T]) -> T:
        """Return the managed value of a type, made on the first call in this process."""
        return self._run.managed.get(kind)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger of the function's module, whose records carry `jid`, `jobtype`, `queue` and `attempt`."""
        return _JobLogger(logging.getLogger(self._logger), facts_of(self._run.job))

    @property
    def batch(self) -> Batch:
        """The batch that the job belongs to, opened anew to add jobs: `with ctx.batch as batch`. Enterprise.

        Raises `ConfigurationError` for a job without one.
        """
        if self._batch is None:
            bid = (self.job.custom or {}).get("bid")
            if not isinstance(bid, str):
                raise ConfigurationError(f"the job {self.jid!a} belongs to no batch; begin one with client.batch()")
            self._batch = self.client.open_batch(bid)
        return self._batch

    def __repr__(self) -> str:
        return f"<JobContext {self.job.jobtype!a} jid={self.jid!a} attempt={self.attempt}>"


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the job's facts to what a call gives as `extra`, which the adapter of Python 3.11 would replace."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return what is logged."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class JobLogFilter(logging.Filter):
    """Adds `jid`, `jobtype`, `queue` and `attempt` to each record of a running job, None outside: for a handler."""

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
