"""Reconnecting, one attempt at a time for all the threads of a consumer, with one log line per change."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING

from .backoff import Backoff
from .connection import Connection
from .errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError
from .options import REFUSED_DELAY

if TYPE_CHECKING:
    from .crew import Crew
    from .worker import Worker

log = logging.getLogger("faktory.consumer")

_LOG_AGAIN = 60.0
"""Seconds after which a repeated complaint is worth another line."""


class Dialler:
    """Opens connections for a consumer's workers. Thread-safe."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._turn = threading.Lock()
        self._backoff = Backoff()
        self._is_down = False
        self._said: dict[str, float] = {}

    def dial(self, worker: Worker, timeout: float) -> Connection | None:
        """Open a connection for a worker; for a persistent shift, try for ever.

        Returns None when the worker is to end without one. Raises what `Connection` raises when not persistent.
        """
        with self._turn:
            while not self._is_pointless(worker):
                try:
                    connection = self._crew.connect(timeout)
                except (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError) as exc:
                    if not worker.shift.is_persistent:
                        raise
                    at_least = exc.retry_after if isinstance(exc, ConnectFailed) else REFUSED_DELAY
                    delay = self._backoff.next_delay(0.0 if isinstance(exc, ConnectionLost) else at_least)
                    self.note_loss(exc)
                    self.pause(worker, delay)
                else:
                    self._backoff.reset()
                    if self._is_down:
                        self._is_down = False
                        log.info("connected to %s again", connection.address)
                    return connection
        return None

    def note_loss(self, exc: Exception) -> None:
        """Say that the connection is gone; once until it is back."""
        if not self._is_down:
            self._is_down = True
            log.warning("lost the server, reconnecting: %s", exc)

    def log_rarely(self, key: str, message: str, *args: object) -> None:
        """Log an error once a minute for each key."""
        now = monotonic()
        if now - self._said.get(key, -_LOG_AGAIN) >= _LOG_AGAIN:
            if len(self._said) > 1_000:
                self._said.clear()
            self._said[key] = now
            log.error(message, *args)

    def pause(self, worker: Worker, seconds: float) -> None:
        """Wait, but not into the consumer's end."""
        with self._crew.changed:
            self._crew.changed.wait_for(lambda: self._is_pointless(worker), timeout=seconds)

    def _is_pointless(self, worker: Worker) -> bool:
        """True when a worker needs no connection any more: nothing to fetch, and nothing (or no time) to report."""
        lifecycle = self._crew.lifecycle
        if lifecycle.is_over(monotonic()):
            return True
        ends = lifecycle.is_ending or worker.shift.is_stopping
        return ends and worker.slot.outcome is None
