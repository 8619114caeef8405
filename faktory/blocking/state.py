"""What the threads of one consumer share: decided here under one lock, carried out elsewhere without it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..commands import Ack, Fail
from ..core.chain import Skipped
from ..core.failure import CUT_OFF, cut_off, overran
from ..core.hooks import Hooks
from ..core.lifecycle import Lifecycle, StoppedBy
from ..core.managed import Managed
from ..core.outage import Outage
from ..core.outbox import Outbox, Outcome, Verdict
from ..core.overdue import FetchWatch
from ..core.registry import Handler
from ..core.run import Run
from ..core.session import Session, Shortened, log_given_up, log_late, log_refused, log_too_late
from ..core.slot import Alarm, Lookouts, Naps, Slot, Step, untold
from ..errors import JobCancelled, ServerError
from ..isolation import interrupter
from ..job import Job
from ..options import FETCH_WATCH_PATIENCE, MANY_WORKERS, ConsumerOptions
from ..runtime.logs import LateLog
from ..runtime.ticking import boottime, monotonic
from .connection import Connection

if TYPE_CHECKING:
    from ..isolation.fork_client import ForkServer
    from .worker import Worker

log: LateLog = LateLog("faktory.consumer")  # the heartbeat comes here, too, and must not wait


class ConsumerState:
    """The shared state of a consumer's threads. Every method is thread-safe, and none blocks."""

    def __init__(
        self,
        options: ConsumerOptions,
        handlers: Mapping[str, Handler],
        hooks: Hooks,
        managed: Managed,
        connect: Callable[[float], Connection],
        fork_server: ForkServer | None = None,
    ) -> None:
        self.options = options
        self.handlers = handlers
        self.hooks = hooks
        self.managed = managed
        self.fork_server = fork_server
        """Where the children come from that run the jobs; None to run them in threads."""
        self.connect = connect
        """Opens a connection with the consumer's wid, given its reply timeout in seconds."""
        self.lifecycle: Lifecycle = Lifecycle(
            shutdown_timeout=options.shutdown_timeout, heartbeat_interval=options.heartbeat_interval, now=monotonic()
        )
        self.outage: Outage = Outage(self._server_is_back)
        self.pid: int = os.getpid()
        """The process that works: a fork of it does not."""
        self.outbox: Outbox = Outbox()
        self.workers: list[Worker] = []
        # Reentrant, because a signal handler of the user's may call `terminate` while its thread is in here.
        self.lock: threading.RLock = threading.RLock()
        """Guards all that the threads share."""
        self.changed: threading.Condition = threading.Condition(self.lock)
        """To wait on, and to notify when the consumer's state changes."""
        self.mailbox: SimpleQueue[tuple[int, float] | None] = SimpleQueue()
        """Wakes the thread that waits in `run`: a signal with its moment, or None to look again. Safe in handlers."""
        self.heartbeat_wake: threading.Event = threading.Event()
        self._heartbeat_until = float("inf")
        self.gate: threading.Event = threading.Event()
        """Lets the threads of a session begin, when all of them are there: nothing is fetched before."""
        self.fetched_at: float | None = None
        """When the last FETCH was answered, with or without a job; None before the first of a session."""
        self.reported_at: float | None = None
        """When the server last confirmed an outcome."""
        self._watch = FetchWatch(options.fetch_watch, FETCH_WATCH_PATIENCE)
        self._lookouts = Lookouts(2 if options.workers >= MANY_WORKERS else 1)
        self._parked: deque[Worker] = deque()
        self._shortened = Shortened()
        self._naps = Naps(monotonic(), boottime())
        self.cut_off: int = 0
        """Jobs given up by `cancel_running` so far."""
        self._indexes = count()

    def new_slot(self) -> Slot:
        """Make a slot with an index that no other of this consumer has or had."""
        return Slot(next(self._indexes))

    # -- what a worker asks -----------------------------------------------------------------------------------

    def next_step(self, worker: Worker) -> Step:
        """Return what a worker does next."""
        slot, session = worker.slot, worker.session
        now = monotonic()
        with self.lock:
            ending = self.lifecycle.is_ending or session.is_stopping
            if slot.outcome is not None and slot.is_cut and self.lifecycle.is_over(now):
                return Step.END  # the outcome stays in the outbox, which is accounted for at the end
            late = None if slot.outcome is None else slot.drop_late(boottime())
            if late is not None:
                self.outbox.give_up(late)
            wants_jobs = self.lifecycle.may_fetch and not ending
            if session.until_empty and slot.outcome is None and not slot.is_woken:
                # The FETCH of another tells whether the queues are empty; one more would put the end off by 2 s.
                wants_jobs = wants_jobs and not any(other.slot.is_fetching for other in self.workers)
            step = slot.next_step(
                wants_jobs=wants_jobs,
                is_ending=ending,
                lookouts=self._lookouts,
                now=now,
            )
            if step is Step.FETCH or step is Step.REPORT_AND_FETCH:
                self._lookouts.sent(slot.index, now)
                slot.is_fetching, slot.sent_at = True, None
            elif slot.is_woken:
                self._lookouts.answered(slot.index)  # it was woken for a FETCH, and sends none
            slot.is_woken = False
            if step is Step.PARK:
                worker.wake.clear()
                self._parked.append(worker)
        if late is not None:
            log_given_up(late)
        return step

    def begin(self, worker: Worker, job: Job, timeout: float | None, run: Run | None = None) -> bool:
        """Start a fetched job and wake the next parked worker. Returns False when there is no time left to run it.

        From here on its `run` may be interrupted; a job that nothing runs has none.
        """
        slot = worker.slot
        now = monotonic()
        with self.lock:
            self._lookouts.answered(slot.index)
            slot.is_fetching = False
            self.fetched_at = now
            slot.begin(job, timeout, now, boottime())
            worker.interruption, worker.current = None, run
            if run is not None:
                run.deadline = slot.ends_at
            woken = self._unpark(now) if self._parked else None
            in_time = slot.left > 0 and not self.lifecycle.is_over(now)
            is_early = slot.alarm_at < self._heartbeat_until
        if slot.is_shortened:
            self._shortened.tell(job, timeout)
        if woken is not None:
            woken.wake.set()
        if is_early:
            self.heartbeat_wake.set()
        return in_time

    def succeeded(self, worker: Worker, command: Ack, skipped: Skipped | None = None) -> bool:
        """Put the outcome of a job that is done into the outbox. Returns False for one that was cut off meanwhile."""
        slot = worker.slot
        with self.lock:
            if slot.is_cancelled:
                return False
            slot.finish()
            if skipped is None:
                worker.session.succeeded += 1
            else:
                worker.session.skipped += 1
            self._keep(slot, Outcome(command, slot.expires_at))
            return True

    def failed(self, worker: Worker, command: Fail) -> bool:
        """Put a job's failure into the outbox. Returns False when it is not to be sent: known, or late."""
        slot, session = worker.slot, worker.session
        now = boottime()
        outcome = Outcome(command, slot.expires_at)
        with self.lock:
            slot.finish()
            if slot.is_cancelled:
                return False  # and counted already
            session.failed += 1
            if outcome.may_be_sent(now):
                self._keep(slot, outcome)
                return True
        log_too_late(command.jid)
        return False

    def _keep(self, slot: Slot, outcome: Outcome) -> None:
        self.outbox.add(outcome)
        slot.outcome = outcome
        slot.is_cut = False

    def settled(self, worker: Worker, outcome: Outcome) -> None:
        """Note that the server has confirmed an outcome."""
        with self.lock:
            self.outbox.settle(outcome)
            self.reported_at = monotonic()
            worker.slot.outcome = None

    def orphan_settled(self, outcome: Outcome) -> None:
        """Note that the server has confirmed an outcome that no worker owns."""
        with self.lock:
            self.outbox.settle(outcome)
            self.reported_at = monotonic()
            self.changed.notify_all()
        self.look_again()

    def orphan_dropped(self, outcome: Outcome) -> None:
        """Note that an outcome that no worker owns is too late to be sent."""
        with self.lock:
            self.outbox.give_up(outcome)
            self.changed.notify_all()
        self.look_again()
        log_given_up(outcome)

    def refused(self, worker: Worker | None, outcome: Outcome, error: ServerError) -> None:
        """Note that the server has answered an outcome with an error: the heartbeat sends it again, unless final."""
        with self.lock:
            verdict = self.outbox.refuse(outcome, error.text, boottime())
            if worker is not None:
                worker.slot.outcome = None
            self.changed.notify_all()
        if verdict is not Verdict.AGAIN:
            log_refused(outcome, error, is_final=verdict is Verdict.FINAL)
        self.heartbeat_wake.set()
        self.look_again()

    def fetched_nothing(self, worker: Worker, *, is_empty: bool = True) -> None:
        """Note the end of a FETCH without a job; `is_empty` tells that there was none."""
        session = worker.session
        with self.lock:
            self._lookouts.answered(worker.slot.index)
            worker.slot.is_fetching = False
            self.fetched_at = monotonic()
            if is_empty and session.until_empty and all(other.is_idle for other in self.workers if other is not worker):
                self._stop(session)

    def lost(self, worker: Worker, error: Exception) -> None:
        """Note that a worker's exchange was cut off."""
        slot = worker.slot
        with self.lock:
            self._lookouts.answered(slot.index)
            slot.is_fetching = False
            slot.is_cut = True
            if not worker.session.is_persistent:
                self._stop(worker.session, error)

    def step_aside(self, worker: Worker) -> None:
        """Note that a worker cannot send its FETCH now: it has no connection. One that has may take its place."""
        slot = worker.slot
        woken = None
        with self.lock:
            self._lookouts.answered(slot.index)
            slot.is_fetching = False
            if self._lookouts.has_room:
                ready = next((other for other in self._parked if other.is_connected), None)
                if ready is not None:
                    self._parked.remove(ready)
                    woken = self._woken(ready, monotonic())
        if woken is not None:
            woken.wake.set()

    def has_ended(self, worker: Worker) -> None:
        """Note that a worker's thread is about to end."""
        with self.lock:
            worker.has_ended = True
            self._lookouts.answered(worker.slot.index)
            self.changed.notify_all()
        self.mailbox.put(None)

    # -- what changes the consumer's state ------------------------------------------------------------------

    def quiet(self) -> None:
        """Stop taking jobs."""
        with self.lock:
            news = self.lifecycle.quiet(monotonic())
            self._wake_all()
        if news:
            log.info("quiet: no new jobs are taken")

    def terminate(self, by: StoppedBy = "method") -> None:
        """Stop taking jobs and end."""
        self._tell_children()
        with self.lock:
            news = self.lifecycle.terminate(monotonic(), by)
            self._wake_all()
        if news:
            log.info("terminating: running jobs have %g s to end", self.options.shutdown_timeout)

    def force(self, by: StoppedBy = "method") -> None:
        """End now."""
        self._tell_children(in_a_hurry=True)
        with self.lock:
            self.lifecycle.force(monotonic(), by)
            self._wake_all()
        log.warning("terminating now: running jobs are cut off")

    def _tell_children(self, *, in_a_hurry: bool = False) -> None:
        if self.fork_server is not None:
            self.fork_server.tell_stopping(in_a_hurry=in_a_hurry)

    def server_says(self, state: str | None) -> None:
        """Obey the answer to a BEAT."""
        if state == "quiet":
            self.quiet()
        elif state == "terminate":
            self.terminate("server")
        elif state is not None:
            log.warning("the server wants the unknown state %a; going on", state[:80])

    def _server_is_back(self) -> None:
        with self.lock:
            self.changed.notify_all()
        self.heartbeat_wake.set()

    def look_again(self) -> None:
        """Wake the thread that waits in `run`."""
        self.mailbox.put(None)

    def stop(self, session: Session, error: Exception | None = None) -> None:
        """End a session, but not the consumer, after what its workers have in hand."""
        with self.lock:
            self._stop(session, error)

    def _stop(self, session: Session, error: Exception | None = None) -> None:
        session.is_stopping = True
        if error is not None and session.error is None:
            session.error = error
        self._wake_all()

    def _wake_all(self) -> None:
        self.changed.notify_all()
        while self._parked:
            self._parked.pop().wake.set()
        self.heartbeat_wake.set()
        self.mailbox.put(None)

    def _unpark(self, now: float) -> Worker:
        return self._woken(self._parked.popleft(), now)

    def _woken(self, worker: Worker, now: float) -> Worker:
        worker.slot.is_woken = True
        # On the lookout from now on: else the one that woke it could end its job first, and send a FETCH too many.
        self._lookouts.sent(worker.slot.index, now)
        return worker

    # -- what the thread that waits in `run` asks ----------------------------------------------------------------

    def is_settled(self, session: Session) -> bool:
        """Tell whether nothing of a session needs waiting for: all threads have ended, or only try to connect."""
        with self.lock:
            ending = self.lifecycle.is_ending or session.is_stopping
            if session.error is None and self._has_refused():
                return False  # the heartbeat reports it yet
            return all(
                worker.has_ended or (ending and worker.is_reconnecting and worker.slot.outcome is None)
                for worker in self.workers
            )

    def _has_refused(self) -> bool:
        return any(outcome.refusals for outcome in self.outbox.waiting())

    def wait_reported(self, seconds: float) -> None:
        """Wait for the heartbeat to report what the server has refused."""
        with self.lock:
            self.changed.wait_for(lambda: not self._has_refused(), timeout=seconds)

    def wait_wound_down(self, seconds: float) -> None:
        """Wait for what the cut-off leaves to do: FETCHes in flight, reports, and what the jobs clean up."""

        def is_wound_down() -> bool:
            return len(self.outbox) == 0 and all(worker.has_ended for worker in self.workers)

        self.heartbeat_wake.set()
        with self.lock:
            self.changed.wait_for(is_wound_down, timeout=seconds)

    def busy(self) -> int:
        """Return how many workers run a job."""
        with self.lock:
            return sum(worker.slot.job is not None for worker in self.workers)

    def cancel_running(self) -> list[str]:
        """Give up the running jobs; returns their jids. What a thread still brings is discarded and its job failed now.

        A job in a child process is failed by its worker, when the child is dead.
        """
        jids: list[str] = []
        with self.lock:
            for worker in self.workers:
                slot = worker.slot
                worker.hand_over()
                if slot.job is None or slot.is_cancelled:
                    continue
                jids.append(slot.job.jid)
                if worker.can_be_killed:
                    worker.cancel_child()
                    continue
                slot.is_cancelled = True
                worker.session.failed += 1
                outcome = Outcome(Fail(slot.job.jid, JobCancelled.__name__, CUT_OFF), slot.expires_at)
                if outcome.may_be_sent(boottime()):
                    self.outbox.add(outcome)
                self._interrupt(worker, cut_off())
            self.cut_off += len(jids)
        return jids

    def tells(self, worker: Worker) -> bool:
        """Tell whether the caller is the one to tell the hooks of a job that was cut off: True once."""
        with self.lock:
            was_told, worker.slot.is_told = worker.slot.is_told, True
            return not was_told

    def left_behind(self) -> list[Job]:
        """Return the jobs that were cut off and go on, each once: nobody else will tell the hooks of them."""
        with self.lock:
            return untold(worker.slot for worker in self.workers)

    def orphans(self) -> list[Outcome]:
        """Return the outcomes that no living worker is going to report."""
        with self.lock:
            if len(self.outbox) == 0:
                return []
            owned = {id(worker.slot.outcome) for worker in self.workers if not worker.has_ended}
            return [outcome for outcome in self.outbox.waiting() if id(outcome) not in owned]

    def next_alarm_in(self, beat_in: float) -> float:
        """Return the seconds until the heartbeat has something to do, at most `beat_in`."""
        now = monotonic()
        with self.lock:
            alarms = [worker.slot.alarm_at for worker in self.workers]
            self._heartbeat_until = min([now + beat_in, self._watch.next_look(self._sent()), *alarms])
            return max(0.0, self._heartbeat_until - now)

    def sound_alarms(self) -> None:
        """Warn of jobs that come near the end of their reservations, and interrupt those past their time limits."""
        now = monotonic()
        late: list[tuple[Alarm, Job, float]] = []
        with self.lock:
            slept = self._naps.since(now, boottime())
            for worker in self.workers:
                slot = worker.slot
                if slept:
                    slot.sleep(slept)
                alarm = slot.next_alarm(now)
                if alarm is None or slot.job is None:
                    continue
                late.append((alarm, slot.job, now - slot.started_at))
                if alarm is Alarm.LIMIT:
                    self._interrupt(worker, overran(slot.limit))
        for alarm, job, seconds in late:
            log_late(alarm, job, seconds)

    def watch_fetches(self) -> None:
        """Recover from what must not happen: a FETCH that hangs, or idle workers that nobody wakes (P13)."""
        now = monotonic()
        with self.lock:
            sent = self._sent()
            hanging = self._watch.overdue(sent, now) if self.lifecycle.may_fetch else []
            stuck = [worker for worker in self.workers if worker.slot.index in hanging]
            is_idle = bool(self._parked) and self.lifecycle.may_fetch and not any(map(_may_wake, self.workers))
            woken = self._unpark(now) if self._watch.is_neglected(now, is_idle=is_idle) else None
        for worker in stuck:
            log.error("a FETCH was not answered for %.0f s; cutting its connection", now - sent[worker.slot.index])
            worker.interrupt()
        if woken is not None:
            log.error("no worker has sent a FETCH for %.0f s, though jobs are wanted", self.options.fetch_watch)
            woken.wake.set()

    def _sent(self) -> dict[int, float]:
        """Return when each FETCH under way was sent, by slot."""
        slots = [worker.slot for worker in self.workers]
        return {slot.index: slot.sent_at for slot in slots if slot.is_fetching and slot.sent_at is not None}

    def is_consuming(self) -> bool:
        """Tell whether jobs are taken, or no worker is free to take one."""
        if self.fork_server is not None and not self.fork_server.can_run_jobs:
            return False
        now = monotonic()
        with self.lock:
            is_anyone_free = bool(self._parked) or any(worker.is_reconnecting for worker in self.workers)
            return self._watch.is_consuming(
                self._sent(), is_anyone_free=is_anyone_free, answered_at=self.fetched_at, now=now
            )

    def _interrupt(self, worker: Worker, error: Exception) -> None:
        """Have a worker's handler end by an exception: one, whatever else comes."""
        run = worker.current
        if run is not None and worker.interruption is None:
            worker.interruption = error  # before it can be raised: whoever raises it takes back what is left of it
            run.is_cancelled = True
            if not worker.can_be_killed:  # else its runner keeps the limit
                interrupter.request(worker, run, error)


def _may_wake(worker: Worker) -> bool:
    """Tell whether a worker sends a FETCH now, is about to, or tries to: a job that comes wakes others."""
    return worker.slot.is_fetching or worker.slot.is_woken or worker.is_reconnecting
