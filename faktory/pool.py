"""Connections lent to one caller at a time: thread-safe, bounded, fresh after a fork."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic

from .connection import Connection
from .errors import ConfigurationError, ConnectFailed, ConnectionLost
from .lending import LendingPolicy
from .options import POOL_TIMEOUT

_pools: weakref.WeakSet[Pool] | None = None


class Loan:
    """One caller's claim to a connection: a context manager, counted as long as the caller holds it."""

    __slots__ = ("__weakref__", "_connection", "_lock", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = pool._lock
        self._connection: Connection | None = None

    def __enter__(self) -> Connection:
        self._connection = connection = self._pool._take(self)
        return connection

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        connection, self._connection = self._connection, None
        if kind is not None and issubclass(kind, ConnectionLost):
            self._pool._policy.note_loss(monotonic())
        if self._lock is self._pool._lock:  # a fork inside the block has made them the parent's business
            self._pool._release(self, connection if connection is not None and connection.is_open else None)


class Pool:
    """At most `size` connections, made by `connect` as they are needed.

    A connection is handed out again, latest first, only after a whole exchange; one that is stale, or was interrupted,
    is dropped. Thread-safe. In the child of a fork the pool is empty and works as before.
    """

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._policy = LendingPolicy(size)
        self._connect = connect
        self._closed = False
        self._reset()
        _remember(self)

    def _reset(self) -> None:
        self._idle: list[Connection] = []
        # Weak, so that an exception raised from outside between two lines (a time limit, Ctrl-C) cannot lose a place.
        self._loans: weakref.WeakSet[Loan] = weakref.WeakSet()
        # Taken by its own name, for the same reason: a Condition's `__enter__` could be left with the lock held.
        # Reentrant, because a signal handler may push in the midst of a push.
        self._lock = threading.RLock()
        self._returned = threading.Condition(self._lock)

    def lend(self) -> Loan:
        """Lend a connection for a `with` block. It goes back open and idle, or is dropped.

        Entering raises `ConnectFailed` when none is free for 30 s, and whatever opening one raises.
        """
        return Loan(self)

    def _take(self, loan: Loan) -> Connection:
        with self._lock:
            self._wait_for_room()
            idle = self._idle.pop() if self._idle else None
            self._loans.add(loan)
        try:
            while idle is not None:
                if self._policy.may_lend(idle.last_used) and idle.is_usable():
                    return idle
                idle.abort()  # no END: it would be one more write to a peer that is gone
                with self._lock:
                    idle = self._idle.pop() if self._idle else None
            return self._connect()
        except BaseException:
            self._release(loan, None)
            raise

    def _wait_for_room(self) -> None:
        limit = monotonic() + POOL_TIMEOUT
        while not self._closed and not self._idle and len(self._loans) >= self._policy.size:
            if not self._returned.wait(limit - monotonic()):
                raise ConnectFailed(
                    f"no connection of the pool was free within {POOL_TIMEOUT:g} s; all {self._policy.size} are in "
                    "use, raise pool_size"
                )
        if self._closed:
            raise ConfigurationError("the client is closed; make a new one")

    def _release(self, loan: Loan, connection: Connection | None) -> None:
        with self._lock:
            self._loans.discard(loan)
            if connection is not None and not self._closed:
                self._idle.append(connection)
                connection = None
            self._returned.notify()
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close all idle connections now, and lent ones when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._returned.notify_all()
        for connection in idle:
            connection.close()


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
        for connection in pool._idle:
            connection.abort()
        pool._reset()
