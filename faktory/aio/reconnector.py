"""Async twin of `faktory.blocking.reconnector`: reconnecting, one attempt at a time for all the tasks of a consumer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..core.outage import Outage
from ..errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError
from ..runtime.ticking import monotonic
from .backend import Backend
from .connection import Connection
from .places import Places


class Reconnector:
    """Opens connections for a consumer's tasks."""

    def __init__(self, backend: Backend, outage: Outage, connect: Callable[[], Awaitable[Connection]]) -> None:
        self.outage: Outage = outage
        self._connect = connect
        self._turn = Places(backend, 1)

    async def reconnect(
        self,
        is_pointless: Callable[[], bool],
        pause: Callable[[float, Callable[[], bool]], Awaitable[None]],
        *,
        is_persistent: bool,
    ) -> Connection | None:
        """Open a connection; when persistent, try until it `is_pointless`, and return None then.

        Raises what `Connection.open` raises when not persistent.
        """
        await self._turn.take()
        try:
            while not is_pointless():
                wait = self.outage.not_before - monotonic()
                if wait > 0 and is_persistent:
                    await pause(wait, lambda: is_pointless() or self.outage.not_before <= monotonic())
                    continue
                try:
                    return await self._connect()
                except (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError) as exc:
                    if not is_persistent:
                        raise
                    self.outage.note_loss(exc, is_proven=False)
            return None
        finally:
            self._turn.give_back()
