"""When `run` stops waiting, with which exit code a process ends, and how a consumer is. Pure: `now` is monotonic."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

from ..options import FORCED_EXIT, WIND_DOWN
from .lifecycle import Lifecycle, State
from .session import Session
from .standing import Health

_LONGEST_WAIT: Final = 3600.0


class Act(Enum):
    """What `run` does next."""

    WAIT = auto()
    CUT_OFF = auto()
    """Give up what runs, and wait for what that leaves to do."""
    DONE = auto()


class Next(NamedTuple):
    """What `run` does next, and for how many seconds it waits at most."""

    act: Act
    seconds: float = 0.0


class Ending:
    """The way of one session to its end. `leaves_jobs` when jobs may outlive it: the next session reports them."""

    def __init__(self, lifecycle: Lifecycle, session: Session, shutdown_timeout: float, *, leaves_jobs: bool) -> None:
        self._lifecycle = lifecycle
        self._session = session
        self._timeout = shutdown_timeout
        self._leaves_jobs = leaves_jobs
        self._limit = float("inf")

    @property
    def is_pointless(self) -> bool:
        """True when a session that ends with the queues cannot, as nothing is fetched any more: stop it then."""
        session = self._session
        return session.until_empty and not session.is_stopping and self._lifecycle.state is not State.RUNNING

    def next(self, now: float, *, is_settled: bool, has_only_reports: bool = False) -> Next:
        """Return what to do. `is_settled` tells that nothing needs waiting for, `has_only_reports` that reports do.

        The shutdown timeout counts from a terminate, from what else has ended the session, and for such reports.
        """
        if is_settled:
            return Next(Act.DONE)
        if self._limit == float("inf") and (self._session.is_stopping or has_only_reports):
            self._limit = now + self._timeout
        if self._lifecycle.is_over(now):
            return Next(Act.CUT_OFF)
        if now >= self._limit:
            return Next(Act.DONE if self._leaves_jobs else Act.CUT_OFF)
        longest = min(_LONGEST_WAIT, self._lifecycle.pulse.every)
        return Next(Act.WAIT, min(self._limit - now, self._lifecycle.deadline - now, longest))


def wind_down(forced_by: int) -> float:
    """Return the seconds for what a cut-off leaves to do; `forced_by` is the signal that allows no more time, or 0."""
    return FORCED_EXIT if forced_by else WIND_DOWN


def exit_code(forced_by: int, *, cut_offs: int, unreported: int, has_error: bool) -> int:
    """Return the exit code: 0, or 1 when jobs were cut off, or not reported; after a forced end 128 and its signal."""
    return 128 + forced_by if forced_by else int(cut_offs > 0 or unreported > 0 or has_error)


def health_of(
    now: float,
    state: State,
    *,
    is_at_work: bool,
    is_consuming: bool,
    workers: int,
    busy: int,
    fetched_at: float | None,
    beaten_at: float | None,
    reported_at: float | None,
    reconnects: int,
    unreported: int,
) -> Health:
    """Return how a consumer is: ready while it runs, is at work, and takes jobs or has its hands full of them."""

    def age(moment: float | None) -> float | None:
        return None if moment is None else max(0.0, now - moment)

    return Health(
        state=state,
        is_ready=state is State.RUNNING and is_at_work and (is_consuming or busy == workers),
        workers=workers,
        busy=busy,
        last_fetch_age=age(fetched_at),
        last_beat_age=age(beaten_at),
        last_report_age=age(reported_at),
        reconnects=reconnects,
        unreported=unreported,
    )
