"""One thread of a consumer: carries out the steps of its slot over a connection of its own. The hot path."""

from __future__ import annotations

import logging
import os
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

from ..commands import Ack, Fetch
from ..core.backoff import Backoff
from ..core.chain import Skipped, check_result
from ..core.failure import account_of, again, cut_off, raised_by_code
from ..core.fetch_policy import Step
from ..core.fetched import Refused, Trouble, read_fetched
from ..core.limits import Claim
from ..core.outbox import Outcome
from ..core.registry import Handler, handler_of
from ..core.run import Run, running
from ..core.session import Session, log_failed, log_skipped
from ..core.settling import asked_by
from ..errors import (
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    JobCancelled,
    ProtocolError,
    ServerError,
)
from ..isolation import enter
from ..job import Job
from ..options import FETCH_TIMEOUT
from ..protocol.wire import Reply
from ..runtime.forks import end_copy
from ..runtime.ticking import boottime, monotonic
from .connection import Connection
from .reconnector import Reconnector
from .slot import Slot
from .state import ConsumerState

if TYPE_CHECKING:
    from ..isolation.fork_client import ForkServer
    from ..isolation.runner import ChildRunner

log: logging.Logger = logging.getLogger("faktory.worker")


class Worker:
    """A slot, a connection and the thread that uses both."""

    def __init__(self, state: ConsumerState, session: Session, reconnector: Reconnector) -> None:
        self.slot: Slot = Slot(self)
        self._session = session
        self._state = state
        self._reconnector = reconnector
        self._connection: Connection | None = None
        self._is_proven = False  # has the connection carried a whole exchange?
        self._ctrl_c: KeyboardInterrupt | None = None  # came while a job ran in the main thread
        self._refusals: Backoff | None = None  # there while FETCHes are answered with errors
        self._runner = None if state.fork_server is None else _runner_of(state.fork_server)
        self._document = b""  # the job in hand, as it came
        self._claim: Claim | None = None  # its places in queues with limits
        self._run_in_hand: Run | None = None  # of the job that runs, until all is told of it
        self._asked_at = 0.0  # when the last FETCH was about to leave, on the clock of reservations

    def run(self, gate: threading.Event) -> None:
        """Work until the policy says END, once the gate is open. The thread's outermost line."""
        self.slot.live_in(threading.get_ident())
        gate.wait()
        try:
            while self._step():
                pass
        except Exception as exc:
            log.exception("a worker thread ended unexpectedly")
            self._state.stop(self._session, exc)
        finally:
            self.close()
            self._state.has_ended(self.slot)

    def run_one(self, session: Session) -> bool:
        """Report what is left over, then fetch and run one job in the calling thread. Returns False if there was none.

        Raises what broke the exchange; the outcome, if there is one, is kept and reported by the next call. Ctrl-C
        while a job runs fails the job, and is raised when that is reported.
        """
        self.slot.live_in(threading.get_ident())
        self._session, self._ctrl_c = session, None
        done = self._state.ledger.tally().total
        try:
            connection = self._usable_connection(monotonic())
            connection = connection or self._reconnector.reconnect(self.slot, session, FETCH_TIMEOUT)
            self._connection = connection
            if connection is None:
                return False
            if self.slot.outcome is not None:
                self._report(connection)
            if not self._has_child():
                return False
            self._fetch(connection, monotonic(), boottime())
            while self.slot.outcome is not None:
                self._report(connection)
            if self._ctrl_c is not None:
                raise self._ctrl_c
        except BaseException as exc:
            if self._connection is not None and exc is not self._ctrl_c:
                self._connection.abort()
            if isinstance(exc, Exception):
                self._state.lost(self.slot, session, exc)
            raise
        finally:
            if self._claim is not None:
                self._give_places_back(self._claim)
        return self._state.ledger.tally().total > done

    @property
    def can_be_killed(self) -> bool:
        """True when its job runs in a child process."""
        return self._runner is not None

    def cancel_child(self) -> None:
        """Kill the child that runs its job. Any thread may call it."""
        if self._runner is not None:
            self._runner.cancel()

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
        now, reserved_now = monotonic(), boottime()
        step = self._state.next_step(self.slot, self._session, now, reserved_now)
        if step is Step.END:
            return False
        if step is Step.PARK:
            self.slot.wake.wait()
            return True
        if self._runner is not None and step is not Step.REPORT and not self._runner.make_ready():
            if step is Step.FETCH:
                return self._await_child(self._runner)
            self._state.step_aside(self.slot)
            step = Step.REPORT
        was_cut = self.slot.is_cut
        connection = self._usable_connection(now)
        if connection is None:
            return self._reconnect()
        try:
            if step is Step.REPORT_AND_FETCH:
                self._report_and_fetch(connection, now, reserved_now)
            elif step is Step.REPORT:
                self._report(connection)
            else:
                self._fetch(connection, now, reserved_now)
        except (ConnectionLost, ConnectFailed, ProtocolError) as exc:
            connection.abort()
            self._reconnector.note_loss(exc, is_proven=self._is_proven, is_persistent=self._session.is_persistent)
            self._state.lost(self.slot, self._session, exc)
            # An outcome gets one more try on a new connection; then, unless it is for ever, `run` ends and keeps it.
            return self._session.is_persistent or not was_cut
        finally:
            if self._claim is not None:
                self._give_places_back(self._claim)
        return True

    @property
    def is_connected(self) -> bool:
        """True when it has a connection that has not been found broken."""
        return self._connection is not None and self._connection.is_open

    def _usable_connection(self, now: float) -> Connection | None:
        connection = self._connection
        if connection is not None:
            # One that was used a moment ago is not looked at again: that would be a system call for every job.
            if (now - connection.last_used < 1.0 and connection.is_open) or connection.is_usable():
                return connection
            connection.abort()
            self._connection = None
        return None

    def _has_child(self) -> bool:
        """Wait for a child that can take a job, if jobs run in children. Returns False when none is wanted any more."""
        while self._runner is not None and not self._runner.make_ready():
            if not self._state.lifecycle.may_fetch:
                return False
            if not self._await_child(self._runner) and self._session.error is not None:
                raise self._session.error
        return True

    def _await_child(self, runner: ChildRunner) -> bool:
        """Wait for a child that can take a job, then ask for the step anew: much may have changed.

        Returns False to end, when children do not start and the session does not go on for ever.
        """
        state, slot, session = self._state, self.slot, self._session
        state.reconnects(slot)
        state.step_aside(slot)
        try:
            wait = runner.start_in()
            if wait > 0:
                self._reconnector.pause(slot, session, wait)
                return True
            runner.await_start()
        finally:
            state.has_reconnected(slot)
        trouble = None if session.is_persistent else runner.trouble()
        if trouble is not None:
            state.stop(session, trouble)
        return trouble is None

    def _reconnect(self) -> bool:
        """Open a connection, then ask for the step anew: much may have changed. Returns False to end without one."""
        state, slot = self._state, self.slot
        state.reconnects(slot)
        self._is_proven = False
        try:
            self._connection = self._reconnector.reconnect(slot, self._session, FETCH_TIMEOUT)
        except (ConnectionLost, ConnectFailed, ProtocolError, HandshakeError) as exc:
            state.lost(slot, self._session, exc)
            return False
        finally:
            state.has_reconnected(slot)
            state.step_aside(slot)
        if self._connection is None:
            state.cut(slot)
        return True

    # -- exchanges --------------------------------------------------------------------------------------------

    def _report_and_fetch(self, connection: Connection, now: float, reserved_now: float) -> None:
        outcome = self.slot.outcome
        if outcome is None:
            return self._fetch(connection, now, reserved_now)
        fetch = self._session.only_fetch or self._next_fetch()
        if fetch is None:
            self._report(connection)
            return self._rest()
        # One write, one round trip, and one wake-up, when the FETCH is answered: the report has been acted on by then.
        self._asked_at = reserved_now
        self._state.fetches.leaves(self.slot, now)
        connection.send(outcome.command.line + fetch.line, 2)
        if not self._take_answer(connection, outcome):
            return self._take_job(self._receive_job(connection, fetch))
        try:
            fetched = self._receive_job(connection, fetch)
        except BaseException:
            self._state.settled(self.slot, outcome, connection.last_used)
            raise
        return self._take_job(fetched, outcome)

    def _report(self, connection: Connection) -> None:
        outcome = self.slot.outcome
        if outcome is not None:
            connection.send(outcome.command.line)
            if self._take_answer(connection, outcome):
                self._state.settled(self.slot, outcome, connection.last_used)
            self.slot.was_reported()

    def _fetch(self, connection: Connection, now: float, reserved_now: float) -> None:
        fetch = self._session.only_fetch or self._next_fetch()
        if fetch is None:
            return self._rest()
        self._asked_at = reserved_now
        self._state.fetches.leaves(self.slot, now)
        connection.send(fetch.line)
        return self._take_job(self._receive_job(connection, fetch))

    def _next_fetch(self) -> Fetch | None:
        """Return the FETCH to send; None when all queues are at their limits."""
        limits = self._session.limits
        if limits is None:
            return self._session.next_fetch()
        with self._state.lock:
            self._claim = claim = self._session.claim(limits, monotonic())
        return self._session.fetch_of(claim.names) if claim.names else None

    def _rest(self) -> None:
        """Wait until a queue may be fetched from again, then ask for the step anew."""
        limits, state, slot = self._session.limits, self._state, self.slot
        if limits is None:
            return
        seen, wait = limits.releases, self._session.rest(limits)
        state.fetched_nothing(slot, self._session, is_empty=False)
        state.reconnects(slot)  # nobody needs to wake it
        try:
            self._reconnector.pause(slot, self._session, wait, lambda: limits.releases != seen)
        finally:
            state.has_reconnected(slot)

    def _keep_place(self, claim: Claim, queue: str | None) -> bool:
        """Keep the place of the fetched job's queue alone. Returns whether the FETCH named all queues."""
        with self._state.lock:
            claim.keep(queue)
        return claim.is_whole

    def _give_places_back(self, claim: Claim) -> None:
        """Let others fetch from the queues that this worker has had a place in."""
        self._claim = None
        with self._state.lock:
            claim.end()
            self._state.changed.notify_all()

    def _receive_first(self, connection: Connection) -> Reply:
        """Receive the reply that proves that the connection carries a whole exchange."""
        reply = connection.receive()
        self._is_proven = True
        self._reconnector.note_success()
        return reply

    def _take_answer(self, connection: Connection, outcome: Outcome) -> bool:
        """Receive the answer to an outcome. Returns False when the server has refused it, which is noted."""
        reply = connection.receive() if self._is_proven else self._receive_first(connection)
        if reply != "OK":
            try:
                outcome.command.decode(reply)
            except ServerError as exc:
                self._state.refused(self.slot, outcome, exc)
                return False
        return True

    def _receive_job(self, connection: Connection, fetch: Fetch) -> Job | Refused | Trouble | None:
        """Receive the reply to a FETCH, and tell what it means."""
        reply = connection.receive() if self._is_proven else self._receive_first(connection)
        if self._runner is not None and isinstance(reply, bytes):
            self._document = reply
        return read_fetched(fetch, reply, self._state.handlers)

    def _take_job(self, fetched: Job | Refused | Trouble | None, confirmed: Outcome | None = None) -> None:
        """Do what the reply to a FETCH says; `confirmed` is the outcome that left with it, unless it was refused."""
        if confirmed is not None and not isinstance(fetched, Job):
            self._state.settled(self.slot, confirmed, monotonic())
        is_whole = True
        if self._claim is not None:
            is_whole = self._keep_place(self._claim, fetched.queue if isinstance(fetched, Job) else None)
        if isinstance(fetched, Job):
            self._refusals = None
            self._run(fetched, confirmed)
        elif fetched is None:
            self._state.fetched_nothing(self.slot, self._session, is_empty=is_whole)
            self._ask_to_stop()
        elif isinstance(fetched, Refused):
            self._refuse(fetched)
        else:
            self._state.fetched_nothing(self.slot, self._session, is_empty=False)
            self._reconnector.log_rarely(fetched.kind, "%s", fetched.text)
            if fetched.needs_pause:
                self._refusals = self._refusals or Backoff()
                self._pause(self._refusals.next_delay(at_least=0.1))

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _run(self, job: Job, confirmed: Outcome | None) -> None:
        handler, hooks = self._state.handlers[job.jobtype], self._state.hooks
        error = self._call(handler, job, confirmed)
        try:
            if error is not None or hooks.watch is not None:
                running.set(self._run_in_hand)
                try:
                    if error is not None:
                        error = self._settle(handler, job, error)
                    if error is not None:
                        self._finish_failed(job, error)
                    elif hooks.watch is not None:
                        self._tell_watch(job, None)
                finally:
                    running.set(None)
        finally:
            del error  # it leads to this frame, which would keep it, and all that its traceback holds
            self._run_in_hand = None
        if hooks.stop_when:
            self._ask_to_stop()

    def _call(self, handler: Handler, job: Job, confirmed: Outcome | None) -> BaseException | None:
        """Run the handler and note its success, or return what it raised: all of it, as a job must not end its worker.

        In here all interrupts are caught; `Slot.leave` tells why none can be raised later.
        """
        state, slot = self._state, self.slot
        try:
            self._run_in_hand = run = state.begin(slot, job, handler.timeout, self._asked_at, confirmed)
            if run is None:
                raise JobCancelled("the worker is stopping and had no time left to run the job")
            # A context of its own: what a job sets, decimal's precision say, the next does not see.
            context = copy_context()
            context.run(running.set, run)
            skipped: Skipped | None = None
            if self._runner is not None:
                skipped = context.run(self._runner.run, self._document, slot.timer.limit, slot.timer.left)
                slot.leave()
            else:
                try:
                    result = context.run(enter, handler.call, job)
                finally:
                    interruption = slot.leave()
                if os.getpid() != state.pid:
                    end_copy()
                if result is not None:
                    skipped = check_result(handler_of(job.jobtype), result)
                if interruption is not None and not run.is_settled:
                    raise again(interruption)  # which the handler has swallowed
            if not state.succeeded(slot, Ack(job.jid), skipped):
                raise cut_off()
        except KeyboardInterrupt as exc:
            slot.leave()
            if os.getpid() != state.pid:
                end_copy(exc)
            if raised_by_code(exc):
                return exc
            self._ctrl_c = exc
            return JobCancelled("the worker was interrupted by Ctrl-C")
        except BaseException as exc:
            slot.leave()
            if os.getpid() != state.pid:
                end_copy(exc)
            return exc
        if skipped is not None:
            run.note_outcome("discarded")
            log_skipped(job, skipped)
        return None

    def _settle(self, handler: Handler, job: Job, error: BaseException) -> BaseException | None:
        """Do what an exception asks for. Returns it when it is a failure, or what doing so has raised."""
        asked = asked_by(error)
        if asked is None or handler.settle is None or self.slot.timer.is_cut_off:
            return error
        try:
            if not handler.settle(job, asked):
                return error
        except Exception as exc:
            return exc
        return None if self._state.succeeded(self.slot, Ack(job.jid)) else cut_off()

    def _finish_failed(self, job: Job, error: BaseException) -> None:
        state, slot = self._state, self.slot
        report, told = account_of(job, error)
        if state.failed(slot, report.command(job.jid)):
            log_failed(job, report, error)
        if slot.timer.is_cut_off:
            if not state.tells(slot):
                return
            told = error = cut_off()
        if state.hooks.watch is not None:
            self._tell_watch(job, error)
        if told is not None:
            slot.telling(is_telling=True)
            try:
                state.hooks.failed(job, told)
            finally:
                slot.telling(is_telling=False)

    def _tell_watch(self, job: Job, error: BaseException | None) -> None:
        """Tell the observers what has become of the job."""
        watch, run = self._state.hooks.watch, running.get()
        if watch is not None:
            seconds = 0.0 if run is None else monotonic() - self.slot.timer.started_at
            watch.ended(job, seconds, error, settled_as=None if run is None else run.settled_as)

    def _refuse(self, refused: Refused) -> None:
        """Fail a job that is not run."""
        state, slot, job = self._state, self.slot, refused.job
        state.begin(slot, job, None, self._asked_at, is_run=False)
        state.failed(slot, refused.command)
        self._reconnector.log_rarely(refused.kind, "%s", refused.text)
        if state.hooks.watch is not None:
            state.hooks.watch.ended(job, 0.0, refused.error or ProtocolError("a job that cannot be read"))
        if refused.error is not None:
            running.set(Run(job, slot.timer.ends_at, state.managed, state.lifecycle))
            state.hooks.failed(job, refused.error)
            running.set(None)
        if refused.pause:
            self._pause(refused.pause)
        self._ask_to_stop()

    def _pause(self, seconds: float) -> None:
        self._reconnector.pause(self.slot, self._session, seconds)

    def _ask_to_stop(self) -> None:
        if self._state.hooks.wants_stop():
            self._state.door.terminate("predicate")


def _runner_of(fork_server: ForkServer) -> ChildRunner:
    from ..isolation.runner import ChildRunner  # what runs children is slow to import, and not always needed

    return ChildRunner(fork_server)
