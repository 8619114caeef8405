"""One call of `run`, `drain` or `run_to_completion`, and what is said of its jobs and its end in every front end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from ..commands import Fetch
from ..errors import ConnectionLost
from ..job import Job
from ..options import ConsumerOptions, QueueLimit
from ..runtime.logs import LateLog
from .chain import Skipped
from .failure import Report, traceback_of
from .job_timer import Alarm
from .ledger import Tally
from .limits import Claim, Limits
from .outbox import Outcome
from .queues import Order, StrictOrder, unserved
from .run import facts_of

log: logging.Logger = logging.getLogger("faktory.consumer")
worker_log: logging.Logger = logging.getLogger("faktory.worker")
outbox_log: logging.Logger = logging.getLogger("faktory.outbox")
# For what the heartbeat's thread has to say: it must not wait.
late_worker_log: LateLog = LateLog("faktory.worker")
late_outbox_log: LateLog = LateLog("faktory.outbox")


class Session:
    """One call of `run`, `drain` or `run_to_completion`: what its threads work on, and how it ends."""

    def __init__(self, order: Order, *, is_persistent: bool, until_empty: bool) -> None:
        self._order = order
        self._fetches: dict[tuple[str, ...], Fetch] = {}
        self.is_persistent: bool = is_persistent
        """True to reconnect for ever, False to end with the first lost connection."""
        self.until_empty: bool = until_empty
        """True to end when the queues are empty."""
        self.is_stopping: bool = False
        """True once its threads should end after what they have in hand."""
        self.error: Exception | None = None
        """What has ended it early."""
        self.limits: Limits | None = None
        """Limits of queues; None when there are none."""
        self.only_fetch: Fetch | None = None
        """The FETCH, where each is the same."""
        # Queue names that cannot be used are refused here, before any thread starts.
        fetch = self.next_fetch()
        self.only_fetch = fetch if isinstance(order, StrictOrder) else None

    def stop(self, error: Exception | None = None) -> None:
        """End it after what is in hand; the first error is what has ended it."""
        self.is_stopping = True
        self.error = self.error or error

    @property
    def queues(self) -> list[str]:
        """The queues that it fetches from, for people."""
        return self.next_fetch().line.decode().split()[1:]

    def limit(self, limits: Iterable[tuple[str, QueueLimit]], now: float) -> None:
        """Have FETCHes leave out queues that are full."""
        found = dict(limits)
        self.limits = Limits(found, now) if found else None
        if found:
            self.only_fetch = None

    def claim(self, limits: Limits, now: float) -> Claim:
        """Take the places for the next FETCH."""
        return limits.claim(self._order.next_names(), now)

    def rest(self, limits: Limits) -> float:
        """Return the seconds until a queue may be named again, at most an hour; a place given back comes before."""
        return min(3600.0, limits.next_in(self._order.next_names()))

    def next_fetch(self) -> Fetch:
        """Return the next FETCH; the few different ones are made once."""
        return self.only_fetch or self.fetch_of(self._order.next_names())

    def fetch_of(self, names: tuple[str, ...]) -> Fetch:
        """Return the FETCH of some queues."""
        fetch = self._fetches.get(names)
        if fetch is None:
            if len(self._fetches) > 1_000:  # orders of many weighted queues
                self._fetches.clear()
            fetch = self._fetches[names] = Fetch(names)
        return fetch


def log_refused(outcome: Outcome, error: Exception, *, is_final: bool) -> None:
    """Say that the server does not take an outcome."""
    if is_final:
        outbox_log.error(
            "gave up reporting job %a, the server refuses its outcome: %.500a",
            outcome.jid,
            str(error),
            extra={"jid": outcome.jid},
        )
    else:
        outbox_log.warning(
            "the server refuses outcomes for now, that of job %a first: %.500a",
            outcome.jid,
            str(error),
            extra={"jid": outcome.jid},
        )


def log_given_up(outcome: Outcome) -> None:
    """Say which outcome could not be reported in time, so that the server will have that job run again."""
    late_outbox_log.error(
        "could not report job %a before its reservation ended; the server has it run again",
        outcome.jid,
        extra={"jid": outcome.jid},
    )


def log_unserved(options: ConsumerOptions, session: Session) -> None:
    """Say which queues of the app's jobs are not fetched from."""
    warning = unserved(options.homes, session.queues)
    if warning is not None:
        log.warning("%s", warning)


