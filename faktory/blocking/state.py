"""What the threads of one consumer share: asked of the core under one lock, carried out elsewhere without it.

Called by the worker threads, the heartbeat's thread, and the thread that waits in `run`. Nothing in here waits but what
says so; the lock is held for moments only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..commands import Ack, Fail
from ..core.chain import Skipped
from ..core.door import Door
from ..core.failure import cut_off
from ..core.fetch_policy import FetchPolicy, Step
from ..core.hooks import Hooks
from ..core.job_timer import RunningJobs
from ..core.ledger import Ledger
from ..core.lifecycle import Lifecycle
from ..core.managed import Managed
from ..core.outage import Outage
from ..core.outbox import Outcome, Verdict
from ..core.registry import Handler
from ..core.run import Run
from ..core.session import Session, Shortened, log_given_up, log_refused, log_too_late
from ..errors import ServerError
from ..job import Job
from ..options import MANY_WORKERS, ConsumerOptions
from ..runtime.ticking import boottime, monotonic
from .connection import Connection
from .slot import Slot

if TYPE_CHECKING:
    from ..isolation.fork_client import ForkServer


class ConsumerState:
    """The shared state of a consumer's threads. Every method is thread-safe, and none blocks unless it says so."""

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
        self.ledger: Ledger = Ledger()
        self.fetches: FetchPolicy[Slot] = FetchPolicy(
            self.lifecycle, 2 if options.workers >= MANY_WORKERS else 1, options.fetch_watch
        )
        self.jobs: RunningJobs[Slot] = RunningJobs(monotonic(), boottime())
        # Reentrant, because a signal handler of the user's may call `terminate` while its thread is in here.
        self.lock: threading.RLock = threading.RLock()
        """Guards all that the threads share."""
        self.changed: threading.Condition = threading.Condition(self.lock)
        """To wait on, and to notify when the consumer's state changes."""
        self.mailbox: SimpleQueue[tuple[int, float] | None] = SimpleQueue()
        """Wakes the thread that waits in `run`: a signal with its moment, or None to look again. Safe in handlers."""
        self.heartbeat_wake: threading.Event = threading.Event()
        self.door: Door = Door(self.lifecycle, self.lock, self._wake_all, fork_server)
        self._shortened = Shortened()

    @property
    def slots(self) -> list[Slot]:
        """The slots of the session, those of ended threads included."""
        return self.jobs.holders

    def begin_session(self, slots: Iterable[Slot]) -> None:
        """Work with these slots from now on."""
        slots = list(slots)
        with self.lock:
            self.jobs.clear()
            for slot in slots:
                self.jobs.add(slot)
            self.fetches.begin(slots, monotonic())

    # -- what a worker asks -----------------------------------------------------------------------------------

    def next_step(self, slot: Slot, session: Session, now: float, reserved_now: float) -> Step:
        """Return what a worker does next; `reserved_now` is on the clock of reservations."""
        late = None
        with self.lock:
            outcome, is_cut = slot.outcome, slot.is_cut
            if outcome is not None:
                if is_cut and self.lifecycle.is_over(now):
                    return Step.END  # the outcome stays in the outbox, which is accounted for at the end
                if reserved_now >= outcome.deadline:
                    late = self._let_go_of_late(slot, reserved_now)
                    outcome = slot.outcome
            step = self.fetches.next_step(slot, session, now, has_outcome=outcome is not None, is_cut=is_cut)
            if step is Step.PARK:
                slot.wake.clear()
        if late is not None:
            log_given_up(late)
        return step

    def drop_late(self, slot: Slot) -> None:
        """Let go of an outcome that the server should not get any more."""
        with self.lock:
            late = self._let_go_of_late(slot, boottime())
        if late is not None:
            log_given_up(late)

    def _let_go_of_late(self, slot: Slot, reserved_now: float) -> Outcome | None:
        late = slot.drop_late(reserved_now)
        if late is not None:
            self.ledger.outbox.give_up(late)
        return late

    def begin(
        self,
        slot: Slot,
        job: Job,
        timeout: float | None,
        asked_at: float,
        confirmed: Outcome | None = None,
        *,
        is_run: bool = True,
    ) -> Run | None:
        """Start a fetched job and wake the next parked worker. Returns its run; None when there is no time left for it.

        From here on the run may be interrupted; a job that nothing runs (not `is_run`) has none. `asked_at` is when its
        FETCH left, on the clock of reservations; `confirmed` the slot's outcome before, when its answer came with it.
        """
        now, timer = monotonic(), slot.timer
        with self.lock:
            if confirmed is not None:  # here, too, for one lock less a job: 1,800 instructions
                self.ledger.settle(confirmed, now)
            woken = self.fetches.got_job(slot, now)
            timer.begin(job, timeout, now, boottime(), asked_at)
            in_time = is_run and timer.left > 0 and now < self.lifecycle.deadline
            run = Run(job, timer.ends_at, self.managed, self.lifecycle) if in_time else None
            slot.begin(run)
            is_early = timer.alarm_at < self.jobs.wakes_at
        if timer.is_shortened:
            self._shortened.tell(job, timeout)
        if woken is not None:
            woken.wake.set()
        if is_early:
            self.heartbeat_wake.set()
        return run

    def succeeded(self, slot: Slot, command: Ack, skipped: Skipped | None = None) -> bool:
        """Put the outcome of a job that is done into the outbox. Returns False for one that was cut off meanwhile."""
        with self.lock:
            outcome = self.ledger.succeeded(slot.timer, command, is_skipped=skipped is not None)
            if outcome is None:
                return False
            slot.owe(outcome)
            return True

    def failed(self, slot: Slot, command: Fail) -> bool:
        """Put a job's failure into the outbox. Returns False when it is not to be sent: known, or late."""
        with self.lock:
            outcome = self.ledger.failed(slot.timer, command, boottime())
            if outcome is not None:
                slot.owe(outcome)
        if outcome is None and not slot.timer.is_cut_off:
            log_too_late(command.jid)
        return outcome is not None

    def settled(self, slot: Slot, outcome: Outcome, now: float) -> None:
        """Note that the server has confirmed an outcome."""
        with self.lock:
            self.ledger.settle(outcome, now)
            slot.settle()

    def refused(self, slot: Slot | None, outcome: Outcome, error: ServerError) -> None:
        """Note that the server has answered an outcome with an error: the heartbeat sends it again, unless final."""
        with self.lock:
            verdict = self.ledger.outbox.refuse(outcome, error.text, boottime())
            if slot is not None:
                slot.settle()
            self.changed.notify_all()
        if verdict is not Verdict.AGAIN:
            log_refused(outcome, error, is_final=verdict is Verdict.FINAL)
        self.heartbeat_wake.set()
        self.look_again()

    def fetched_nothing(self, slot: Slot, session: Session, *, is_empty: bool = True) -> None:
        """Note the end of a FETCH without a job; `is_empty` tells that there was none."""
        with self.lock:
            self.fetches.got_nothing(slot, monotonic())
            if is_empty and session.until_empty and not any(map(self._may_bring_jobs, self.fetches.living - {slot})):
                self._stop(session)

    def _may_bring_jobs(self, slot: Slot) -> bool:
        has_job = slot.timer.job is not None or slot.outcome is not None
        return has_job or self.fetches.may_get_job(slot)

    def lost(self, slot: Slot, session: Session, error: Exception) -> None:
        """Note that a worker's exchange was cut off."""
        with self.lock:
            self.fetches.lost(slot)
            slot.cut()
            if not session.is_persistent:
                self._stop(session, error)

    def cut(self, slot: Slot) -> None:
        """Note that a worker found no way to report its outcome."""
        with self.lock:
            slot.cut()

    def step_aside(self, slot: Slot) -> None:
        """Note that a worker cannot send its FETCH now: it has no connection. One that has may take its place."""
        with self.lock:
            self.fetches.withdraw(slot)
            woken = self.fetches.successor(monotonic(), lambda other: other.hands.is_connected)
        if woken is not None:
            woken.wake.set()

    def reconnects(self, slot: Slot) -> None:
        """Note that a worker cannot go on until something is there: a connection, or a child process."""
        with self.lock:
            self.fetches.reconnects(slot)

    def has_reconnected(self, slot: Slot) -> None:
        """Note that a worker has what it waited for, or waits no more."""
        with self.lock:
            self.fetches.has_reconnected(slot)

    def has_ended(self, slot: Slot) -> None:
        """Note that a worker's thread is about to end."""
        with self.lock:
            self.fetches.has_ended(slot)
            self.changed.notify_all()
        self.look_again()

    # -- what changes the consumer's state ------------------------------------------------------------------

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
        session.stop(error)
        self._wake_all()

    def _wake_all(self) -> None:
        with self.lock:
            self.changed.notify_all()
            for slot in self.fetches.wake_all():
                slot.wake.set()
        self.heartbeat_wake.set()
        self.look_again()

    # -- what the thread that waits in `run` asks ----------------------------------------------------------------

    def take_mail(self, seconds: float) -> tuple[tuple[int, float] | None, ...]:
        """Wait for a signal, or for something to look at (None), and return it; nothing when there was none in time."""
        with suppress(Empty):
            return (self.mailbox.get(timeout=max(0.0, seconds)),)
        return ()

    def pause(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait so long, or until a change makes `is_over` true."""
        with self.lock:
            self.changed.wait_for(is_over, timeout=seconds)

    def is_settled(self, session: Session) -> bool:
        """Tell whether nothing of a session needs waiting for: all threads have ended, or only try to connect."""
        with self.lock:
            if session.error is None and self.ledger.has_refused:
                return False  # the heartbeat reports it yet
            ending = self.lifecycle.is_ending or session.is_stopping
            fetches = self.fetches
            return all(ending and fetches.is_reconnecting(slot) and slot.outcome is None for slot in fetches.living)

    def wait_reported(self, seconds: float) -> None:
        """Wait for the heartbeat to report what the server has refused."""
        self.pause(seconds, lambda: not self.ledger.has_refused)

    def wait_wound_down(self, seconds: float) -> None:
        """Wait for what the cut-off leaves to do: FETCHes in flight, reports, and what the jobs clean up."""
        self.heartbeat_wake.set()
        self.pause(seconds, lambda: len(self.ledger.outbox) == 0 and not self.fetches.living)

    def busy(self) -> int:
        """Return how many workers run a job."""
        with self.lock:
            return self.jobs.busy()

    def cancel_running(self) -> list[str]:
        """Give up the running jobs; returns their jids. What a thread still brings is discarded and its job failed now.

        A job in a child process is failed by its worker, when the child is dead.
        """
        jids: list[str] = []
        with self.lock:
            for slot in self.slots:
                slot.hand_over()
                job = slot.timer.job
                if job is None or slot.timer.is_cut_off:
                    continue
                jids.append(job.jid)
                if slot.hands.can_be_killed:
                    slot.hands.cancel_child()
                    continue
                self.ledger.cut_off(slot.timer, boottime())
                slot.interrupt(cut_off())
            self.ledger.gave_up(len(jids))
        return jids

    def tells(self, slot: Slot) -> bool:
        """Tell whether the caller is the one to tell the hooks of a job that was cut off: True once."""
        with self.lock:
            return slot.timer.tell()

    def left_behind(self) -> list[Job]:
        """Return the jobs that were cut off and go on, each once: nobody else will tell the hooks of them."""
        with self.lock:
            return self.jobs.untold()

    def is_consuming(self) -> bool:
        """Tell whether jobs are taken, or no worker is free to take one."""
        if self.fork_server is not None and not self.fork_server.can_run_jobs:
            return False
        with self.lock:
            return self.fetches.is_consuming(monotonic())
