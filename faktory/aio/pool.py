"""Async twin of `faktory.pool`: connections lent to one task at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

from ..errors import ConfigurationError, ConnectFailed, ConnectionLost
from ..lending import LendingPolicy
from ..options import POOL_TIMEOUT
from .connection import Connection
from .kit import Event, Kit


class Pool:
    """Async twin of `Pool`: at most `size` connections, made by `connect` as they are needed.

    A connection goes back only after a whole exchange; one that was interrupted has closed itself.
    """

    def __init__(self, kit: Kit, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._policy = LendingPolicy(size)
        self._kit = kit
        self._connect = connect
        self._idle: list[Connection] = []
        self._lent = 0
        self._waiting: deque[Event] = deque()
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Connection, None]:
        """Async twin of `lend`."""
        await self._wait_for_room()
        self._lent += 1
        connection: Connection | None = None
        try:
            while self._idle and connection is None:
                connection = self._idle.pop()
                if not (self._policy.may_lend(connection.last_used) and connection.is_usable()):
                    connection.abort()  # no END: it would be one more write to a peer that is gone
                    connection = None
            if connection is None:
                connection = await self._connect()
            yield connection
        except ConnectionLost:
            self._policy.note_loss(monotonic())
            raise
        finally:
            self._lent -= 1
            if connection is not None and connection.is_open:
                if self._closed:
                    connection.abort()
                else:
                    self._idle.append(connection)
            self._wake_one()

    async def _wait_for_room(self) -> None:
        limit = monotonic() + POOL_TIMEOUT
        while not self._closed and self._lent >= self._policy.size:
            event = self._kit.event()
            self._waiting.append(event)
            try:
                has_happened = await self._kit.wait(event, limit - monotonic())
            except BaseException:
                if event.is_set():
                    self._wake_one()  # the place is another's
                raise
            finally:
                if not event.is_set():
                    self._waiting.remove(event)
            if not has_happened:
                raise ConnectFailed(
                    f"no connection of the pool was free within {POOL_TIMEOUT:g} s; all {self._policy.size} are in "
                    "use, raise pool_size"
                )
        if self._closed:
            raise ConfigurationError("the client is closed; make a new one")

    def _wake_one(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()

    async def close(self) -> None:
        """Async twin of `close`."""
        self._closed = True
        while self._waiting:
            self._wake_one()
        try:
            while self._idle:
                await self._idle.pop().close()
        finally:
            for connection in self._idle:
                connection.abort()  # cancelled in the midst of it
