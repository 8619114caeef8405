"""Losing the server and finding it again: what is known of it, when the next attempt may be made, and what is said.

One for a consumer: its workers or tasks and its heartbeat tell it what they meet, so that each profits from the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from ..errors import ConnectFailed, HandshakeError, ProtocolError
from ..options import OUTAGE_AGAIN, REFUSED_DELAY, SAY_AGAIN
from ..runtime.ticking import monotonic
from .backoff import Backoff

log: logging.Logger = logging.getLogger("faktory.reconnector")
worker_log: logging.Logger = logging.getLogger("faktory.worker")


class Outage:
    """What a consumer knows of its server. Workers see to it that they make one attempt at a time."""

    def __init__(self, on_reached: Callable[[], None]) -> None:
        self._on_reached = on_reached  # wakes whoever waits to connect, in any thread
        self._backoff = Backoff()
        self.not_before: float = 0.0
        """When a worker's next attempt to connect may be made, in monotonic seconds."""
        self.refused_until: float = 0.0
        """The same for anybody, the heartbeat too, after a refusal that does not heal by itself in a moment."""
        self.reached_at: float = 0.0
        """When a new connection last carried its first exchange."""
        self.is_down: bool = False
        """True from a loss until a worker's new connection has carried an exchange."""
        self.reconnects: int = 0
        """How often a connection was lost."""
        self._report: Callable[[Literal["connected", "lost"]], None] = lambda _: None
        self._said: dict[str, float] = {}
        self._reason = ""
        self._told_at = float("-inf")

    def report_to(self, report: Callable[[Literal["connected", "lost"]], None]) -> None:
        """Have `report` called, from now on, with what happens to the workers' connections."""
        self._report = report

    def note_loss(self, exc: Exception, *, is_proven: bool, is_persistent: bool = True) -> None:
        """Note that a worker's connection is gone, and say so, once until one works again.

        One that never carried a whole exchange (not `is_proven`) puts off the next attempt: the server may accept
        connections only to drop them.
        """
        self.reconnects += 1
        self._report("lost")
        if not is_proven:
            # Of what has not worked once, a broken reply tells as much as a refusal: it may be no Faktory at all.
            at_least = REFUSED_DELAY if isinstance(exc, ProtocolError) else least_delay(exc)
            self.not_before = monotonic() + self._backoff.next_delay(at_least)
            self._note_refusal(exc)
        if self.is_down:
            self._tell(exc)
        else:
            self.is_down = True
            self._reason, self._told_at = _reason(exc), monotonic()
            log.warning("lost the server%s: %s", ", reconnecting" if is_persistent else "", exc)

    def note_unreachable(self, exc: Exception) -> None:
        """Note that the heartbeat cannot reach the server, and say why it is refused."""
        self._note_refusal(exc)
        if is_refusal(exc):
            self._tell(exc)

    def note_success(self) -> None:
        """Note that a worker's new connection has carried its first exchange."""
        self._backoff.reset()
        self._report("connected")
        if self.is_down:
            self.is_down = False
            log.info("connected to the server again")
        self.note_reached()

    def note_reached(self) -> None:
        """Note that somebody's new connection has carried its first exchange: nobody waits any longer to try."""
        is_awaited = self.not_before > 0.0 or self.refused_until > 0.0
        self.not_before = self.refused_until = 0.0
        self.reached_at = monotonic()
        self._reason = ""
        if is_awaited:
            self._on_reached()

    def _note_refusal(self, exc: Exception) -> None:
        if is_refusal(exc):
            self.refused_until = monotonic() + REFUSED_DELAY

    def _tell(self, exc: Exception) -> None:
        """Say why the server cannot be used: when that is new, and again each few minutes."""
        reason, now = _reason(exc), monotonic()
        if reason == self._reason and now - self._told_at < OUTAGE_AGAIN:
            return
        self._reason, self._told_at = reason, now
        if is_refusal(exc):
            log.error("the server cannot be used, trying again: %s", exc)
        else:
            log.warning("the server still cannot be reached, trying again: %s", exc)

    def log_rarely(self, key: str, message: str, *args: object) -> None:
        """Log an error of a worker, once a minute for each key."""
        now = monotonic()
        if now - self._said.get(key, -SAY_AGAIN) >= SAY_AGAIN:
            if len(self._said) > 1_000:
                self._said.clear()
            self._said[key] = now
            worker_log.error(message, *args)


def is_refusal(exc: Exception) -> bool:
    """Tell whether a server was reached and does not want us, or is none for us: a wrong password, another version."""
    return isinstance(exc, HandshakeError)


def least_delay(exc: Exception) -> float:
    """Return the least number of seconds before another attempt; a reply that is broken is no refusal."""
    if is_refusal(exc):
        return REFUSED_DELAY
    return exc.retry_after if isinstance(exc, ConnectFailed) else 0.0


def _reason(exc: Exception) -> str:
    # What an unreachable server is called depends on the moment: that is no news.
    return f"{type(exc).__name__} {exc}" if is_refusal(exc) else "unreachable"
