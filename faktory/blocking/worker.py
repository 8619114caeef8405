"""One thread of a consumer: carries out the steps of its slot over a connection of its own. The hot path."""

from __future__ import annotations

import logging
import os
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from ..commands import Ack, Fetch
from ..core.backoff import Backoff
from ..core.chain import Skipped, check_result
from ..core.failure import account_of, again, cut_off, raised_by_code
from ..core.fetched import Refused, read_fetched
from ..core.limits import Claim
from ..core.outbox import Outcome
from ..core.registry import Handler, handler_of
from ..core.run import Run, running
from ..core.session import log_failed, log_skipped
from ..core.settling import asked_by
from ..core.slot import Slot, Step
from ..errors import (
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    JobCancelled,
    ProtocolError,
    ServerError,
)
from ..isolation import enter, interrupter
from ..job import Job
from ..options import FETCH_TIMEOUT
from ..protocol.wire import Reply
from ..runtime.forks import end_copy
from ..runtime.ticking import boottime, monotonic
from .connection import Connection

if TYPE_CHECKING:
    from ..core.session import Session
    from ..isolation.fork_client import ForkServer
    from ..isolation.runner import ChildRunner
    from .reconnector import Reconnector
    from .state import ConsumerState

log: logging.Logger = logging.getLogger("faktory.consumer")


