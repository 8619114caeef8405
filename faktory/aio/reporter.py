"""Reports the outcomes that no fetcher takes along: pipelined ACKs and FAILs, on a connection of their own."""

from __future__ import annotations

import logging

from ..core.outbox import Outcome
from ..core.session import Session
from ..errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError, ServerError
from ..runtime.ticking import boottime, monotonic
from .connection import Connection
from .reconnector import Reconnector
from .state import ConsumerState

log: logging.Logger = logging.getLogger("faktory.worker")


class Reporter:
    """Sends what waits, whenever its bell rings. Connects when there is something to say."""

    def __init__(self, state: ConsumerState, session: Session, reconnector: Reconnector) -> None:
        self._state = state
        self._session = session
        self._reconnector = reconnector
        self._connection: Connection | None = None
        self._is_proven = False
        self._losses = 0
        self._is_closing = False
        self._has_given_up = False

    def close(self) -> None:
        """End when nothing is left to report."""
        self._is_closing = True
        self._state.reports.ring()

    async def run(self) -> None:
        """Report until closed. The task's outermost line."""
        state = self._state
        try:
            while not self._has_given_up:
                batch = state.take_any()
                if batch:
                    await self._report(batch)
                elif self._is_closing:
                    break
                else:
                    await state.reports.wait(state.outgoing.next_in(boottime()))
            if self._connection is not None:
                await self._connection.close()
        except Exception as exc:
            log.exception("the reporting task ended unexpectedly")
            self._give_up()
            state.stop(self._session, exc)
        finally:
            if self._connection is not None:
                self._connection.abort()
            state.mail.ring()

    async def _report(self, batch: list[Outcome]) -> None:
        left = list(batch)
        try:
            connection = self._connection = await self._usable()
            if connection is None:
                self._give_up()
                return
            sent_at = monotonic()
            await exchange_reports(self._state, connection, left)
            self._state.fetches.measure(monotonic() - sent_at)
            if not self._is_proven:
                self._is_proven = True
                self._reconnector.outage.note_success()
            self._losses = 0
        except (ConnectionLost, ConnectFailed, HandshakeError, ProtocolError) as exc:
            self._note_loss(exc)
        finally:
            self._state.unsettled(left)

    async def _usable(self) -> Connection | None:
        connection = self._connection
        if connection is not None:
            if connection.is_usable():
                return connection
            connection.abort()
        self._is_proven = False
        # Never pointless: what is left when time is up ends this task by cancelling it.
        return await self._reconnector.reconnect(
            lambda: False, self._state.pause, is_persistent=self._session.is_persistent
        )

    def _note_loss(self, exc: Exception) -> None:
        if self._connection is not None:
            self._connection.abort()
        is_persistent = self._session.is_persistent
        self._reconnector.outage.note_loss(exc, is_proven=self._is_proven, is_persistent=is_persistent)
        self._state.lost(None, self._session, exc)
        self._losses += 1
        # An outcome gets one more try on a new connection; then, unless it is for ever, `run` ends and keeps it.
        if not is_persistent and self._losses > 1:
            self._give_up()

    def _give_up(self) -> None:
        """Leave what is left to the next session."""
        self._has_given_up = True
        self._state.reporter_gives_up()


async def exchange_reports(
    state: ConsumerState, connection: Connection, outcomes: list[Outcome], behind: bytes = b""
) -> None:
    """Send outcomes in one write, and `behind` after them; take them off the list as they are answered."""
    await connection.send(b"".join([outcome.command.line for outcome in outcomes]) + behind)
    while outcomes:
        reply = await connection.receive()
        outcome = outcomes[0]
        try:
            outcome.command.decode(reply)
        except ServerError as exc:
            del outcomes[0]
            state.refused(outcome, exc)
        else:
            del outcomes[0]
            state.settled(outcome)
