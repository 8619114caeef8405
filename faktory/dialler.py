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
        self._not_before = 0.0
        self.is_down = False
        """True from a loss until a new connection has carried an exchange."""
        self.reconnects = 0
        """How often a connection was lost."""
        self._said: dict[str, float] = {}

    def dial(self, worker: Worker, timeout: float) -> Connection | None:
        """Open a connection for a worker; for a persistent shift, try for ever.

        Returns None when the worker is to end without one. Raises what `Connection` raises when not persistent.
        """
        with self._turn:
            while not self._is_pointless(worker):
                wait = self._not_before - monotonic()
                if wait > 0 and worker.shift.is_persistent:
                    self._crew.step_aside(worker)
                    self.pause(worker, wait)
                    continue
                try:
                    return self._crew.connect(timeout)
                except (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError) as exc:
                    if not worker.shift.is_persistent:
                        raise
                    self.note_loss(exc, is_proven=False)
        return None

    def note_loss(self, exc: Exception, *, is_proven: bool, is_persistent: bool = True) -> None:
        """Say that a connection is gone, once until one works again.

        One that never carried a whole exchange (not `is_proven`) puts off the next attempt: the server may accept
        connections only to drop them.
        """
        self.reconnects += 1
        if not is_proven:
            if isinstance(exc, (HandshakeError, ProtocolError)):
                at_least = REFUSED_DELAY
            else:
                at_least = exc.retry_after if isinstance(exc, ConnectFailed) else 0.0
            self._not_before = monotonic() + self._backoff.next_delay(at_least)
        if not self.is_down:
            self.is_down = True
            log.warning("lost the server%s: %s", ", reconnecting" if is_persistent else "", exc)

    def note_success(self) -> None:
        """Note that a new connection has carried its first exchange."""
        self._backoff.reset()
        self._not_before = 0.0
        if self.is_down:
            self.is_down = False
            log.info("connected to the server again")

    def pause(self, worker: Worker, seconds: float) -> None:
        """Wait, but not into the consumer's end."""
        with self._crew.lock:
            self._crew.changed.wait_for(lambda: self._is_pointless(worker), timeout=seconds)

    def log_rarely(self, key: str, message: str, *args: object) -> None:
        """Log an error once a minute for each key."""
        now = monotonic()
        if now - self._said.get(key, -_LOG_AGAIN) >= _LOG_AGAIN:
            if len(self._said) > 1_000:
                self._said.clear()
            self._said[key] = now
            log.error(message, *args)

    def _is_pointless(self, worker: Worker) -> bool:
        """True when a worker needs no connection any more: nothing to fetch, and nothing (or no time) to report."""
        lifecycle = self._crew.lifecycle
        if lifecycle.is_over(monotonic()):
            return True
        ends = lifecycle.is_ending or worker.shift.is_stopping
        return ends and worker.slot.outcome is None
