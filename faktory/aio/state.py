"""What the tasks of one async consumer share. For the scheduler's thread, but where any may call it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..blocking.connection import Connection as BlockingConnection
from ..commands import Ack, Fail
from ..core.failure import CUT_OFF, cut_off, overran
from ..core.lifecycle import Lifecycle, State, StoppedBy
from ..core.managed import Managed
from ..core.outage import Outage
from ..core.outbox import Outbox, Outcome, Verdict
from ..core.overdue import FetchWatch
from ..core.run import Run
from ..core.session import Session, Shortened, log_given_up, log_late, log_refused, log_too_late
from ..core.slot import Alarm, Lookouts, Naps, Slot, Step, untold
from ..errors import JobCancelled, ServerError
from ..job import Job
from ..options import FETCH_WATCH_PATIENCE, MANY_WORKERS, ConsumerOptions
from ..runtime.logs import LateLog
from ..runtime.ticking import boottime, monotonic
from .backend import Backend, Bell, Event
from .job_task import AsyncHandler, Work
from .outgoing import Outgoing

if TYPE_CHECKING:
    from ..isolation.shared import Children
    from .fetcher import Fetcher
    from .reporter import Reporter

log: LateLog = LateLog("faktory.consumer")  # the heartbeat comes here, too, and must not wait


class ConsumerState:
    """The shared state of a consumer's tasks. No method waits."""

    def __init__(
        self,
        backend: Backend,
        options: ConsumerOptions,
        handlers: Mapping[str, AsyncHandler],
        managed: Managed,
        connect: Callable[[float], BlockingConnection],
        children: Children | None = None,
    ) -> None:
        self.children = children
        """Where jobs run; None for the loop and its threads."""
        self.backend = backend
        self.options = options
        self.handlers = handlers
        self.managed = managed
        self.connect = connect
        """Opens the heartbeat's connection, which blocks, given its reply timeout in seconds."""
        self.post: Callable[..., None] = backend.bind_call_soon()
        self.lifecycle: Lifecycle = Lifecycle(
            shutdown_timeout=options.shutdown_timeout, heartbeat_interval=options.heartbeat_interval, now=monotonic()
        )
        self.outage: Outage = Outage(self._server_is_back)
        self.outgoing: Outgoing = Outgoing()
        self.outbox: Outbox = self.outgoing.outbox
        self.works: set[Work] = set()
        """The jobs that run, or whose hooks do."""
        self.fetchers: list[Fetcher] = []
        self.reporter: Reporter | None = None
        self.lock: threading.RLock = threading.RLock()
        """Guards the lifecycle and the set of works, which the heartbeat's thread looks at."""
        self.heartbeat_wake: threading.Event = threading.Event()
        self.tell_guard: Callable[[], None] = lambda: None
        """Called when the consumer's state changes, by any thread."""
        self.changed: Event = backend.event()
        """Set, and replaced, when the consumer's state changes."""
        self.mail: Bell = Bell(backend)
        """Wakes the task that waits in `run`."""
        self.signals: deque[tuple[int, float]] = deque()
        self.fetched_at: float | None = None
        """When the last FETCH was answered, with or without a job; None before the first of a session."""
        self.reported_at: float | None = None
        """When the server last confirmed an outcome."""
        self._watch = FetchWatch(options.fetch_watch, FETCH_WATCH_PATIENCE)
        self._shortened = Shortened()
        self._naps = Naps(monotonic(), boottime())
        self.cut_off: int = 0
        """Jobs given up by `cancel_running` so far."""
        self.stuck = 0
        """Threads that earlier shifts have left with a job."""
        self._heartbeat_until = float("inf")
        self._lookouts = Lookouts(2 if options.workers >= MANY_WORKERS else 1)
        self._fetching = 0  # slots promised to FETCHes under way
        self._parked: deque[Fetcher] = deque()  # jobs are scarce
        self._starved: deque[Fetcher] = deque()  # slots are scarce
        self._is_watched = False  # the task that waits in `run` wants to know of each end
        self._about_to_send = 0  # fetchers that give a job its first step, and will take its outcome along

    # -- fetching -------------------------------------------------------------------------------------------------

    def next_step(self, fetcher: Fetcher) -> Step:
        """Return what a fetcher does next: FETCH, park (its event is a new one then), or end."""
        step = self._next_step(fetcher, monotonic())
        if step is not Step.FETCH:
            self.leave_to_reporter()
        return step

    def leave_to_reporter(self) -> None:
        """Have the reporter send what no fetcher takes along."""
        if self.outgoing.has_fresh:
            self._ring_reporter()

    def _ring_reporter(self) -> None:
        if self.reporter is not None:
            self.reporter.bell.ring()

    def _next_step(self, fetcher: Fetcher, now: float) -> Step:
        session = fetcher.session
        was_woken, fetcher.is_woken = fetcher.is_woken, False
        if self.lifecycle.is_ending or session.is_stopping or fetcher.has_fetched_its_one:
            self._lookouts.answered(fetcher.index)
            return Step.END
        wants_jobs = self.lifecycle.may_fetch
        if session.until_empty and not fetcher.has_just_fetched and not was_woken:
            # The FETCH of another tells whether the queues are empty; one more would put the end off by 2 s.
            wants_jobs = wants_jobs and not any(other.is_fetching for other in self.fetchers)
        has_slot = self.free > 0
        if wants_jobs and has_slot and self._may_fetch(fetcher, now, was_woken=was_woken):
            self._lookouts.sent(fetcher.index, now)
            fetcher.is_fetching, fetcher.sent_at = True, None
            self._fetching += 1
            return Step.FETCH
        self._lookouts.answered(fetcher.index)
        fetcher.wake = self.backend.event()
        (self._starved if wants_jobs and not has_slot else self._parked).append(fetcher)
        return Step.PARK

    def _may_fetch(self, fetcher: Fetcher, now: float, *, was_woken: bool) -> bool:
        if was_woken or self._lookouts.has_room:
            return True
        return fetcher.has_just_fetched and self._lookouts.grant(now, fetcher.waited)

    @property
    def free(self) -> int:
        """Slots neither taken by a job nor promised to a FETCH."""
        return self.options.workers - len(self.works) - self._fetching - self.stuck

    def begin(self, fetcher: Fetcher, job: Job, timeout: float | None) -> tuple[Work, bool]:
        """Start a fetched job, and wake the next parked fetcher. Tells whether there is time to run it."""
        now = monotonic()
        slot = Slot(0)
        slot.reserved_at = fetcher.reserved_at
        slot.begin(job, timeout, now, boottime())
        if slot.is_shortened:
            self._shortened.tell(job, timeout)
        run = Run(job, slot.ends_at, self.managed, self.lifecycle)
        work = Work(self.backend, self.post, slot, run)
        with self.lock:
            self._answered(fetcher, now)
            fetcher.has_just_fetched = True
            self.works.add(work)
            is_early = slot.alarm_at < self._heartbeat_until
            in_time = slot.left > 0 and not self.lifecycle.is_over(now)
        if self._parked and self.free > 0:
            woken = self._parked.popleft()
            # On the lookout from now on, so that no other sends a FETCH too many meanwhile.
            self._lookouts.sent(woken.index, now)
            woken.be_woken()
        if is_early:
            self.heartbeat_wake.set()
        return work, in_time

    def fetched_nothing(self, fetcher: Fetcher, *, is_empty: bool = True) -> None:
        """Note the end of a FETCH without a job; `is_empty` tells that there was none."""
        self._answered(fetcher, monotonic())
        fetcher.has_just_fetched = False
        if is_empty and fetcher.session.until_empty and self.is_idle:
            self.stop(fetcher.session)

    def _answered(self, fetcher: Fetcher, now: float) -> None:
        self.fetched_at = now
        self.step_aside(fetcher)

    def step_aside(self, fetcher: Fetcher) -> None:
        """Note that a fetcher sends no FETCH after all, or that it has ended."""
        self._lookouts.answered(fetcher.index)
        if fetcher.is_fetching:
            fetcher.is_fetching = False
            self._fetching -= 1

    def leave_lookout(self, fetcher: Fetcher) -> None:
        """Note that a fetcher sends no FETCH yet, and keeps its slot: it waits for a child to run the job."""
        self._lookouts.answered(fetcher.index)

    def give_place(self) -> None:
        """Let a parked fetcher that has a connection look out in the place of one that has none."""
        ready = next((other for other in self._parked if other.is_connected), None)
        if ready is not None and self._lookouts.has_room:
            self._parked.remove(ready)
            ready.be_woken()

    def lost(self, fetcher: Fetcher | None, session: Session, error: Exception) -> None:
        """Note that an exchange was cut off."""
        if fetcher is not None:
            self.step_aside(fetcher)
            fetcher.has_just_fetched = False
        if not session.is_persistent:
            self.stop(session, error)

    def fetcher_has_ended(self, fetcher: Fetcher) -> None:
        """Note that a fetcher's task is about to end."""
        fetcher.has_ended = True
        self.step_aside(fetcher)
        self.mail.ring()

    @property
    def is_idle(self) -> bool:
        """True when no job runs, is about to come, or has an outcome to report that the server does not refuse."""
        return not self._has_work and not self._fetching and self.outgoing.is_idle

    # -- outcomes -------------------------------------------------------------------------------------------------

    def expect_outcome(self, change: int) -> None:
        """Note that a fetcher is about to take outcomes along (1), or no more (-1)."""
        self._about_to_send += change

    def finish(self, session: Session, work: Work, command: Ack | Fail) -> bool:
        """Put a job's outcome into the outbox. Returns False when it is not to be sent: the job was failed for us."""
        slot, outcome = work.slot, Outcome(command, work.slot.expires_at)
        with self.lock:
            slot.finish()
        if slot.is_cancelled:
            return False  # and counted already
        if work.skipped is not None:
            session.skipped += 1
        elif isinstance(command, Ack):
            session.succeeded += 1
        else:
            session.failed += 1
        if outcome.may_be_sent(boottime()):
            self.outbox.add(outcome)
            work.outcome = outcome
            return True
        log_too_late(command.jid)
        return False

    def release(self, work: Work) -> None:
        """Have a job's outcome sent, and its slot used again. Can be called twice."""
        outcome, work.outcome = work.outcome, None
        if outcome is not None:
            self.outgoing.add(outcome)
        if work not in self.works:
            return
        with self.lock:
            self.works.discard(work)
        if self._starved:
            self._starved.popleft().be_woken(is_free=False)
        elif outcome is not None and not self._about_to_send:
            self._ring_reporter()
        if self._is_watched:
            self.mail.ring()

    def take_fresh(self) -> list[Outcome]:
        """Return outcomes that may leave ahead of a FETCH."""
        return self._without_late(*self.outgoing.take_fresh(boottime())) if self.outgoing.has_fresh else []

    def take_any(self) -> list[Outcome]:
        """Return outcomes to report, first those that were sent already."""
        return self._without_late(*self.outgoing.take_any(boottime()))

    def _without_late(self, taken: list[Outcome], given_up: list[Outcome]) -> list[Outcome]:
        for outcome in given_up:
            log_given_up(outcome)
        return taken

    def settled(self, outcome: Outcome) -> None:
        """Note that the server has confirmed an outcome."""
        self.outbox.settle(outcome)
        self.reported_at = monotonic()
        if self._is_watched:
            self.mail.ring()

    def refused(self, outcome: Outcome, error: ServerError) -> None:
        """Note that the server has answered an outcome with an error: it is sent again later, unless that is final."""
        verdict = self.outgoing.refuse(outcome, error.text, boottime())
        if verdict is not Verdict.AGAIN:
            log_refused(outcome, error, is_final=verdict is Verdict.FINAL)
        self._ring_reporter()
        self.mail.ring()

    def unsettled(self, outcomes: list[Outcome]) -> None:
        """Have outcomes sent again, without a FETCH behind them."""
        self.outgoing.add_again(outcomes)
        if outcomes:
            self._ring_reporter()

    def carry_over(self, *, is_watched: bool) -> None:
        """Begin a session with what the last one could not report; `is_watched` rings `mail` for each end of a job."""
        self.outgoing.carry_over()
        self._parked.clear()
        self._starved.clear()
        self._fetching = self._about_to_send = 0
        self._is_watched = is_watched or self.lifecycle.state is not State.RUNNING

    # -- what changes the consumer's state: any thread may call these --------------------------------------------

    def quiet(self) -> None:
        """Stop taking jobs."""
        with self.lock:
            news = self.lifecycle.quiet(monotonic())
        self._tell()
        if news:
            log.info("quiet: no new jobs are taken")

    def terminate(self, by: StoppedBy = "method") -> None:
        """Stop taking jobs and end."""
        self._tell_children()
        with self.lock:
            news = self.lifecycle.terminate(monotonic(), by)
        self._tell()
        if news:
            log.info("terminating: running jobs have %g s to end", self.options.shutdown_timeout)

    def force(self, by: StoppedBy = "method") -> None:
        """End now."""
        self._tell_children(in_a_hurry=True)
        with self.lock:
            self.lifecycle.force(monotonic(), by)
        self._tell()
        log.warning("terminating now: running jobs are cut off")

    def _tell_children(self, *, in_a_hurry: bool = False) -> None:
        if self.children is not None:
            self.children.tell_stopping(in_a_hurry=in_a_hurry)

    def server_says(self, state: str | None) -> None:
        """Obey the answer to a BEAT."""
        if state == "quiet":
            self.quiet()
        elif state == "terminate":
            self.terminate("server")
        elif state is not None:
            log.warning("the server wants the unknown state %a; going on", state[:80])

    def _tell(self) -> None:
        self.heartbeat_wake.set()
        self.tell_guard()
        self.post(self.look_again)

    def stop(self, session: Session, error: Exception | None = None) -> None:
        """End a session, but not the consumer, after what its tasks have in hand. Only in the scheduler's thread."""
        session.is_stopping = True
        if error is not None and session.error is None:
            session.error = error
        self.look_again()

    def announce(self) -> None:
        """Wake those who wait for a change."""
        self.changed.set()
        self.changed = self.backend.event()

    def _server_is_back(self) -> None:
        self.heartbeat_wake.set()
        self.post(self.announce)

    async def pause(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait so long, or until a change of the consumer's state, or of the server's, makes `is_over` true."""
        limit = monotonic() + seconds
        while not is_over() and (left := limit - monotonic()) > 0:
            await self.backend.wait(self.changed, left)

    def look_again(self) -> None:
        """Wake everybody to what has changed. Only in the scheduler's thread."""
        self._is_watched = True
        self.announce()
        for waiting in (self._parked, self._starved):
            while waiting:
                waiting.pop().be_woken(is_free=False)
        self._ring_reporter()
        self.mail.ring()

    # -- what the heartbeat's thread asks ------------------------------------------------------------------------------

    def next_alarm_in(self, beat_in: float) -> float:
        """Return the seconds until the heartbeat has something to do, at most `beat_in`."""
        now = monotonic()
        with self.lock:
            alarms = [work.slot.alarm_at for work in self.works]
            self._heartbeat_until = min([now + beat_in, self._watch.next_look({}), *alarms])
            return max(0.0, self._heartbeat_until - now)

    def sound_alarms(self) -> None:
        """Warn of jobs that come near the end of their reservations, and interrupt those past their time limits."""
        now = monotonic()
        late: list[tuple[Alarm, Work, float]] = []
        with self.lock:
            slept = self._naps.since(now, boottime())
            for work in self.works:
                if slept:
                    work.slot.sleep(slept)
                alarm = work.slot.next_alarm(now)
                if alarm is not None:
                    late.append((alarm, work, now - work.slot.started_at))
        for alarm, work, seconds in late:
            log_late(alarm, work.job, seconds)
            if alarm is Alarm.LIMIT:
                work.interrupt(overran(work.slot.limit))

    def watch_fetches(self) -> None:
        """Recover from what must not happen: idle fetchers that nobody wakes (P13).

        A FETCH that hangs is left to its connection, whose time limit needs no heartbeat.
        """
        fetchers = list(self.fetchers)
        under_way = any(each.is_fetching or each.is_woken or each.is_reconnecting for each in fetchers)
        is_idle = bool(self._parked) and not under_way and self.lifecycle.may_fetch and self.free > 0
        if self._watch.is_neglected(monotonic(), is_idle=is_idle):
            log.error("no FETCH was sent for %.0f s, though jobs are wanted", self.options.fetch_watch)
            self.post(self.look_again)

    def is_consuming(self) -> bool:
        """Tell whether jobs are taken, or no slot is free for one. Any thread may call it."""
        if self.children is not None and not self.children.can_run_jobs:
            return False
        fetchers = list(self.fetchers)
        sent = {each.index: each.sent_at for each in fetchers if each.is_fetching and each.sent_at is not None}
        is_anyone_free = bool(self._parked) or any(fetcher.is_reconnecting for fetcher in fetchers)
        return self._watch.is_consuming(
            sent, is_anyone_free=is_anyone_free, answered_at=self.fetched_at, now=monotonic()
        )

    # -- the end ----------------------------------------------------------------------------------------------------

    @property
    def _has_work(self) -> bool:
        """True while a job is waited for; one that was failed for us, and left behind, is not."""
        return any(not work.slot.is_cancelled for work in self.works)

    def is_settled(self, session: Session) -> bool:
        """Tell whether nothing of a session needs waiting for."""
        ending = self.lifecycle.is_ending or session.is_stopping
        reporter = self.reporter
        return (
            all(fetcher.has_ended or (ending and fetcher.is_reconnecting) for fetcher in self.fetchers)
            and not self._has_work
            and (len(self.outbox) == 0 or reporter is None or reporter.has_given_up)
        )

    @property
    def has_only_reports(self) -> bool:
        """True when nothing runs or fetches any more, and outcomes that the server refuses are all that is left."""
        return not self._has_work and self.outgoing.has_refused and all(fetcher.has_ended for fetcher in self.fetchers)

    def has_ended(self, reporter: Reporter) -> bool:
        """Tell whether all tasks end by themselves, once the reporter is closed."""
        is_reported = len(self.outbox) == 0 or reporter.has_given_up
        return is_reported and not self.works and all(fetcher.has_ended for fetcher in self.fetchers)

    @property
    def is_wound_down(self) -> bool:
        """True when the cut-off has left nothing to do: neither FETCHes in flight, nor reports, nor jobs."""
        has_fetched = all(fetcher.has_ended or fetcher.is_reconnecting for fetcher in self.fetchers)
        return has_fetched and len(self.outbox) == 0 and not self.works

    def busy(self) -> int:
        """Return how many slots hold a job. Any thread may call it."""
        with self.lock:
            return self.stuck + sum(work.slot.job is not None for work in self.works)

    def cancel_running(self, session: Session) -> list[str]:
        """Give up the running jobs; returns their jids. A job that is cancelled tells its end itself.

        What a thread still brings is discarded, and its job failed now: nothing can make it end.
        """
        jids: list[str] = []
        for work in list(self.works):
            if work.slot.job is None:
                self.release(work)  # its hooks take too long
                with self.lock:
                    self.works.add(work)  # and go on: nobody else would end them
            elif not work.slot.is_cancelled:
                jids.append(work.job.jid)
                if work.is_in_thread:
                    self.fail_running(session, work)
                work.interrupt(cut_off())
        self.cut_off += len(jids)
        return jids

    def fail_running(self, session: Session, work: Work) -> None:
        """Fail a job that goes on; what it still brings is discarded."""
        work.slot.is_cancelled = True
        session.failed += 1
        outcome = Outcome(Fail(work.job.jid, JobCancelled.__name__, CUT_OFF), work.slot.expires_at)
        if outcome.may_be_sent(boottime()):
            self.outbox.add(outcome)
            self.outgoing.add(outcome)
            self._ring_reporter()

    def left_behind(self) -> list[Job]:
        """Return the jobs that were cut off and go on, each once: nobody else will tell the hooks of them."""
        return untold(work.slot for work in self.works)
