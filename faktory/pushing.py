"""The `on_push` functions around a push: a jid is returned only for a job that was delivered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .callables import place_of
from .errors import ConfigurationError
from .job import Job

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
    is_open = True

    def call_next(other: Job = job) -> str:
        nonlocal is_open, jid, failure
        if not is_open:
            raise ConfigurationError(
                f"call_next() is good for one call within the on_push function {place_of(function)}, and this is "
                "another; one more would store the job twice under one jid"
            )
        is_open = False
        try:
            jid = push_through(functions[1:], other, deliver)
        except BaseException as exc:
            failure = exc
            raise
        return jid

    function(job, call_next)
    if failure is not None:
        raise failure
    if is_open:
        is_open = False
        raise ConfigurationError(
            f"the on_push function {place_of(function)} did not call call_next(), so that the job {job.jid!a} was not "
            "pushed; call it, or raise faktory.PushDropped to drop the job on purpose"
        )
    return jid
