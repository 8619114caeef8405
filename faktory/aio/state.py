"""What the tasks of one async consumer share: asked of the core here, carried out elsewhere.

For the scheduler's thread, but where any may call it; the lock guards what the heartbeat's thread looks at.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ..commands import Ack, Fail
from ..core.chain import Skipped
from ..core.door import Door
from ..core.fetch_policy import FetchPolicy, Step
from ..core.job_timer import JobTimer, RunningJobs
from ..core.ledger import Ledger
from ..core.lifecycle import Lifecycle, State
from ..core.managed import Managed
from ..core.outage import Outage
from ..core.outbox import Outcome, Verdict
from ..core.run import Run
from ..core.session import Session, Shortened, log_given_up, log_refused, log_too_late
from ..errors import ServerError
from ..job import Job
from ..options import MANY_WORKERS, ConsumerOptions
from ..runtime.ticking import boottime, monotonic
from .backend import Backend, Bell, Event
from .beating import Line
from .job_task import AsyncHandler, JobTask
from .outgoing import Outgoing
from .turn import Turn

if TYPE_CHECKING:
    from ..isolation.shared import Children


class ConsumerState:
    """The shared state of a consumer's tasks. No method waits but `pause`."""

    def __init__(
        self,
        backend: Backend,
        options: ConsumerOptions,
        handlers: Mapping[str, AsyncHandler],
        managed: Managed,
        connect: Callable[[float], Line],
        children: Children | None = None,
    ) -> None:
        self.children = children
        """Where jobs run; None for the loop and its threads."""
        self.backend = backend
        self.options = options
        self.handlers = handlers
        self.managed = managed
        self.connect = connect
        """Opens a connection that blocks, given its reply timeout in seconds: for who cannot use the loop."""
        self.call_soon: Callable[..., None] = backend.bind_call_soon()
        self.lifecycle: Lifecycle = Lifecycle(
            shutdown_timeout=options.shutdown_timeout, heartbeat_interval=options.heartbeat_interval, now=monotonic()
        )
        self.outage: Outage = Outage(self._server_is_back)
        self.ledger: Ledger = Ledger()
        self.outgoing: Outgoing = Outgoing(self.ledger.outbox)
        self.fetches: FetchPolicy[Turn] = FetchPolicy(
            self.lifecycle, 2 if options.workers >= MANY_WORKERS else 1, options.fetch_watch
        )
        self.jobs: RunningJobs[JobTask] = RunningJobs(monotonic(), boottime())
        """The jobs that run, or whose hooks do."""
        self.lock: threading.RLock = threading.RLock()
        """Guards the lifecycle and the jobs, which the heartbeat's thread looks at."""
        self.heartbeat_wake: threading.Event = threading.Event()
        self.door: Door = Door(self.lifecycle, self.lock, self._tell_everybody, children)
        self.changed: Event = backend.event()
        """Set, and replaced, when the consumer's state changes."""
        self.mail: Bell = Bell(backend)
        """Wakes the task that waits in `run`."""
        self.reports: Bell = Bell(backend)
        """Wakes the task that reports what no FETCH takes along."""
        self.signals: deque[tuple[int, float]] = deque()
        self.stuck: int = 0
        """Threads that earlier sessions have left with a job."""
        self._shortened = Shortened()
        self._tell_guard: Callable[[], None] = lambda: None
        self._is_watched = False  # the task that waits in `run` wants to know of each end
        self._about_to_send = 0  # fetchers that give a job its first step, and will take its outcome along
        self._reporter_has_given_up = False

    def begin_session(self, turns: Iterable[Turn], *, stuck: int, is_watched: bool) -> None:
        """Begin a session with what the last one could not report; `is_watched` rings `mail` for each end of a job."""
        self.outgoing.carry_over()
        self.fetches.begin(turns, monotonic())
        self.stuck = stuck
        self._about_to_send = 0
        self._is_watched = is_watched or self.lifecycle.state is not State.RUNNING
        self._reporter_has_given_up = False

    def end_session(self, *, stuck: int) -> None:
        """Note how many threads the session has left with a job."""
        self.stuck = stuck

    def guarded_by(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when the consumer's state changes, by any thread."""
        self._tell_guard = tell

    # -- fetching -------------------------------------------------------------------------------------------------

    def next_step(self, turn: Turn, session: Session) -> Step:
        """Return what a fetcher does next: FETCH, park (until `turn` wakes it), or end."""
        if turn.is_over:
            step = Step.END
        else:
            step = self.fetches.next_step(turn, session, monotonic(), has_room=self.free > 0)
            if step is Step.PARK:
                turn.rest(self.backend.event())
        if step is not Step.FETCH:
            self.leave_to_reporter()
        return step

    def leave_to_reporter(self) -> None:
        """Have the reporter send what no fetcher takes along."""
        if self.outgoing.has_fresh:
            self.reports.ring()

    @property
    def free(self) -> int:
        """Slots neither taken by a job nor promised to a FETCH."""
        return self.options.workers - len(self.jobs) - self.fetches.fetching - self.stuck

    def begin(self, turn: Turn, job: Job, timeout: float | None) -> tuple[JobTask, bool]:
        """Start a fetched job, and wake the next parked fetcher. Tells whether there is time to run it."""
        now, timer = monotonic(), JobTimer()
        timer.begin(job, timeout, now, boottime(), turn.asked_at)
        if timer.is_shortened:
            self._shortened.tell(job, timeout)
        run = Run(job, timer.ends_at, self.managed, self.lifecycle)
        task = JobTask(self.backend, self.call_soon, timer, run)
        with self.lock:
            self.jobs.add(task)
            is_early = timer.alarm_at < self.jobs.wakes_at
            in_time = timer.left > 0 and not self.lifecycle.is_over(now)
        # The FETCH that has brought this job still holds a place here.
        woken = self.fetches.got_job(turn, now, has_room=self.free + 1 > 0)
        if woken is not None:
            woken.be_woken()
        if is_early:
            self.heartbeat_wake.set()
        return task, in_time

    def fetched_nothing(self, turn: Turn, session: Session, *, is_empty: bool = True) -> None:
        """Note the end of a FETCH without a job; `is_empty` tells that there was none."""
        self.fetches.got_nothing(turn, monotonic())
        if is_empty and session.until_empty and self.is_idle:
            self.stop(session)

    def give_place(self) -> None:
        """Let a parked fetcher that has a connection fetch in the place of one that has none."""
        ready = self.fetches.successor(monotonic(), lambda turn: turn.is_connected())
        if ready is not None:
            ready.be_woken()

    def lost(self, turn: Turn | None, session: Session, error: Exception) -> None:
        """Note that an exchange was cut off."""
        if turn is not None:
            self.fetches.lost(turn)
        if not session.is_persistent:
            self.stop(session, error)

    def fetcher_has_ended(self, turn: Turn) -> None:
        """Note that a fetcher's task is about to end."""
        self.fetches.has_ended(turn)
        self.mail.ring()

    @property
    def is_idle(self) -> bool:
        """True when no job runs, is about to come, or has an outcome to report that the server does not refuse."""
        return not self._has_work and not self.fetches.fetching and self.outgoing.is_idle

    # -- outcomes -------------------------------------------------------------------------------------------------

    def expect_outcome(self, change: int) -> None:
        """Note that a fetcher is about to take outcomes along (1), or no more (-1)."""
        self._about_to_send += change

    def succeeded(self, task: JobTask, command: Ack, skipped: Skipped | None) -> bool:
        """Put the outcome of a job that is done into the outbox. Returns False for one that was cut off meanwhile."""
        with self.lock:
            outcome = self.ledger.succeeded(task.timer, command, is_skipped=skipped is not None)
        task.owe(outcome)
        return outcome is not None

    def failed(self, task: JobTask, command: Fail) -> bool:
        """Put a job's failure into the outbox. Returns False when it is not to be sent: known, or late."""
        with self.lock:
            outcome = self.ledger.failed(task.timer, command, boottime())
        task.owe(outcome)
        if outcome is None and not task.timer.is_cut_off:
            log_too_late(command.jid)
        return outcome is not None

    def release(self, task: JobTask) -> None:
        """Have a job's outcome sent, and its slot used again. Can be called twice."""
        outcome = task.settle()
        if outcome is not None:
            self.outgoing.add(outcome)
        if task not in self.jobs:
            return
        with self.lock:
            self.jobs.remove(task)
        starved = self.fetches.has_place()
        if starved is not None:
            starved.be_woken()
        elif outcome is not None and not self._about_to_send:
            self.reports.ring()
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
        self.ledger.settle(outcome, monotonic())
        if self._is_watched:
            self.mail.ring()

    def refused(self, outcome: Outcome, error: ServerError) -> None:
        """Note that the server has answered an outcome with an error: it is sent again later, unless that is final."""
        verdict = self.outgoing.refuse(outcome, error.text, boottime())
        if verdict is not Verdict.AGAIN:
            log_refused(outcome, error, is_final=verdict is Verdict.FINAL)
        self.reports.ring()
        self.mail.ring()

    def unsettled(self, outcomes: list[Outcome]) -> None:
        """Have outcomes sent again, without a FETCH behind them."""
        self.outgoing.add_again(outcomes)
        if outcomes:
            self.reports.ring()

    # -- what changes the consumer's state -------------------------------------------------------------------------

    def _tell_everybody(self) -> None:
        """Have all look at a change that any thread has made."""
        self.heartbeat_wake.set()
        self._tell_guard()
        self.call_soon(self.look_again)

    def stop(self, session: Session, error: Exception | None = None) -> None:
        """End a session, but not the consumer, after what its tasks have in hand. Only in the scheduler's thread."""
        session.stop(error)
        self.look_again()

    def announce(self) -> None:
        """Wake those who wait for a change."""
        self.changed.set()
        self.changed = self.backend.event()

    def _server_is_back(self) -> None:
        self.heartbeat_wake.set()
        self.call_soon(self.announce)

    async def pause(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait so long, or until a change of the consumer's state, or of the server's, makes `is_over` true."""
        limit = monotonic() + seconds
        while not is_over() and (left := limit - monotonic()) > 0:
            await self.backend.wait(self.changed, left)

    def look_again(self) -> None:
        """Wake everybody to what has changed. Only in the scheduler's thread."""
        self._is_watched = True
        self.announce()
        for turn in self.fetches.wake_all():
            turn.be_woken()
        self.reports.ring()
        self.mail.ring()

    def is_consuming(self) -> bool:
        """Tell whether jobs are taken, or no slot is free for one. Any thread may call it."""
        if self.children is not None and not self.children.can_run_jobs:
            return False
        return self.fetches.is_consuming(monotonic())

    # -- the end ----------------------------------------------------------------------------------------------------

    @property
    def _has_work(self) -> bool:
        """True while a job is waited for; one that was failed for us, and left behind, is not."""
        return any(not task.timer.is_cut_off for task in self.jobs.holders)

    @property
    def is_reported(self) -> bool:
        """True when nothing is left to report, or the reporter leaves the rest to the next session."""
        return len(self.ledger.outbox) == 0 or self._reporter_has_given_up

    def reporter_gives_up(self) -> None:
        """Note that a session that does not reconnect has lost the server twice."""
        self._reporter_has_given_up = True

    def is_settled(self, session: Session) -> bool:
        """Tell whether nothing of a session needs waiting for."""
        ending = self.lifecycle.is_ending or session.is_stopping
        has_left = self.fetches.has_all_left if ending else not self.fetches.living
        return has_left and not self._has_work and self.is_reported

    @property
    def has_only_reports(self) -> bool:
        """True when nothing runs or fetches any more, and outcomes that the server refuses are all that is left."""
        return not self._has_work and self.outgoing.has_refused and not self.fetches.living

    @property
    def has_ended(self) -> bool:
        """True when all tasks end by themselves, once the reporter is closed."""
        return self.is_reported and not len(self.jobs) and not self.fetches.living

    @property
    def is_wound_down(self) -> bool:
        """True when the cut-off has left nothing to do: neither FETCHes in flight, nor reports, nor jobs."""
        return self.fetches.has_all_left and len(self.ledger.outbox) == 0 and not len(self.jobs)

    def busy(self) -> int:
        """Return how many slots hold a job. Any thread may call it."""
        with self.lock:
            return self.stuck + self.jobs.busy()
