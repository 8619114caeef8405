"""Runs jobs, each in a task of its own, and the user's callbacks around them, which may be async."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..commands import Ack
from ..core.callables import is_awaitable
from ..core.chain import check_ran
from ..core.failure import account_of, cut_off
from ..core.hooks import Hooks, log_raised, named
from ..core.limits import Claim
from ..core.registry import Handler
from ..core.run import facts_of, running
from ..core.session import Session, log_failed, log_skipped
from ..core.settling import asked_by
from ..errors import ProtocolError
from ..job import Job
from ..runtime.forks import end_copy
from ..runtime.ticking import monotonic
from .backend import Group
from .job_task import AsyncHandler, JobTask
from .state import ConsumerState
from .thread_pool import run_in_thread
from .turn import Turn

if TYPE_CHECKING:
    from ..isolation.runner import ChildRunner

log: logging.Logger = logging.getLogger("faktory.worker")


class JobRunner:
    """Starts the jobs of one session in a group of tasks."""

    def __init__(self, state: ConsumerState, session: Session, hooks: Hooks, group: Group) -> None:
        self._state = state
        self._session = session
        self._hooks = hooks
        self._group = group
        self._pid = os.getpid()

    def end_copy(self, error: BaseException | None = None) -> None:
        """End this process if a job has forked it, and it goes on in here with all that it has copied."""
        if os.getpid() != self._pid:
            end_copy(error)

    def start(self, turn: Turn, job: Job, document: bytes, child: ChildRunner | None, claim: Claim | None) -> None:
        """Start a job that a handler is registered for; `child` is ready to run its `document`, if children do.

        `claim` is its place in a queue with limits.
        """
        handler = self._state.handlers[job.jobtype]
        task, is_in_time = self._state.begin(turn, job, handler.handler.timeout)
        if child is not None:
            task.wait_for(child, document)
        if claim is not None:
            task.hold(claim)
        self._group.start(self._run, task, handler, is_in_time)

    async def ask_to_stop(self) -> None:
        """Ask the `stop_when` predicates; one that raises does not count."""
        for predicate in self._hooks.stop_when:
            try:
                answer = await _result_of("stop_when", predicate)
                if answer:
                    self._state.door.terminate("predicate")
                    return
            except BaseException:
                log_raised("stop_when", predicate)

    async def tell_of_refused(self, task: JobTask, error: BaseException | None) -> None:
        """Tell of a job that is failed without being run; None for one that the hooks cannot be told of."""
        if self._hooks.watch is not None:
            self._hooks.watch.ended(task.job, 0.0, error or ProtocolError("a job that cannot be read"))
        if error is None:
            return
        running.set(task.run)
        await tell_of_failure(self._hooks, task.job, error)
        running.set(None)

    async def _run(self, task: JobTask, handler: AsyncHandler, is_in_time: bool) -> None:
        """Run a job and have it reported. The task's outermost line: nothing is raised."""
        state, job = self._state, task.job
        running.set(task.run)  # for the hooks, too; the task is the job's own
        error = await task.call(handler, is_in_time=is_in_time)
        self.end_copy(error)
        told: BaseException | None = None
        try:
            if error is not None:
                error = await self._settle(task, handler.handler, error)
            told = self._finish(task, error)
            if told is not None:
                await tell_of_failure(self._hooks, job, told)
        except Exception:
            log.exception("the end of job %a could not be told", job.jid, extra=facts_of(job))
        finally:
            child = task.take_child()
            if child is not None and state.children is not None:
                state.children.give_back(child)
            state.release(task)
            if task.let_go():
                state.announce()
            error = told = None  # whose traceback leads here: a cycle would keep all that the job had in hand
        running.set(None)
        if self._hooks.stop_when:
            await self.ask_to_stop()

    async def _settle(self, task: JobTask, handler: Handler, error: BaseException) -> BaseException | None:
        """Do what an exception asks for. Returns it when it is a failure, or what doing so has raised."""
        asked, settle = asked_by(error), handler.settle
        if asked is None or settle is None or task.timer.is_cut_off:
            return error
        try:
            is_settled = await run_in_thread(self._state.backend, lambda: settle(task.job, asked))  # it may push
        except Exception as exc:
            return exc
        return None if is_settled else error

    def _finish(self, task: JobTask, error: BaseException | None) -> BaseException | None:
        """Have a job's outcome reported. Returns what the hooks are to be told, if anything."""
        state, job = self._state, task.job
        if error is None:
            if state.succeeded(task, Ack(job.jid), task.skipped):
                if task.skipped is not None:
                    task.run.note_outcome("discarded")
                    log_skipped(job, task.skipped)
                self._tell_watch(task, None)
                return None
            error = cut_off()
        report, told = account_of(job, error)
        if state.failed(task, report.command(job.jid)):
            log_failed(job, report, error)
        if task.timer.is_cut_off:
            if not task.timer.tell():
                return None
            told = error = cut_off()
        self._tell_watch(task, error)
        return told

    def _tell_watch(self, task: JobTask, error: BaseException | None) -> None:
        """Tell the observers what has become of a job."""
        if self._hooks.watch is not None:
            seconds = monotonic() - task.timer.started_at
            self._hooks.watch.ended(task.job, seconds, error, settled_as=task.run.settled_as)


async def tell_of_failure(hooks: Hooks, job: Job, error: BaseException) -> None:
    """Tell of a failed job, and of its death when no retry is left."""
    await run_hooks("on_failure", hooks.failure, job, error)
    if job.is_last_attempt:
        await run_hooks("on_death", hooks.death, job, error)


def log_goes_on(job: Job) -> None:
    """Say which job nothing can end."""
    log.error("job %a (%a) goes on though it was cancelled", job.jid, job.jobtype, extra=facts_of(job))


async def tell_of_cut_off(hooks: Hooks, job: Job) -> None:
    """Tell of a job that was cut off and goes on."""
    if hooks.watch is not None:
        hooks.watch.ended(job, 0.0, cut_off())
    await tell_of_failure(hooks, job, cut_off())


async def run_startup(callbacks: Sequence[Any]) -> None:
    """Async twin of `hooks.start`."""
    for callback in callbacks:
        await _result_of("on_startup", callback)


async def run_hooks(what: str, callbacks: Sequence[Any], *args: object) -> None:
    """Call each callback, and await what is awaitable, whatever the ones before did."""
    pid = os.getpid()
    for callback in callbacks:
        try:
            await _result_of(what, callback, *args)
            if os.getpid() != pid:
                end_copy()
        except BaseException as exc:  # also SystemExit: a hook must not end the consumer
            if os.getpid() != pid:
                end_copy(exc)
            log_raised(what, callback)


async def _result_of(what: str, callback: Any, *args: object) -> Any:
    result = callback(*args)
    if is_awaitable(result):
        result = await result
    check_ran(named(what, callback), result)
    return result
