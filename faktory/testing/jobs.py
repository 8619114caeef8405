"""Lists of jobs to look at, and how a job is shown when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..job import Job
from ..typed.job import TypedJob

Which = TypedJob[..., Any] | str
"""A typed job, or the job type of any other."""


class Jobs(list[Job]):
    """Jobs in the order they were pushed.

    >>> assert len(jobs.of("resize")) == 2
    >>> assert jobs.of("mail").one().queue == "mail"
    """

    def of(self, job: Which) -> Jobs:
        """Return those of one type."""
        wanted = jobtype_of(job)
        return Jobs(each for each in self if each.jobtype == wanted)

    def one(self) -> Job:
        """Return the only one. Raises `AssertionError` when there are others, or none."""
        if len(self) != 1:
            raise AssertionError(f"expected one job, got {len(self)}{listed(self)}")
        return self[0]


def jobtype_of(job: Which) -> str:
    """Return the job type."""
    return job if isinstance(job, str) else job.jobtype


def listed(jobs: Iterable[Job], most: int = 10, also: Callable[[Job], str] | None = None) -> str:
    """Return jobs as lines that follow a sentence; `also` says more of one."""
    shown = list(jobs)
    lines = [f"\n  {described(job)}{also(job) if also else ''}" for job in shown[:most]]
    if len(shown) > most:
        lines.append(f"\n  and {len(shown) - most} more")
    return ":" + "".join(lines) if lines else ""


def described(job: Job) -> str:
    """Return a job as a call, with what is not as usual."""
    call = f"{job.jobtype}({', '.join(map(repr, job.args))})"
    return f"{call[:300]} queue={job.queue}" + ("" if job.at is None else f" at={job.at.isoformat()}")
