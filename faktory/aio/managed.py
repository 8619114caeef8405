"""Makes managed values before the jobs that want them: what is async on the loop, what is plain in a thread beside it.

Each value has a task of its own, which ends when the consumer does: a context manager is left by the task that has
entered it, as trio wants it, and no job that is cut short takes a value along.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from threading import get_ident
from typing import Any

from ..core.callables import is_awaitable
from ..core.managed import Managed, is_a, log_not_closed, preparing
from .backend import Backend, Event
from .thread_pool import Threads


class _Making:
    """A value that is being made; `error` tells why it was not."""

    def __init__(self, done: Event) -> None:
        self.done = done
        self.error: BaseException | None = None


class Values:
    """The values of one async consumer's jobs."""

    def __init__(self, backend: Backend, managed: Managed, threads: Threads) -> None:
        self._backend = backend
        self._managed = managed
        self._threads = threads
        self._under_way: dict[type[Any], _Making] = {}
        self._place: tuple[int, int] | None = None

    async def prepare(self, needs: Iterable[type[Any]]) -> None:
        """Make what a job needs, or everything when it does not say; only what it says it needs may fail it."""
        if self._managed.has_all():
            return
        if self._place is None:
            self._place = (os.getpid(), get_ident())
            preparing.append(self._place)
        needs = tuple(needs)
        for kind in needs or self._managed.kinds:
            error = await self._make(kind)
            if error is not None and needs:
                raise error

    async def _make(self, kind: type[Any]) -> BaseException | None:
        if self._managed.is_made(kind):
            return None
        making = self._under_way.get(kind)
        if making is None:
            making = self._under_way[kind] = _Making(self._backend.event())
            self._backend.spawn(partial(self._live, kind, making))
        await making.done.wait()
        return making.error

    async def _live(self, kind: type[Any], making: _Making) -> None:
        """Make a value, and stay until it is ended. The task's outermost line."""
        home = self._managed.home_of(kind)
        try:
            if not home.claim(kind, making):  # a thread makes it
                await self._threads.run(lambda: home.get(kind))
                return
            found = await self._threads.run(lambda: home.call_factory(kind))
            if found is home.must_await:
                found = home.call_async_factory(kind)
            if is_awaitable(found):
                found = await found
            if hasattr(type(found), "__aenter__") and not (is_a(found, kind) and hasattr(type(found), "close")):
                await self._host(home, kind, found, making)
            else:
                value, leave = await self._threads.run(lambda: home.entered(kind, found))
                home.keep(kind, value, leave)
        except Exception as exc:
            making.error = exc
        finally:
            home.give_up(kind, making)
            self._under_way.pop(kind, None)
            making.done.set()

    async def _host(self, home: Managed, kind: type[Any], context: Any, making: _Making) -> None:
        """Enter a context manager, and leave it when the value is ended."""
        may_end, has_ended = self._backend.event(), self._backend.event()

        async def leave() -> None:
            may_end.set()
            await has_ended.wait()

        try:
            async with context as entered:
                value = context if is_a(context, kind) and not is_a(entered, kind) else entered
                home.keep(kind, home.checked(kind, value), leave)
                making.done.set()
                await may_end.wait()
        except Exception:
            if not making.done.is_set():
                raise
            log_not_closed(kind)
        finally:
            has_ended.set()

    async def close(self, user: object) -> None:
        """Async twin of `Managed.close`."""
        if self._place is not None:
            preparing.remove(self._place)
            self._place = None
        for kind, end in self._managed.ends(user):
            try:
                result = end()
                if is_awaitable(result):
                    await result
            except BaseException:
                log_not_closed(kind)
