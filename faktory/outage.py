"""Losing the server and finding it again: when the next attempt may be made, and one log line per change."""

from __future__ import annotations

import logging

from .backoff import Backoff
from .errors import ConnectFailed, HandshakeError, ProtocolError
from .options import REFUSED_DELAY
from .ticking import monotonic

log: logging.Logger = logging.getLogger("faktory.consumer")

_LOG_AGAIN = 60.0
"""Seconds after which a repeated complaint is worth another line."""


class Outage:
    """What a consumer knows of its connections' losses. The caller sees to it that one attempt is made at a time."""

    def __init__(self) -> None:
        self._backoff = Backoff()
        self.not_before: float = 0.0
        """When the next attempt to connect may be made, in monotonic seconds."""
        self.is_down: bool = False
        """True from a loss until a new connection has carried an exchange."""
        self.reconnects: int = 0
        """How often a connection was lost."""
        self._said: dict[str, float] = {}

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
            self.not_before = monotonic() + self._backoff.next_delay(at_least)
        if not self.is_down:
            self.is_down = True
            log.warning("lost the server%s: %s", ", reconnecting" if is_persistent else "", exc)

    def note_success(self) -> None:
        """Note that a new connection has carried its first exchange."""
        self._backoff.reset()
        self.not_before = 0.0
        if self.is_down:
            self.is_down = False
            log.info("connected to the server again")

    def log_rarely(self, key: str, message: str, *args: object) -> None:
        """Log an error once a minute for each key."""
        now = monotonic()
        if now - self._said.get(key, -_LOG_AGAIN) >= _LOG_AGAIN:
            if len(self._said) > 1_000:
                self._said.clear()
            self._said[key] = now
            log.error(message, *args)
