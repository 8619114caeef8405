"""Assertions on what was enqueued, which show what came nearest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from .. import override
from ..commands.base import encode
from ..errors import ConfigurationError
from ..job import Job
from ..protocol.moments import moment
from ..typed.job import TypedJob
from .capturing import Taking
from .jobs import Jobs, Which, jobtype_of, listed
from .serving import Serving

_ANY: Any = object()
TOLERANCE: Final = 1.0
"""Seconds by which a time may differ from the one that is asked for."""


def assert_enqueued(
    job: Which, *args: Any, queue: str | None = None, at: datetime | timedelta | float | None = _ANY, times: int = 1
) -> None:
    """Check that a job of this type was enqueued so many times, with these arguments unless none are given.

    * `job` is a typed job, or a job type, whose arguments are then those of the `Job`.
    * `queue`: any when None. `at`: an aware datetime, or a timedelta or seconds from now, to the second; None for a job
      that is due at once; any when left out.

    Looks at what `capture` holds, at all that was pushed under `inline`, or at the queues and scheduled jobs of the
    test's server. Raises `AssertionError`, which shows the nearest misses.
    """
    wanted = _Wanted(job, args, queue, at)
    jobs = enqueued()
    count = sum(not wanted.misses(each) for each in jobs)
    if count != times:
        found = "none" if count == 0 else str(count)
        near = sorted(jobs, key=wanted.distance)
        raise AssertionError(
            f"expected {_jobs(times)} {wanted}, got {found}; of {_jobs(len(jobs))} enqueued, the nearest"
            f"{listed(near, 5, wanted.remark) or ' are none'}"
            if jobs
            else f"expected {_jobs(times)} {wanted}, got none; nothing was enqueued"
        )


def refute_enqueued(job: Which) -> None:
    """Check that no job of this type was enqueued. Looks where `assert_enqueued` does; raises `AssertionError`."""
    found = enqueued().of(job)
    if found:
        raise AssertionError(f"expected no job {jobtype_of(job)}, got {len(found)}{listed(found)}")


def enqueued() -> Jobs:
    """Return the jobs that the assertions look at. Raises `ConfigurationError` when nothing is in force."""
    active = override.active()
    if isinstance(active, Taking):
        return active.pushed if active.is_inline else active.captured
    if isinstance(active, Serving):
        return active.enqueued()
    raise ConfigurationError(
        "nothing watches what is enqueued here; use capture(), inline() or serve(), or their fixtures faktory_jobs, "
        "faktory_inline, faktory_server"
    )


class _Wanted:
    """What a job should be."""

    def __init__(
        self, job: Which, args: Sequence[Any], queue: str | None, at: datetime | timedelta | float | None
    ) -> None:
        self._jobtype = jobtype_of(job)
        self._args = _as_sent(job, args) if args else None
        self._queue = queue
        self._is_at_any = at is _ANY
        self._at: datetime | None = None if at is None or at is _ANY else moment(at)

    def misses(self, job: Job) -> list[str]:
        """Return what differs, empty when nothing does."""
        if job.jobtype != self._jobtype:
            return ["another job type"]
        misses: list[str] = []
        if self._args is not None and job.args != self._args:
            misses.append("other arguments")
        if self._queue is not None and job.queue != self._queue:
            misses.append("another queue")
        if not self._is_at_any and not self._is_at(job):
            misses.append("another time")
        return misses

    def _is_at(self, job: Job) -> bool:
        if job.at is None or self._at is None:
            return job.at is self._at
        return abs(job.at - self._at) <= timedelta(seconds=TOLERANCE)

    def distance(self, job: Job) -> tuple[int, int]:
        """Return how far a job is from it, for sorting: first the job type, then how much differs."""
        same_args = sum(a == b for a, b in zip(job.args, self._args or (), strict=False))
        return len(self.misses(job)) if job.jobtype == self._jobtype else 10, -same_args

    def remark(self, job: Job) -> str:
        """Return what is wrong with a job, for a list."""
        misses = self.misses(job)
        return f"  <- {', '.join(misses)}" if misses else "  <- this is one"

    def __str__(self) -> str:
        call = self._jobtype + ("" if self._args is None else f"({', '.join(map(repr, self._args))})")
        queue = "" if self._queue is None else f" queue={self._queue}"
        at = "" if self._is_at_any else f" at={'once' if self._at is None else self._at.isoformat()}"
        return f"{call[:300]}{queue}{at}"


def _as_sent(job: Which, args: Sequence[Any]) -> list[Any]:
    """Return arguments as they arrive."""
    sent = job.to_job(*args).args if isinstance(job, TypedJob) else list(args)
    return json.loads(encode(sent))  # type: ignore[no-any-return]


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
