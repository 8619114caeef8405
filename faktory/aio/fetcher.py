"""A task that fetches jobs over a connection of its own, whenever a slot is free, and starts them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..commands import Fetch
from ..core.backoff import Backoff
from ..core.fetch_policy import Step
from ..core.fetched import Refused, read_fetched
from ..core.limits import Claim
from ..core.outbox import Outcome
from ..core.session import Session
from ..errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError
from ..job import Job
from ..protocol.wire import Reply
from ..runtime.ticking import boottime, monotonic
from .connection import Connection
from .job_runner import JobRunner
from .reconnector import Reconnector
from .reporter import exchange_reports
from .state import ConsumerState
from .thread_pool import run_in_thread
from .turn import Turn

if TYPE_CHECKING:
    from ..isolation.runner import ChildRunner
    from ..isolation.shared import Children

log: logging.Logger = logging.getLogger("faktory.worker")


class Fetcher:
    """Fetches; takes outcomes along in the same write, ahead of the FETCH and never behind it."""

    def __init__(
        self,
        state: ConsumerState,
        session: Session,
        reconnector: Reconnector,
        runner: JobRunner,
        *,
        is_single: bool,
    ) -> None:
        self.turn: Turn = Turn(state.backend.event(), self._is_connected)
        self._session = session
        self._state = state
        self._reconnector = reconnector
        self._runner = runner
        self._is_single = is_single
        self._connection: Connection | None = None
        self._child: ChildRunner | None = None  # ready for the job that is asked for
        self._is_proven = False
        self._refusals = Backoff()
        self._claim: Claim | None = None  # places in queues with limits, until a job has them

    def _is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_open

    async def run(self) -> None:
        """Fetch until the policy says END. The task's outermost line."""
        try:
            while await self._step():
                pass
            if self._connection is not None:
                await self._connection.close()
        except Exception as exc:
            log.exception("a fetching task ended unexpectedly")
            self._state.stop(self._session, exc)
        finally:
            if self._connection is not None:
                self._connection.abort()
            self._state.fetcher_has_ended(self.turn)

    async def _step(self) -> bool:
        state = self._state
        self._runner.end_copy()
        step = state.next_step(self.turn, self._session)
        if step is Step.END:
            return False
        if step is Step.PARK:
            await self.turn.wait()
            return True
        connection = self._usable()
        if connection is None:
            state.fetches.withdraw(self.turn)
            return await self._reconnect()
        if state.children is not None:
            self._child = state.children.take()
            if self._child is None:
                return await self._await_child(state.children)
        outcomes = state.take_fresh()
        try:
            await self._fetch(connection, outcomes)
        except (ConnectionLost, ConnectFailed, ProtocolError) as exc:
            connection.abort()
            self._reconnector.outage.note_loss(
                exc, is_proven=self._is_proven, is_persistent=self._session.is_persistent
            )
            state.lost(self.turn, self._session, exc)
        finally:
            if self._claim is not None:
                self._claim.end()
                self._claim = None
                state.announce()
            state.fetches.withdraw(self.turn)
            state.unsettled(outcomes)
            if self._child is not None and state.children is not None:
                state.children.give_back(self._child)
                self._child = None
        return True

    async def _await_child(self, children: Children) -> bool:
        """Wait for a child that can take a job, then ask for the step anew: much may have changed.

        Returns False to end, when children do not start and the session does not go on for ever.
        """
        state, session, turn = self._state, self._session, self.turn
        state.fetches.reconnects(turn)
        state.fetches.yield_place(turn)
        state.leave_to_reporter()
        state.mail.ring()
        try:
            wait = children.start_in()
            if wait > 0:
                await self._pause_aside(wait, self._is_pointless)
                return True
            await run_in_thread(state.backend, children.start)
        finally:
            state.fetches.has_reconnected(turn)
            state.fetches.withdraw(turn)
        trouble = None if session.is_persistent else children.trouble()
        if trouble is not None:
            state.stop(session, trouble)
        return trouble is None

    def _usable(self) -> Connection | None:
        connection = self._connection
        if connection is not None:
            # One that was used a moment ago is not looked at again: that would be a system call for every job.
            if (connection.is_open and monotonic() - connection.last_used < 1.0) or connection.is_usable():
                return connection
            connection.abort()
            self._connection = None
        return None

    async def _reconnect(self) -> bool:
        """Open a connection, then ask for the step anew: much may have changed. Returns False to end without one."""
        state, session = self._state, self._session
        state.fetches.reconnects(self.turn)
        self._is_proven = False
        state.leave_to_reporter()
        state.mail.ring()
        try:
            self._connection = await self._reconnector.reconnect(
                self._is_pointless, self._pause_aside, is_persistent=session.is_persistent
            )
        except (ConnectionLost, ConnectFailed, ProtocolError, HandshakeError) as exc:
            state.lost(self.turn, session, exc)
            return False
        finally:
            state.fetches.has_reconnected(self.turn)
        return True

    def _is_pointless(self) -> bool:
        return self._state.lifecycle.is_ending or self._session.is_stopping

    async def _pause_aside(self, seconds: float, is_pointless: Callable[[], bool]) -> None:
        self._state.give_place()
        await self._state.pause(seconds, is_pointless)

    # -- exchanges --------------------------------------------------------------------------------------------

    def _next_fetch(self) -> Fetch | None:
        """Return the FETCH to send; None when all queues are at their limits."""
        limits = self._session.limits
        if limits is None:
            return self._session.next_fetch()
        self._claim = claim = self._session.claim(limits, monotonic())
        return self._session.fetch_of(claim.names) if claim.names else None

    async def _rest(self) -> None:
        """Wait until a queue may be fetched from again."""
        limits, state, turn = self._session.limits, self._state, self.turn
        if limits is not None:
            seen = limits.releases
            state.fetched_nothing(turn, self._session, is_empty=False)
            state.leave_to_reporter()
            state.fetches.reconnects(turn)  # nobody needs to wake it
            try:
                is_over = lambda: self._is_pointless() or limits.releases != seen  # noqa: E731
                await state.pause(self._session.rest(limits), is_over)
            finally:
                state.fetches.has_reconnected(turn)

    async def _fetch(self, connection: Connection, outcomes: list[Outcome]) -> None:
        fetch = self._next_fetch()
        if fetch is None:
            self._state.unsettled(outcomes)
            outcomes.clear()
            return await self._rest()
        self.turn.fetch_leaves(boottime())
        self._state.fetches.leaves(self.turn, monotonic())
        if outcomes:
            await exchange_reports(self._state, connection, outcomes, behind=fetch.line)
        else:
            await connection.send(fetch.line)
        reply = await connection.receive()
        if self._is_single:
            self.turn.end()
        if not self._is_proven:
            self._is_proven = True
            self._reconnector.outage.note_success()
        return await self._take_job(fetch, reply)

    async def _take_job(self, fetch: Fetch, reply: Reply) -> None:
        fetched = read_fetched(fetch, reply, self._state.handlers)
        is_whole = self._claim is None or self._claim.is_whole
        if self._claim is not None:
            self._claim.keep(fetched.queue if isinstance(fetched, Job) else None)
            self._state.announce()
        if isinstance(fetched, Job):
            self._refusals.reset()
            await self._begin(fetched, reply if isinstance(reply, bytes) else b"")
        elif fetched is None:
            self._state.fetched_nothing(self.turn, self._session, is_empty=is_whole)
            await self._runner.ask_to_stop()
        elif isinstance(fetched, Refused):
            await self._refuse(fetched)
        else:
            self._state.fetched_nothing(self.turn, self._session, is_empty=False)
            self._reconnector.outage.log_rarely(fetched.kind, "%s", fetched.text)
            if fetched.needs_pause:
                await self._state.pause(self._refusals.next_delay(at_least=0.1), self._is_pointless)

    async def _begin(self, job: Job, document: bytes) -> None:
        state = self._state
        state.expect_outcome(1)
        try:
            child, self._child = self._child, None
            claim, self._claim = self._claim, None
            self._runner.start(self.turn, job, document, child, claim)
            await state.backend.checkpoint()  # a job that is done at once gets its ACK into the write of the next FETCH
        finally:
            state.expect_outcome(-1)

    async def _refuse(self, refused: Refused) -> None:
        """Fail a job that is not run."""
        task, _ = self._state.begin(self.turn, refused.job, None)
        self._state.failed(task, refused.command)
        self._state.release(task)
        self._reconnector.outage.log_rarely(refused.kind, "%s", refused.text)
        await self._runner.tell_of_refused(task, refused.error)
        if refused.pause:
            await self._state.pause(refused.pause, self._is_pointless)
        await self._runner.ask_to_stop()
