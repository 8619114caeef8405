"""Async twin of `faktory.blocking.pool`: connections lent to one task at a time, first come, first served.

Each event loop has connections of its own, as many as `size`: nothing of a loop outlives it. A place that is given back
goes to the one who has waited longest, and never past it to the task that gave it back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from ..core.edition import Edition
from ..core.lending import LendingPolicy
from ..errors import ConfigurationError, ConnectFailed, ConnectionLost
from ..options import POOL_TIMEOUT
from ..runtime.ticking import monotonic
from .backend import Backend
from .connection import Connection
from .home import Home
from .places import Places


class Pool:
    """Async twin of `Pool`: at most `size` connections for each event loop, made by `connect` as they are needed.

    A connection goes back only after a whole exchange; one that was interrupted has closed itself.
    """

    def __init__(self, backend: Backend, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        LendingPolicy(size)  # checks it
        self._size = size
        self._backend = backend
        self._connect = connect
        self._shares: dict[object, _Share] = {}  # by event loop; those of a fork's parent stay, and are not touched
        self._closed = False
        self.edition: Edition = Edition()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Connection, None]:
        """Async twin of `lend`."""
        share = await self._share()
        await share.enter()
        connection: Connection | None = None
        try:
            connection = share.take_idle()
            if connection is None:
                connection = await self._connect()
            yield connection
        except ConnectionLost:
            share.note_loss()
            raise
        finally:
            share.leave(connection)

    async def _share(self) -> _Share:
        """Return what belongs to the running loop."""
        if self._closed:
            raise _closed()
        loop = self._backend.here()
        share = self._shares.get(loop)
        if share is None:
            share = self._shares[loop] = _Share(self._backend, LendingPolicy(self._size))
            self._forget_ended()
            await share.await_the_end()
        elif share.home.is_in_another_process:
            raise ConfigurationError("this process was forked while its event loop ran; run a loop of its own in it")
        return share

    def _forget_ended(self) -> None:
        for loop, share in list(self._shares.items()):
            if not share.home.is_in_another_process and share.home.has_ended:
                self._shares.pop(loop, None)
                share.drop_idle()

    def drop(self) -> None:
        """Close without a word, for whoever cannot wait: from any thread, whatever loops there are."""
        self._closed = True
        self._forget_ended()
        for share in list(self._shares.values()):
            if share.home.is_here:
                share.end()
            elif not share.home.is_in_another_process:
                share.home.post(share.end)

    async def close(self) -> None:
        """Async twin of `close`."""
        self._closed = True
        self._forget_ended()
        for share in list(self._shares.values()):
            if share.home.is_here:
                await share.close()
            elif not share.home.is_in_another_process:
                share.home.post(share.end)


class _Share:
    """The connections of one event loop, and who waits for them there."""

    def __init__(self, backend: Backend, policy: LendingPolicy) -> None:
        self.home = Home(backend)
        self._policy = policy
        self._places = Places(backend, policy.size)
        self._idle: list[Connection] = []
        self._has_ended = False
        self._end_of_loop = self._wait_for_the_end()

    async def await_the_end(self) -> None:
        """Have the connections dropped when the loop ends: it is about to, once it closes its asynchronous generators.

        Nobody could do it afterwards without a warning.
        """
        await anext(self._end_of_loop)

    async def _wait_for_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.drop_idle()

    async def enter(self) -> None:
        """Take a place. Raises `ConnectFailed` when none is free for 30 s."""
        has_place = await self._places.take(POOL_TIMEOUT)
        if self._has_ended:
            raise _closed()
        if not has_place:
            raise ConnectFailed(
                f"no connection of the pool was free within {POOL_TIMEOUT:g} s; all {self._policy.size} are in use, "
                "raise pool_size"
            )

    def take_idle(self) -> Connection | None:
        """Return a connection that looks alive, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if self._policy.may_lend(connection.last_used) and connection.is_usable():
                return connection
            connection.abort()  # no END: it would be one more write to a peer that is gone
        return None

    def leave(self, connection: Connection | None) -> None:
        """Give a place back, and a connection if it is open: to the first one who waits."""
        if connection is not None and connection.is_open:
            if self._has_ended:
                connection.abort()
            else:
                self._idle.append(connection)
        self._places.give_back()

    def note_loss(self) -> None:
        """Note that an exchange was lost."""
        self._policy.note_loss(monotonic())

    def drop_idle(self) -> None:
        """Close the idle connections without a word."""
        while self._idle:
            self._idle.pop().abort()

    def end(self) -> None:
        """Close what is idle now, and the rest when it comes back."""
        self._has_ended = True
        self.drop_idle()
        self._places.close()

    async def close(self) -> None:
        """Do what `end` does, and say goodbye."""
        idle, self._idle = self._idle, []
        self.end()
        try:
            while idle:
                await idle.pop().close()
        finally:
            for connection in idle:
                connection.abort()  # cancelled in the midst of it
        await self._end_of_loop.aclose()


def _closed() -> ConfigurationError:
    return ConfigurationError("the client is closed; make a new one")
