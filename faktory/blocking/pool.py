"""Connections lent to one caller at a time: thread-safe, bounded, first come, first served, fresh after a fork.

A *place* is the right to one connection, and carries it. Who finds none free takes a *turn* in the queue and waits,
without the pool's lock, until a place is handed over: nobody can take it meanwhile, so none waits for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType

from ..core.edition import Edition
from ..core.lending import LendingPolicy
from ..errors import ConfigurationError, ConnectFailed, ConnectionLost
from ..options import POOL_TIMEOUT
from ..runtime.ticking import monotonic
from .connection import Connection

_pools: weakref.WeakSet[Pool] | None = None


class Place:
    """One of a pool's places: a context manager for who has it."""

    __slots__ = ("__weakref__", "_lock", "_pool", "connection", "me", "thread")

    def __init__(self, pool: Pool) -> None:
        self.me: weakref.ref[Place] = weakref.ref(self)
        self._pool = pool
        self._lock = pool._lock
        self.connection: Connection | None = None
        self.thread: int = 0
        """The thread that has it, 0 for none."""

    def __enter__(self) -> Connection:
        connection = self.connection
        if connection is None or not self._pool._may_lend(connection):
            try:
                connection = self._pool._reconnect(self)
            except BaseException:
                self._give_back()
                raise
        return connection

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is not None and issubclass(kind, ConnectionLost):
            self._pool._policy.note_loss(monotonic())
        self._give_back()

    def _give_back(self) -> None:
        pool = self._pool
        if self._lock is pool._lock:  # a fork inside the block has made it the parent's business
            pool._release(self)


class _Turn:
    """Somebody who waits for a place."""

    __slots__ = ("comes", "place", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.place: Place | None = None
        self.comes = threading.Lock()
        self.comes.acquire()


class Pool:
    """At most `size` connections, made by `connect` as they are needed.

    A connection is handed out again, latest first, only after a whole exchange; one that is stale, or was interrupted,
    is dropped. Thread-safe. In the child of a fork the pool is empty and works as before.
    """

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._policy = LendingPolicy(size)
        self._connect = connect
        self._closed = False
        self.edition: Edition = Edition()
        self._reset()
        _remember(self)

    def _reset(self) -> None:
        self._idle: list[Place] = []
        self._queue: deque[_Turn] = deque()
        # Weak, so that an exception raised from outside between two lines (a time limit, Ctrl-C) cannot lose a place;
        # its connection is kept to be closed, not left to the collector, where what a signal handler raises is lost.
        self._places: dict[weakref.ref[Place], Connection | None] = {}
        # Taken by its own name, for the same reason: a Condition's `__enter__` could be left with the lock held.
        # Reentrant, because a signal handler may push in the midst of a push.
        self._lock = threading.RLock()

    def lend(self) -> Place:
        """Lend a connection for a `with` block. It goes back open and idle, or is dropped.

        Raises `ConnectFailed` when none is free for 30 s; entering raises whatever opening one raises.
        """
        thread = threading.get_ident()
        with self._lock:
            if self._idle:
                place = self._idle.pop()
                place.thread = thread
                return place
            self._check_open()
            self._bury()
            if len(self._places) >= self._policy.size:
                self._look_after_own(thread, sys._getframe(1))
            if len(self._places) < self._policy.size:
                place = Place(self)
                place.thread = thread
                self._places[place.me] = None
                return place
            turn = _Turn()
            self._queue.append(turn)
        return self._wait(turn)

    def _bury(self) -> None:
        """Forget the places that have vanished with whoever had them."""
        for each in [each for each in self._places if each() is None]:
            self._end(each)

    def _end(self, each: weakref.ref[Place]) -> None:
        connection = self._places.pop(each)
        if connection is not None:
            connection.abort()

    def _look_after_own(self, thread: int, caller: FrameType) -> None:
        """See to the places that the thread has which asks for one more. A function has one at a time."""
        own = [each for each in self._places if (place := each()) is not None and place.thread == thread]
        below = caller.f_back
        while below is not None and below.f_code is not caller.f_code:
            below = below.f_back
        if below is None:
            for each in own:  # an exception struck on the way to `_release`, and whoever caught it keeps it
                self._end(each)
        elif len(own) == self._policy.size:
            raise ConnectFailed(
                f"all {len(own)} connections of the pool are in use by this very thread, which cannot wait for itself: "
                "a signal handler or a finalizer pushes during a push; raise pool_size"
            )

    def _wait(self, turn: _Turn) -> Place:
        try:
            turn.comes.acquire(timeout=POOL_TIMEOUT)
            with self._lock:
                if turn.place is not None:
                    return turn.place
                self._check_open()
                self._queue.remove(turn)
        except BaseException:
            self._leave(turn)
            raise
        raise ConnectFailed(
            f"no connection of the pool was free within {POOL_TIMEOUT:g} s; all {self._policy.size} are in use, raise "
            "pool_size"
        )

    def _leave(self, turn: _Turn) -> None:
        """Give a turn up, and pass on what it has been handed."""
        with self._lock:
            if turn in self._queue:
                self._queue.remove(turn)
        if turn.place is not None:
            self._release(turn.place)

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("the client is closed; make a new one")

    def _may_lend(self, connection: Connection) -> bool:
        return self._policy.may_lend(connection.last_used) and connection.is_usable()

    def _reconnect(self, place: Place) -> Connection:
        """Put a new connection in the place of one that cannot be used."""
        if place.connection is not None:
            place.connection.abort()  # no END: it would be one more write to a peer that is gone
        place.connection = self._places[place.me] = connection = self._connect()
        return connection

    def _release(self, place: Place) -> None:
        connection = place.connection
        if connection is not None and not connection.is_open:
            place.connection = connection = None
        with self._lock:
            if not self._closed:
                if self._queue:
                    turn = self._queue.popleft()
                    turn.place, place.thread = place, turn.thread
                    turn.comes.release()
                    return
                place.thread = 0
                if connection is not None:
                    self._idle.append(place)
                    return
            self._places.pop(place.me, None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close all idle connections now, and lent ones when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            while self._queue:
                self._queue.popleft().comes.release()
        for place in idle:
            if place.connection is not None:
                place.connection.close()


def _remember(pool: Pool) -> None:
    global _pools
    if _pools is None:
        _pools = weakref.WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_reset_all)
    _pools.add(pool)


def _reset_all() -> None:
    # The locks may be held by threads that do not exist in this process; the connections drop themselves.
    for pool in list(_pools or ()):
        for place in pool._idle:
            if place.connection is not None:
                place.connection.abort()
        pool._reset()
