"""The `on_push` functions around a push: a jid is returned only for a job that was delivered. Pure but for the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from ..core.callables import place_of
from ..errors import ConfigurationError, InvalidJob, PushDropped, ServerError
from ..job import Job
from ..options import BULK_SIZE

log: logging.Logger = logging.getLogger("faktory.app")

PushFunction = Callable[[Job, Callable[..., str]], str]
"""Called as `fn(job, call_next)` around a push; returns what `call_next()` does, or raises `PushDropped`."""


def push_through(functions: Sequence[PushFunction], job: Job, deliver: Callable[[Job], str]) -> str:
    """Deliver a job through functions, the first outermost; return the jid of what was delivered.

    Raises what the functions and `deliver` raise, also when a function around has caught it: then no job is known to
    be stored. Raises `ConfigurationError` for a function that does not go on, or does so twice.
    """
    if not functions:
        return deliver(job)
    function, jid, failure = functions[0], "", None
    is_open, is_going_on = True, False

    def call_next(other: Job = job) -> str:
        nonlocal is_open, is_going_on, jid, failure
        if not is_open:
            raise ConfigurationError(
                f"call_next() is good for one call within the on_push function {place_of(function)}, and this is "
                "another; one more would store the job twice under one jid"
            )
        if not isinstance(other, Job):
            raise InvalidJob(f"call_next takes the Job to push in its place, got {type(other).__name__}")
        is_open, is_going_on = False, True
        try:
            jid = push_through(functions[1:], other, deliver)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            is_going_on = False
        return jid

    function(job, call_next)
    if is_going_on:
        raise ConfigurationError(
            f"the on_push function {place_of(function)} did not wait for call_next(), which goes on in another thread, "
            f"so that the job {job.jid!a} is stored or not; wait for it before you return"
        )
    if failure is not None:
        raise failure
    if is_open:
        is_open = False
        raise ConfigurationError(
            f"the on_push function {place_of(function)} did not call call_next(), so that the job {job.jid!a} was not "
            "pushed; call it, or raise faktory.PushDropped to drop the job on purpose"
        )
    return jid


def push_all(
    jobs: Iterable[Job],
    through: Callable[[Job, Callable[[Job], str]], str],
    send: Callable[[list[Job]], dict[str, str]],
) -> list[str]:
    """Send jobs, each taken `through` its functions; return the jids of those stored, without those dropped.

    A list goes through as a whole before any is sent; other jobs are drawn as they are sent, 1,000 at a time. `send`
    returns the refused ones, jid to reason. Raises `ServerError` at the end when some were refused; whatever it raises
    has an attribute `stored`, the jids stored until then.
    """
    stored: list[str] = []
    refused: dict[str, str] = {}
    kept: list[Job] = []

    def keep(job: Job) -> str:
        kept.append(job)
        return job.jid

    def gone_through() -> Iterator[Job]:
        for job in jobs:
            try:
                through(job, keep)
            except PushDropped as exc:
                log.info("job %a (%a): %s", job.jid, job.jobtype, exc)
            else:
                yield kept.pop()

    try:
        source = iter(list(gone_through())) if isinstance(jobs, list) else gone_through()
        while chunk := list(islice(source, BULK_SIZE)):
            found = send(chunk)
            refused.update(found)
            stored += [job.jid for job in chunk if job.jid not in found]
        if refused:
            jid, reason = next(iter(refused.items()))
            total = len(refused) + len(stored)
            raise ServerError("ERR", f"{len(refused)} of {total} jobs were refused; {jid}: {reason}")
    except Exception as exc:
        exc.stored = tuple(stored)  # type: ignore[attr-defined]
        raise
    return stored
