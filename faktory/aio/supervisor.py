"""What the task that waits in `run` does: it starts the others, hears of signals, and sees to a careful end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ..core.ending import Act, Ending, wind_down
from ..core.failure import cut_off
from ..core.hooks import Hooks
from ..core.lifecycle import State
from ..core.session import Session, log_cut_off, log_end
from ..options import FETCHERS, FORCED_EXIT, LEAVE_PATIENCE
from ..runtime.signals import Signals, Wish
from ..runtime.ticking import boottime, monotonic
from .beating import Heartbeat
from .fetcher import Fetcher
from .guard import Guard
from .job_runner import JobRunner, log_goes_on, tell_of_cut_off
from .job_task import JobTask
from .reconnector import Reconnector
from .reporter import Reporter
from .stacks import dump_stacks
from .state import ConsumerState
from .thread_pool import Threads, run_in_thread

log: logging.Logger = logging.getLogger("faktory.consumer")


class Supervisor:
    """Runs one session at a time to its end. `on_quiet()` is awaited whenever jobs are not taken any more."""

    def __init__(
        self,
        state: ConsumerState,
        heartbeat: Heartbeat,
        hooks: Hooks,
        threads: Threads,
        reconnector: Reconnector,
        on_quiet: Callable[[], Awaitable[None]],
    ) -> None:
        self._state = state
        self._heartbeat = heartbeat
        self._hooks = hooks
        self._threads = threads
        self._reconnector = reconnector
        self._on_quiet = on_quiet
        self._signals = Signals()

    @property
    def forced_by(self) -> int:
        """The number of the signal that has allowed no more time; 0 while none has."""
        return self._signals.forced_by

    def note_signal(self, signum: int, at: float) -> None:
        """Have a signal heard soon. For signal handlers: safe whatever was interrupted."""
        self._state.signals.append((signum, at))
        self._state.call_soon(self._state.mail.ring)

    async def run(self, session: Session, guard: Guard | None, *, is_single: bool) -> None:
        """Run a session to its end; `guard` ends the process when the loop cannot."""
        state = self._state
        self._take_signals()  # what came while `on_startup` ran: a worker told to end fetches nothing
        before = state.ledger.tally()
        session.limit(state.options.limits, monotonic())
        count = 1 if is_single else min(FETCHERS, state.options.workers)
        if not is_single:
            server, workers = self._heartbeat.server, state.options.workers
            queues = session.queues
            log.info("working as %s at %s: %d jobs at a time, queues %s", state.options.wid, server, workers, queues)
        self._heartbeat.start()
        if guard is not None:
            guard.start()
        try:
            async with state.backend.group() as group:
                runner = JobRunner(state, session, self._hooks, group)
                fetchers = [
                    Fetcher(state, session, self._reconnector, runner, is_single=is_single) for _ in range(count)
                ]
                turns = [fetcher.turn for fetcher in fetchers]
                state.begin_session(turns, stuck=self._threads.busy, is_watched=is_single)
                reporter = Reporter(state, session, self._reconnector)
                for fetcher in fetchers:
                    group.start(fetcher.run)
                group.start(reporter.run)
                await self._wait(session)
                reporter.close()
                if not state.has_ended:
                    await self._insist()
                    await group.leave(LEAVE_PATIENCE)
        finally:
            if guard is not None:
                guard.close()
            await run_in_thread(state.backend, self._heartbeat.stop)
            state.lifecycle.pulse.rest()
        state.end_session(stuck=self._threads.busy)
        if not is_single:
            log_end(state.ledger.tally().since(before), state.ledger.cut_offs)

    async def _wait(self, session: Session) -> None:
        """Wait for the tasks to end; cut the jobs off when their time is up."""
        state = self._state
        ending = Ending(state.lifecycle, session, state.options.shutdown_timeout, leaves_jobs=False)
        while True:
            state.lifecycle.pulse.tick(monotonic())
            self._take_signals()
            if state.lifecycle.state is not State.RUNNING:
                await self._on_quiet()
            if ending.is_pointless:
                state.stop(session)
            is_settled, has_only_reports = state.is_settled(session), state.has_only_reports
            act, seconds = ending.next(monotonic(), is_settled=is_settled, has_only_reports=has_only_reports)
            if act is Act.WAIT:
                await state.mail.wait(seconds)
                continue
            if act is Act.CUT_OFF:
                log_cut_off(self._cancel_running())
                await self._wait_wound_down(wind_down(self.forced_by))
                await self._tell_of_those_left_behind()
            return

    async def _wait_wound_down(self, seconds: float) -> None:
        state = self._state
        limit = monotonic() + seconds
        state.heartbeat_wake.set()
        while not state.is_wound_down and (left := limit - monotonic()) > 0:
            await state.mail.wait(left)

    async def _insist(self) -> None:
        """Fail the jobs that go on though they were cancelled; they are left behind. See to the last reports."""
        state = self._state
        for task in state.jobs.holders:
            if task.timer.job is None:
                state.release(task)  # its hooks take too long
            elif not task.timer.is_cut_off:
                log_goes_on(task.job)
                self._fail_running(task)
        await self._wait_reported(FORCED_EXIT)
        await self._tell_of_those_left_behind()

    async def _wait_reported(self, seconds: float) -> None:
        """Let what has ended last be reported, too."""
        state = self._state
        limit = monotonic() + seconds
        while not state.is_reported and (left := limit - monotonic()) > 0:
            await state.mail.wait(left)

    def _take_signals(self) -> None:
        state = self._state
        while state.signals:
            match self._signals.meaning(*state.signals.popleft()):
                case Wish.DUMP:
                    dump_stacks(state.jobs.holders)
                case Wish.QUIET:
                    state.door.quiet()
                case Wish.FORCE:
                    state.door.force("signal")
                case Wish.TERMINATE:
                    state.door.terminate("signal")
                case Wish.NOTHING:
                    pass

    async def _tell_of_those_left_behind(self) -> None:
        for job in self._state.jobs.untold():
            await tell_of_cut_off(self._hooks, job)

    def _cancel_running(self) -> list[str]:
        """Give up the running jobs; returns their jids. A job that is cancelled tells its end itself.

        What a thread still brings is discarded, and its job failed now: nothing can make it end.
        """
        state, jids = self._state, list[str]()
        for task in state.jobs.holders:
            if task.timer.job is None:
                state.release(task)  # its hooks take too long
                with state.lock:
                    state.jobs.add(task)  # and go on: nobody else would end them
            elif not task.timer.is_cut_off:
                jids.append(task.job.jid)
                if task.is_in_thread:
                    self._fail_running(task)
                task.interrupt(cut_off())
        self._state.ledger.gave_up(len(jids))
        return jids

    def _fail_running(self, task: JobTask) -> None:
        """Fail a job that goes on; what it still brings is discarded."""
        outcome = self._state.ledger.cut_off(task.timer, boottime())
        if outcome is not None:
            self._state.outgoing.add(outcome)
            self._state.reports.ring()
