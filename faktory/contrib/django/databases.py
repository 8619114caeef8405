"""What keeps Django's database connections healthy in a worker.

A connection belongs to one thread. Around each job, in its handler's thread, what is too old (CONN_MAX_AGE) or broken
is closed, as Django does around a request. Nothing is closed inside of `atomic`: then the job runs in its caller's
transaction, in a test. Child processes begin without connections; at the end all of them are closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections, reset_queries

from ...core.callables import is_awaitable

_idle: dict[Any, threading.Thread] = {}
"""Connections of threads that run no job just now, but have run some."""
_lock = threading.Lock()


def tidied(_subject: Any, call_next: Callable[[], Any]) -> Any:
    """Middleware: close connections that are too old or broken before and after a job. Plain and async jobs alike."""
    outer = _begin()
    try:
        result = call_next()
    except BaseException:
        _end(outer)
        raise
    if is_awaitable(result):  # the job has not begun: it runs where it is awaited
        return _awaited(result)
    _end(outer)
    return result


async def _awaited(result: Any) -> Any:
    """Async code reaches its connections through the thread of `sync_to_async`."""
    outer = await sync_to_async(_begin)()
    try:
        return await result
    finally:
        await sync_to_async(_end)(outer)


def _begin() -> frozenset[Any]:
    """Tidy this thread's connections; return those inside of `atomic`, which are the caller's."""
    if settings.DEBUG:
        reset_queries()
    mine = connections.all(initialized_only=True)
    with _lock:
        for each in mine:
            _idle.pop(each, None)
    _close_old(mine)
    return frozenset(each for each in mine if each.in_atomic_block)


def _end(outer: frozenset[Any]) -> None:
    for each in connections.all(initialized_only=True):
        if each.in_atomic_block and each not in outer:
            _discard(each)
    _close_old(connections.all(initialized_only=True))
    thread = threading.current_thread()
    with _lock:
        is_new = thread not in _idle.values()
        _idle.update((each, thread) for each in connections.all(initialized_only=True) if each.connection is not None)
    if is_new:  # it may have taken the place of one that is gone, and has left its connections behind
        _close(lambda owner: not owner.is_alive())


def _close_old(mine: Iterable[Any]) -> None:
    """Do what Django's `close_old_connections` does, which does not ask for transactions."""
    for each in mine:
        if not each.in_atomic_block:
            each.close_if_unusable_or_obsolete()


def _discard(broken: Any) -> None:
    """Let go of a connection whose `atomic` never ended, as a time limit struck in it: no other job may enter that.

    Closing is not enough, as Django goes on to believe in the transaction; the thread gets a new one.
    """
    raw, broken.connection = broken.connection, None
    with suppress(Exception):
        raw.close()
    del connections[broken.alias]


def begin_child() -> None:
    """Begin a child process without the connections of the process that it is a copy of."""
    close_all()


def close_all() -> None:
    """Close this thread's connections."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def _always(_owner: threading.Thread) -> bool:
    return True


def close_idle() -> None:
    """Close, at the end, the connections of the threads that have run jobs, but of those that still do.

    In a thread, as the end may come on an event loop, where Django refuses to.
    """
    thread = threading.Thread(target=_close, args=(_always,), name="faktory-django-close")
    thread.start()
    thread.join()


def _close(of: Callable[[threading.Thread], bool]) -> None:
    """Close the idle connections of some threads, which nobody uses meanwhile."""
    with _lock:
        found = [each for each, owner in _idle.items() if of(owner) and not each.in_atomic_block]
        for each in found:
            del _idle[each]
    for each in found:
        each.inc_thread_sharing()
        try:
            each.close()
        finally:
            each.dec_thread_sharing()
