"""Doing what an exception of a job asks for, in every front end, and saying so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import random

from .again import Drop, Kinds, copy_for_later, wish_of
from .client import Client
from .errors import Retry
from .failure import describe, place_of
from .job import Job

log: logging.Logger = logging.getLogger("faktory.app")


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
    what, reason = type(exc).__name__, describe(exc)[:500]
    if isinstance(wish, Drop):
        log.info("job %a (%a) is discarded: %s: %a", job.jid, job.jobtype, what, reason)
        return True
    if wish.uses_retry and job.is_last_attempt:
        return False
    again = copy_for_later(job, wish, random())
    if not push(again):
        log.warning(
            "job %a (%a) is to run again, which it does not in this mode: %s: %a", job.jid, job.jobtype, what, reason
        )
        return True
    is_asked_for = isinstance(exc, Retry)
    log.log(
        logging.INFO if is_asked_for else logging.WARNING,
        "job %a (%a) is pushed again as %a: %s: %a%s",
        job.jid,
        job.jobtype,
        again.jid,
        what,
        reason,
        place_of(exc),
        exc_info=(type(exc), exc, exc.__traceback__) if log.isEnabledFor(logging.DEBUG) else None,
    )
    return True


class PlainSettler:
    """What `Retry` and `Discard` ask for in plain handlers. Its client is made when first needed. Thread-safe."""

    def __init__(self, make_client: Callable[[], Client]) -> None:
        self._make_client = make_client
        self._made: dict[str, Client] = {}

    def __call__(self, job: Job, exc: BaseException) -> bool:
        """Do what the exception asks for. Returns False when it is a failure."""
        return settle(job, exc, self._push)

    def _push(self, job: Job) -> bool:
        # In one step, without a lock: a client that loses has opened nothing.
        client = self._made.get("client") or self._made.setdefault("client", self._make_client())
        client.push(job)
        return True

    def close(self) -> None:
        """Close the client. Can be called twice."""
        made = self._made.pop("client", None)
        if made is not None:
            made.close()