def log_end(done: Tally, cut_off: int) -> None:
    """Say what a session has done."""
    counts = (done.succeeded, done.failed, done.skipped, cut_off)
    log.info("ended: %d jobs succeeded, %d failed, %d were skipped, %d were cut off", *counts)


def log_cut_off(jids: Sequence[str]) -> None:
    """Say which jobs were given up."""
    if jids:
        log.warning("cut off %d jobs: %s", len(jids), ", ".join(map(ascii, jids)))


def log_unreported(unreported: int) -> None:
    """Say how many outcomes the server never confirmed."""
    if unreported:
        outbox_log.error("%d outcomes could not be reported; the server will have those jobs run again", unreported)


def log_skipped(job: Job, skipped: Skipped) -> None:
    """Say which middleware ended a job on purpose, unrun."""
    line = "job %a (%a) was skipped by the middleware %s"
    worker_log.info(line, job.jid, job.jobtype, skipped.by, extra=facts_of(job))


class Shortened:
    """Says of each job type, once, that its jobs' reservations end before their handler's time limit."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, job: Job, timeout: float | None) -> None:
        """Say so of a job's type, unless that is known."""
        if job.jobtype in self._told:
            return
        self._told.add(job.jobtype)
        worker_log.warning(
            "jobs %a have a time limit of %g s and come with reservations of %d s: the reservation limits them; push "
            "them with a longer reserve_for",
            job.jobtype,
            timeout,
            job.reservation,
        )


def log_failed(job: Job, report: Report, error: BaseException) -> None:
    """Say which job has failed; with the whole traceback for who debugs."""
    exc_info = (type(error), error, traceback_of(error)) if worker_log.isEnabledFor(logging.DEBUG) else None
    facts = (job.jid, job.jobtype, " for the last time" if job.is_last_attempt else "", report.errtype)
    level = logging.ERROR if job.is_last_attempt else logging.WARNING
    line = "job %a (%a) failed%s: %s: %a%s"
    extra = facts_of(job) | {"outcome": "dead" if job.is_last_attempt else "failed"}
    try:
        worker_log.log(level, line, *facts, report.message[:500], report.place, exc_info=exc_info, extra=extra)
    except BaseException:  # what the exception's own methods do, or a handler of logging
        worker_log.log(level, line, *facts, report.message[:500], report.place, extra=extra)


def log_too_late(jid: str) -> None:
    """Say which job's failure is not reported, as it could hit another worker's run."""
    late_outbox_log.warning(
        "job %a failed after its reservation had ended; the server has taken it back, so no report",
        jid,
        extra={"jid": jid},
    )


def log_late(alarm: Alarm, job: Job, seconds: float) -> None:
    """Say which job has run for long."""
    if alarm is Alarm.LIMIT:
        late_worker_log.warning(
            "job %a (%a) ran past its time limit; interrupting it after %.1f s",
            job.jid,
            job.jobtype,
            seconds,
            extra=facts_of(job),
        )
    else:
        late_worker_log.warning(
            "job %a (%a) has run for %.0f s of the %d s of its reservation",
            job.jid,
            job.jobtype,
            seconds,
            job.reservation,
            extra=facts_of(job),
        )


def as_lost(error: Exception) -> ConnectionLost:
    """Return `error` as the one that `run` promises for a broken or unopened connection."""
    if isinstance(error, ConnectionLost):
        return error
    lost = ConnectionLost(str(error), maybe_executed=False)
    lost.__cause__ = error
    return lost


def raise_for(session: Session) -> None:
    """Raise what ended a session early, as the error that `run` and `drain` promise."""
    if session.error is not None:
        raise as_lost(session.error) if isinstance(session.error, ConnectionError) else session.error
