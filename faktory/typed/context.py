"""What a typed job can know and do: `JobContext`, the first argument of who asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from ..client import Batch, Client
from ..core.again import runs_before
from ..core.run import Run, facts_of
from ..errors import ConfigurationError, EnterpriseRequired, JobCancelled, JobTimeout
from ..job import Job
from ..runtime.ticking import monotonic

T = TypeVar("T")


class JobContext:
    """The running job, for its handler and middleware. Made for each run of a typed job.

    >>> @app.job(retry=3)
    ... def resize(ctx: JobContext, path: str) -> None:
    ...     ctx.log.info("attempt %d at %s", ctx.attempt, path)
    """

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