class Worker:
    """A slot, a connection and the thread that uses both."""

    def __init__(self, state: ConsumerState, session: Session, reconnector: Reconnector) -> None:
        self.slot: Slot = state.new_slot()
        self.session = session
        self.wake: threading.Event = threading.Event()
        self.thread_id: int = 0
        self.has_ended = False
        self.is_reconnecting: bool = False
        self.current: Run | None = None
        """The run of the job in hand, from its begin until its handler was left: only then may it be interrupted."""
        self.is_telling: bool = False
        """True while hooks are told of a failure whose report waits for them."""
        self.interruption: Exception | None = None
        """What another thread wants to have raised in that handler; set under the state's lock."""
        self._state = state
        self._reconnector = reconnector
        self._connection: Connection | None = None
        self._is_proven = False  # has the connection carried a whole exchange?
        self._ctrl_c: KeyboardInterrupt | None = None  # came while a job ran in the main thread
        self._refusals = Backoff()
        self._runner = None if state.fork_server is None else _runner_of(state.fork_server)
        self._document = b""  # the job in hand, as it came
        self._claim: Claim | None = None  # its places in queues with limits

    @property
    def is_idle(self) -> bool:
        """True when it neither has a job or an outcome nor may be about to get a job."""
        slot = self.slot
        return self.has_ended or not (
            slot.is_fetching or slot.is_woken or slot.job is not None or slot.outcome is not None
        )

    def run(self) -> None:
        """Work until the consumer's state says END. The thread's outermost line."""
        self.thread_id = threading.get_ident()
        self._state.gate.wait()
        try:
            while self._step():
                pass
        except Exception as exc:
            log.exception("a worker thread ended unexpectedly")
            self._state.stop(self.session, exc)
        finally:
            self.close()
            self._state.has_ended(self)

    def run_one(self) -> bool:
        """Report what is left over, then fetch and run one job in the calling thread. Returns False if there was none.

        Raises what broke the exchange; the outcome, if there is one, is kept and reported by the next call. Ctrl-C
        while a job runs fails the job, and is raised when that is reported.
        """
        self.thread_id = threading.get_ident()
        self._ctrl_c = None
        done = self.session.total
        try:
            connection = self._usable_connection() or self._reconnector.reconnect(self, FETCH_TIMEOUT)
            self._connection = connection
            if connection is None:
                return False
            if self.slot.outcome is not None:
                self._report(connection)
            if not self._has_child():
                return False
            self._fetch(connection)
            while self.slot.outcome is not None:
                self._report(connection)
            if self._ctrl_c is not None:
                raise self._ctrl_c
        except BaseException as exc:
            if self._connection is not None and exc is not self._ctrl_c:
                self._connection.abort()
            if isinstance(exc, Exception):
                self._state.lost(self, exc)
            raise
        finally:
            self._give_places_back()
        return self.session.total > done

    @property
    def can_be_killed(self) -> bool:
        """True when its job runs in a child process."""
        return self._runner is not None

    def cancel_child(self) -> None:
        """Kill the child that runs its job. Any thread may call it."""
        if self._runner is not None:
            self._runner.cancel()

    def hand_over(self) -> None:
        """Leave a report that waits for hooks to the heartbeat, at the shutdown's end. The state's lock is held."""
        if self.is_telling:
            self.slot.outcome = None

    def dump_child(self) -> int:
        """Have its child write its stacks to stderr. Returns the child's pid, 0 without one. Any thread may call it."""
        return 0 if self._runner is None else self._runner.dump_stacks()

    def interrupt(self) -> None:
        """Make the exchange under way fail. Any thread may call it."""
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._runner is not None:
            self._runner.close()

    def _step(self) -> bool:
        step = self._state.next_step(self)
        if step is Step.END:
            return False
        if step is Step.PARK:
            self.wake.wait()
            return True
        if self._runner is not None and step is not Step.REPORT and not self._runner.make_ready():
            if step is Step.FETCH:
                return self._await_child(self._runner)
            self._state.step_aside(self)
            step = Step.REPORT
        was_cut = self.slot.is_cut
        connection = self._usable_connection()
        if connection is None:
            return self._reconnect()
        try:
            if step is Step.REPORT_AND_FETCH:
                self._report_and_fetch(connection)
            elif step is Step.REPORT:
                self._report(connection)
            else:
                self._fetch(connection)
        except (ConnectionLost, ConnectFailed, ProtocolError) as exc:
            connection.abort()
            self._reconnector.note_loss(exc, is_proven=self._is_proven, is_persistent=self.session.is_persistent)
            self._state.lost(self, exc)
            # An outcome gets one more try on a new connection; then, unless it is for ever, `run` ends and keeps it.
            return self.session.is_persistent or not was_cut
        finally:
            self._give_places_back()
        return True

    @property
    def is_connected(self) -> bool:
        """True when it has a connection that has not been found broken."""
        return self._connection is not None and self._connection.is_open

    def _usable_connection(self) -> Connection | None:
        connection = self._connection
        if connection is not None:
            # One that was used a moment ago is not looked at again: that would be a system call for every job.
            is_fresh = connection.is_open and monotonic() - connection.last_used < 1.0
            if is_fresh or connection.is_usable():
                return connection
            connection.abort()
            self._connection = None
        return None

    def _has_child(self) -> bool:
        """Wait for a child that can take a job, if jobs run in children. Returns False when none is wanted any more."""
        while self._runner is not None and not self._runner.make_ready():
            if not self._state.lifecycle.may_fetch:
                return False
            if not self._await_child(self._runner) and self.session.error is not None:
                raise self.session.error
        return True

    def _await_child(self, runner: ChildRunner) -> bool:
        """Wait for a child that can take a job, then ask for the step anew: much may have changed.

        Returns False to end, when children do not start and the session does not go on for ever.
        """
        self.is_reconnecting = True
        self._state.step_aside(self)
        try:
            wait = runner.start_in()
            if wait > 0:
                self._reconnector.pause(self, wait)
                return True
            runner.await_start()
        finally:
            self.is_reconnecting = False
        trouble = None if self.session.is_persistent else runner.trouble()
        if trouble is not None:
            self._state.stop(self.session, trouble)
        return trouble is None

    def _reconnect(self) -> bool:
        """Open a connection, then ask for the step anew: much may have changed. Returns False to end without one."""
        self.is_reconnecting = True
        self._is_proven = False
        try:
            self._connection = self._reconnector.reconnect(self, FETCH_TIMEOUT)
        except (ConnectionLost, ConnectFailed, ProtocolError, HandshakeError) as exc:
            self._state.lost(self, exc)
            return False
        finally:
            self.is_reconnecting = False
            self._state.step_aside(self)
        if self._connection is None:
            self.slot.is_cut = True  # there was no way to report it
        return True

    # -- exchanges --------------------------------------------------------------------------------------------

    def _report_and_fetch(self, connection: Connection) -> None:
        outcome = self.slot.outcome
        if outcome is None:
            return self._fetch(connection)
        fetch = self._next_fetch()
        if fetch is None:
            self._report(connection)
            return self._rest()
        # One write, one round trip, and one wake-up, when the FETCH is answered: the report has been acted on by then.
        self.slot.fetch_leaves(monotonic(), boottime())
        connection.send(outcome.command.line + fetch.line, 2)
        self._take_answer(connection, outcome)
        return self._take_job(connection, fetch)

    def _report(self, connection: Connection) -> None:
        outcome = self.slot.outcome
        if outcome is not None:
            connection.send(outcome.command.line)
            self._take_answer(connection, outcome)
            self.slot.is_cut = False

    def _fetch(self, connection: Connection) -> None:
        fetch = self._next_fetch()
        if fetch is None:
            return self._rest()
        self.slot.fetch_leaves(monotonic(), boottime())
        connection.send(fetch.line)
        return self._take_job(connection, fetch)

    def _next_fetch(self) -> Fetch | None:
        """Return the FETCH to send; None when all queues are at their limits."""
        limits = self.session.limits
        if limits is None:
            return self.session.next_fetch()
        with self._state.lock:
            self._claim = claim = self.session.claim(limits, monotonic())
        return self.session.fetch_of(claim.names) if claim.names else None

    def _rest(self) -> None:
        """Wait until a queue may be fetched from again, then ask for the step anew."""
        limits = self.session.limits
        if limits is None:
            return
        seen, wait = limits.releases, self.session.rest(limits)
        self._state.fetched_nothing(self, is_empty=False)
        self.is_reconnecting = True  # nobody needs to wake it
        try:
            self._reconnector.pause(self, wait, lambda: limits.releases != seen)
        finally:
            self.is_reconnecting = False

    def _keep_place(self, queue: str | None) -> None:
        """Keep the place of the fetched job's queue alone."""
        if self._claim is not None:
            with self._state.lock:
                self._claim.keep(queue)

    def _give_places_back(self) -> None:
        """Let others fetch from the queues that this worker has had a place in."""
        claim, self._claim = self._claim, None
        if claim is not None:
            with self._state.lock:
                claim.end()
                self._state.changed.notify_all()

    def _receive(self, connection: Connection) -> Reply:
        reply = connection.receive()
        if not self._is_proven:
            self._is_proven = True
            self._reconnector.note_success()
        return reply

    def _take_answer(self, connection: Connection, outcome: Outcome) -> None:
        reply = self._receive(connection)
        try:
            outcome.command.decode(reply)
        except ServerError as exc:
            self._state.refused(self, outcome, exc)
        else:
            self._state.settled(self, outcome)

    def _take_job(self, connection: Connection, fetch: Fetch) -> None:
        reply = self._receive(connection)
        if self._runner is not None and isinstance(reply, bytes):
            self._document = reply
        fetched = read_fetched(fetch, reply, self._state.handlers)
        is_whole = self._claim is None or self._claim.is_whole
        self._keep_place(fetched.queue if isinstance(fetched, Job) else None)
        if isinstance(fetched, Job):
            self._refusals.reset()
            self._run(fetched)
        elif fetched is None:
            self._state.fetched_nothing(self, is_empty=is_whole)
            self._ask_to_stop()
        elif isinstance(fetched, Refused):
            self._refuse(fetched)
        else:
            self._state.fetched_nothing(self, is_empty=False)
            self._reconnector.log_rarely(fetched.kind, "%s", fetched.text)
            if fetched.needs_pause:
                self._reconnector.pause(self, self._refusals.next_delay(at_least=0.1))

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        handler = self._state.handlers[job.jobtype]
        error = self._call(handler, job)
        try:
            if error is not None:
                error = self._settle(handler, job, error)
            if error is not None:
                self._finish_failed(job, error)
            elif self._state.hooks.watch is not None:
                self._tell_watch(job, None)
        finally:
            del error  # it leads to this frame, which would keep it, and all that its traceback holds
            running.set(None)
        self._ask_to_stop()

    def _call(self, handler: Handler, job: Job) -> BaseException | None:
        """Run the handler and note its success, or return what it raised: all of it, as a job must not end its worker.

        An interrupt is set only while `current` is this run and `enter` is on the stack, and `interruption` is there
        before. So when `_leave` has looked, none is left that could be raised later; in here, all are caught.
        """
        state = self._state
        run = Run(job, 0.0, state.managed, state.lifecycle)
        try:
            if not state.begin(self, job, handler.timeout, run):
                raise JobCancelled("the worker is stopping and had no time left to run the job")
            running.set(run)
            skipped: Skipped | None = None
            if self._runner is not None:
                skipped = self._runner.run(self._document, self.slot.limit, self.slot.left)
                self.current = None
            else:
                try:
                    # In a context of its own: what a job sets, decimal's precision say, the next does not see.
                    result = enter(partial(copy_context().run, handler.call), job)  # type: ignore[call-arg]
                finally:
                    self._leave()
                if os.getpid() != state.pid:
                    end_copy()
                if result is not None:
                    skipped = check_result(handler_of(job.jobtype), result)
                if self.interruption is not None and not run.is_settled:
                    raise again(self.interruption)  # which the handler has swallowed
            if not state.succeeded(self, Ack(job.jid), skipped):
                raise cut_off()
        except KeyboardInterrupt as exc:
            self._leave()
            if os.getpid() != state.pid:
                end_copy(exc)
            if raised_by_code(exc):
                return exc
            self._ctrl_c = exc
            return JobCancelled("the worker was interrupted by Ctrl-C")
        except BaseException as exc:
            self._leave()
            if os.getpid() != state.pid:
                end_copy(exc)
            return exc
        if skipped is not None:
            run.settled_as = "discarded"
            log_skipped(job, skipped)
        return None

    def _leave(self) -> None:
        """End the time in which the job may be interrupted, and take back what was not raised."""
        self.current = None
        if self.interruption is not None:
            interrupter.take_back(self.thread_id)

    def _settle(self, handler: Handler, job: Job, error: BaseException) -> BaseException | None:
        """Do what an exception asks for. Returns it when it is a failure, or what doing so has raised."""
        asked = asked_by(error)
        if asked is None or handler.settle is None or self.slot.is_cancelled:
            return error
        try:
            if not handler.settle(job, asked):
                return error
        except Exception as exc:
            return exc
        return None if self._state.succeeded(self, Ack(job.jid)) else cut_off()

    def _finish_failed(self, job: Job, error: BaseException) -> None:
        state = self._state
        report, told = account_of(job, error)
        if state.failed(self, report.command(job.jid)):
            log_failed(job, report, error)
        is_mine = True
        if self.slot.is_cancelled:
            is_mine = state.tells(self)
            told = error = cut_off()
        if state.hooks.watch is not None and is_mine:
            self._tell_watch(job, error)
        if not is_mine:
            return
        if told is not None:
            self.is_telling = True
            try:
                state.hooks.failed(job, told)
            finally:
                self.is_telling = False

    def _tell_watch(self, job: Job, error: BaseException | None) -> None:
        """Tell the observers what has become of the job."""
        watch, run = self._state.hooks.watch, running.get()
        if watch is not None:
            seconds = 0.0 if run is None else monotonic() - self.slot.started_at
            watch.ended(job, seconds, error, settled_as=None if run is None else run.settled_as)

    def _refuse(self, refused: Refused) -> None:
        """Fail a job that is not run."""
        self._state.begin(self, refused.job, None)
        self._state.failed(self, refused.command)
        self._reconnector.log_rarely(refused.kind, "%s", refused.text)
        if self._state.hooks.watch is not None:
            self._state.hooks.watch.ended(refused.job, 0.0, refused.error or ProtocolError("a job that cannot be read"))
        if refused.error is not None:
            running.set(Run(refused.job, self.slot.ends_at, self._state.managed, self._state.lifecycle))
            self._state.hooks.failed(refused.job, refused.error)
            running.set(None)
        if refused.pause:
            self._reconnector.pause(self, refused.pause)
        self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if self._state.hooks.stop_when and self._state.hooks.wants_stop():
            self._state.terminate("predicate")


def _runner_of(fork_server: ForkServer) -> ChildRunner:
    from ..isolation.runner import ChildRunner  # what runs children is slow to import, and not always needed

    return ChildRunner(fork_server)
