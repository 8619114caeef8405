"""Doing what an exception of a job asks for, in every front end, and saying so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from random import random
from typing import Protocol, cast

from ..errors import JobCancelled
from ..job import Job
from .again import Drop, Kinds, copy_for_later, wish_of
from .failure import ReportedFailure, describe, place_of, traceback_of, type_name
from .run import facts_of, running

log: logging.Logger = logging.getLogger("faktory.worker")


def settle(
    job: Job, exc: BaseException, push: Callable[[Job], bool], retry_on: Kinds = (), discard_on: Kinds = ()
) -> bool:
    """Drop the job, or push a copy of it, as the exception asks; return False when it is a failure.

    `push` returns False where there is no later: then the job is done, as its caller could do nothing about it. What it
    raises is raised: then the job fails, and is not lost.
    """
    wish = wish_of(exc, retry_on, discard_on)
    if wish is None:
        return False
    what, reason = type_name(exc), describe(exc)[:500]
    if isinstance(wish, Drop):
        log.info("job %a (%a) is discarded: %s: %a", job.jid, job.jobtype, what, reason, extra=facts_of(job))
        _note("discarded")
        return True
    if wish.uses_retry and job.is_last_attempt:
        return False
    again = copy_for_later(job, wish, random())
    is_pushed = push(again)
    _note("retried" if is_pushed else "discarded")
    if not is_pushed:
        log.warning(
            "job %a (%a) is to run again, which it does not in this mode: %s: %a",
            job.jid,
            job.jobtype,
            what,
            reason,
            extra=facts_of(job),
        )
        return True
    log.log(
        logging.WARNING if wish.uses_retry else logging.INFO,
        "job %a (%a) is pushed again as %a: %s: %a%s",
        job.jid,
        job.jobtype,
        again.jid,
        what,
        reason,
        place_of(exc),
        extra=facts_of(job),
        exc_info=(type(exc), exc, traceback_of(exc)) if log.isEnabledFor(logging.DEBUG) else None,
    )
    return True


def _note(outcome: str) -> None:
    """Have the run know what became of its job."""
    run = running.get()
    if run is not None:
        run.note_outcome(outcome)


class Pusher(Protocol):
    """Who pushes jobs: a `Client`."""

    def push(self, job: Job) -> object:
        """Push a job."""
        ...


def plain_settler(make_client: Callable[[], AbstractContextManager[Pusher]]) -> Callable[[Job, BaseException], bool]:
    """Return what does as `Retry` and `Discard` ask in plain handlers, by a client for each copy: they are few."""

    def push(job: Job) -> bool:
        with make_client() as client:
            client.push(job)
        return True

    return lambda job, exc: settle(job, exc, push)


def asked_by(error: BaseException) -> BaseException | None:
    """Return the exception that may ask for something; None for one that was dealt with in a child process."""
    kind = type(error)  # not `isinstance`: an exception can do harm when it is asked for its class
    if issubclass(kind, ReportedFailure):
        return cast(ReportedFailure, error).error
    return None if issubclass(kind, JobCancelled) else error
