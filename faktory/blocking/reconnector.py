"""Reconnecting, one attempt at a time for all the threads of a consumer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..core.session import Session
from ..errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError
from ..runtime.ticking import monotonic
from .connection import Connection
from .slot import Slot
from .state import ConsumerState


class Reconnector:
    """Opens connections for a consumer's workers. Thread-safe."""

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        self._turn = threading.Lock()
        self._outage = outage = state.outage
        self.note_loss: Callable[..., None] = outage.note_loss
        self.note_success: Callable[[], None] = outage.note_success
        self.log_rarely: Callable[..., None] = outage.log_rarely

    @property
    def is_down(self) -> bool:
        """True from a loss until a new connection has carried an exchange."""
        return self._outage.is_down

    @property
    def reconnects(self) -> int:
        """How often a connection was lost."""
        return self._outage.reconnects

    def reconnect(self, slot: Slot, session: Session, timeout: float) -> Connection | None:
        """Open a connection for a worker; for a persistent session, try for ever. Waits for its turn.

        Returns None when the worker is to end without one. Raises what `Connection` raises when not persistent.
        """
        state, outage = self._state, self._outage
        with self._turn:
            while not self._is_pointless(slot, session):
                wait = outage.not_before - monotonic()
                if wait > 0 and session.is_persistent:
                    state.step_aside(slot)
                    state.pause(wait, lambda: self._is_pointless(slot, session) or outage.not_before <= monotonic())
                    continue
                try:
                    return state.connect(timeout)
                except (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError) as exc:
                    if not session.is_persistent:
                        raise
                    self.note_loss(exc, is_proven=False)
        return None

    def pause(self, slot: Slot, session: Session, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait, or until a change makes `is_over` true, but not into the consumer's end."""
        self._state.pause(seconds, lambda: self._is_pointless(slot, session) or is_over())

    def _is_pointless(self, slot: Slot, session: Session) -> bool:
        """True when a worker needs no connection any more: nothing to fetch, and nothing (or no time) to report."""
        lifecycle = self._state.lifecycle
        if lifecycle.is_over(monotonic()):
            return True
        ends = lifecycle.is_ending or session.is_stopping
        return ends and slot.outcome is None
