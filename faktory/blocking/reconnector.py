"""Reconnecting, one attempt at a time for all the threads of a consumer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError
from ..runtime.ticking import monotonic
from .connection import Connection

if TYPE_CHECKING:
    from .state import ConsumerState
    from .worker import Worker


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

    def reconnect(self, worker: Worker, timeout: float) -> Connection | None:
        """Open a connection for a worker; for a persistent session, try for ever.

        Returns None when the worker is to end without one. Raises what `Connection` raises when not persistent.
        """
        with self._turn:
            while not self._is_pointless(worker):
                wait = self._outage.not_before - monotonic()
                if wait > 0 and worker.session.is_persistent:
                    self._state.step_aside(worker)
                    self._pause(lambda: self._is_pointless(worker) or self._outage.not_before <= monotonic(), wait)
                    continue
                try:
                    return self._state.connect(timeout)
                except (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError) as exc:
                    if not worker.session.is_persistent:
                        raise
                    self.note_loss(exc, is_proven=False)
        return None

    def pause(self, worker: Worker, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait, or until a change makes `is_over` true, but not into the consumer's end."""
        self._pause(lambda: self._is_pointless(worker) or is_over(), seconds)

    def _pause(self, is_over: Callable[[], bool], seconds: float) -> None:
        with self._state.lock:
            self._state.changed.wait_for(is_over, timeout=seconds)

    def _is_pointless(self, worker: Worker) -> bool:
        """True when a worker needs no connection any more: nothing to fetch, and nothing (or no time) to report."""
        lifecycle = self._state.lifecycle
        if lifecycle.is_over(monotonic()):
            return True
        ends = lifecycle.is_ending or worker.session.is_stopping
        return ends and worker.slot.outcome is None
