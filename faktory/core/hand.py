"""The job in hand: which one the running code belongs to, for those who know nothing of running jobs. Pure."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol

from ..errors import InvalidJob
from ..job import Job


class Holding(Protocol):
    """A run of a job."""

    job: Job


in_hand: Final[ContextVar[Holding | None]] = ContextVar("faktory_running", default=None)
"""The run that the code belongs to; None outside of jobs."""


def refuse_in_hand(job: Job) -> None:
    """Refuse to push the job that runs just now, or another under its jid. Raises `InvalidJob`."""
    holding = in_hand.get()
    if holding is not None and holding.job.jid == job.jid:
        raise InvalidJob(
            f"the job {job.jid!a} runs just now, and pushed again it would be two under one jid, which the server "
            "cannot tell apart; to run it later raise faktory.Retry(in_=60), or push a copy, which gets a jid of its "
            "own: Job(job.jobtype, job.args, queue=job.queue). A job that fails is run again as its retry says",
            job.jid,
        )
