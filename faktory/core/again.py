"""What an exception of a job asks for: to run again, to be dropped, or a failure; the copy that runs again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

from ..errors import Discard, InvalidJob, JobCancelled, Retry
from ..job import Job
from ..options import LONGEST_RETRY, RETRY_FLOOR

RETRIED: Final = "retried"
"""Where a job pushed again keeps, in `custom`, the first one's jid and the number of runs before it."""

Kinds = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Again:
    """Run the job again: after `delay` seconds, None for what grows with the runs, using up its `retry` or not."""

    delay: float | None
    uses_retry: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """Count the job as done."""


def wish_of(exc: BaseException, retry_on: Kinds = (), discard_on: Kinds = ()) -> Again | Drop | None:
    """Return what an exception asks for; None when it is a failure.

    `Retry` and `Discard` win; then the class listed that is nearest to the exception's own, `retry_on` before
    `discard_on`. A group asks for what all of its exceptions do, the longest delay among them; else it is a failure, as
    is one that does harm when it is looked at.
    """
    try:
        return _wish_of(exc, retry_on, discard_on)
    except BaseException:
        return None


def _wish_of(exc: BaseException, retry_on: Kinds, discard_on: Kinds) -> Again | Drop | None:
    raised = type(exc)  # an exception can lie about its class, or do harm when it is asked
    if issubclass(raised, BaseExceptionGroup):
        return _common([_wish_of(leaf, retry_on, discard_on) for leaf in _leaves(cast(Any, exc))])
    if issubclass(raised, JobCancelled):  # the consumer has reported the job already
        return None
    if issubclass(raised, Retry):
        return Again(_seconds(cast(Retry, exc).in_), uses_retry=False)
    if issubclass(raised, Discard):
        return Drop()
    for kind in raised.__mro__ if retry_on or discard_on else ():
        if kind is ValueError and issubclass(raised, InvalidJob):
            continue  # arguments that do not fit are no error of the function's own
        if kind in retry_on:
            return Again(None, uses_retry=True)
        if kind in discard_on:
            return Drop()
    return None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exc in group.exceptions:
        if issubclass(type(exc), BaseExceptionGroup):
            yield from _leaves(cast(Any, exc))
        else:
            yield exc


def _common(wishes: list[Again | Drop | None]) -> Again | Drop | None:
    first = wishes[0]
    if first is None or any(type(wish) is not type(first) for wish in wishes):
        return None
    again = [wish for wish in wishes if isinstance(wish, Again)]
    if not again:
        return first
    delays = [wish.delay for wish in again if wish.delay is not None]
    return Again(max(delays, default=None), uses_retry=any(wish.uses_retry for wish in again))


def _seconds(delay: timedelta | float | None) -> float | None:
    return delay.total_seconds() if isinstance(delay, timedelta) else delay


def runs_before(job: Job) -> int:
    """Return how often a job was run under other jids, before it was pushed again."""
    found = (job.custom or {}).get(RETRIED)
    runs = found.get("runs") if isinstance(found, dict) else None
    return runs if type(runs) is int and runs > 0 else 0


def copy_for_later(job: Job, wish: Again, spread: float) -> Job:
    """Return the job to push in a running job's place: what was fetched, whatever its handler made of its arguments.

    Under a new jid, as a second one under the same would get lost (PROTOCOL 33). `spread`, from 0 to 1, sets jobs apart
    that failed together, by as much as the server does (manager/retry.go).
    """
    runs = runs_before(job) + job.attempt
    fetched = job.as_fetched()
    # The lock of `unique_for` is still held by the job itself, and would refuse its copy.
    custom = {key: value for key, value in (fetched.custom or {}).items() if key not in ("unique_for", "unique_until")}
    first = custom[RETRIED].get("jid", job.jid) if runs_before(job) else job.jid
    custom[RETRIED] = {"jid": first, "runs": runs}
    delay = wish.delay
    if delay is None:
        count = min(runs, LONGEST_RETRY)
        delay = (count - 1) ** 4 + 15 + spread * 30 * count
    # With `uses_retry` the copy has the runs that are left; -1 when the next is the last, as 0 would not bury it.
    retry = (job.retry - job.attempt or -1) if wish.uses_retry else job.retry
    return Job(
        fetched.jobtype,
        fetched.args,
        queue=fetched.queue,
        retry=retry,
        reserve_for=fetched.reserve_for,
        backtrace=fetched.backtrace,
        at=max(RETRY_FLOOR, delay),
        custom=custom,
    )
