"""asyncio and trio behind one face, for tests that hold on both."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import trio

import faktory.asyncio
import faktory.trio
from faktory import ConsumerBuilder

T = TypeVar("T")


def run_asyncio(main: Coroutine[Any, Any, T]) -> T:
    """Run on asyncio's own loop, or on the one that FAKTORY_TEST_LOOP names: uvloop."""
    if os.environ.get("FAKTORY_TEST_LOOP") != "uvloop":
        return asyncio.run(main)
    uvloop: Any = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def pause(seconds: float = 0) -> None:
    """Sleep on whichever of the two runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


class Loop:
    """A scheduler: what tests ask of it."""

    name: str
    Client: type[faktory.asyncio.Client] | type[faktory.trio.Client]
    Connection: type[faktory.asyncio.Connection] | type[faktory.trio.Connection]
    Cancelled: type[BaseException]

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        raise NotImplementedError

    async def connect(self, builder: ConsumerBuilder, url: str) -> Any:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def event(self) -> Any:
        """Return an event of this library's: `set()`, and `await wait()`."""
        raise NotImplementedError

    async def all(self, *calls: Callable[[], Awaitable[Any]]) -> None:
        """Run several at a time."""
        raise NotImplementedError

    async def cancelling(self, call: Callable[[], Awaitable[Any]], after: Callable[[], Awaitable[Any]]) -> bool:
        """Cancel a call when `after` has ended. Returns whether it raised the cancellation."""
        raise NotImplementedError

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(10_000):
            if condition():
                return
            await self.sleep(0.002)
        raise AssertionError("it did not happen in time")


class Asyncio(Loop):
    name = "asyncio"
    Client = faktory.asyncio.Client
    Connection = faktory.asyncio.Connection
    Cancelled = asyncio.CancelledError

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            result = await main()
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
            return result

        return run_asyncio(run())

    async def connect(self, builder: ConsumerBuilder, url: str) -> Any:
        return await builder.connect_asyncio(url)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def event(self) -> asyncio.Event:
        return asyncio.Event()

    async def all(self, *calls: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.gather(*(call() for call in calls))

    async def cancelling(self, call: Callable[[], Awaitable[Any]], after: Callable[[], Awaitable[Any]]) -> bool:
        task = asyncio.ensure_future(call())
        await after()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()


class Trio(Loop):
    name = "trio"
    Client = faktory.trio.Client
    Connection = faktory.trio.Connection
    Cancelled = trio.Cancelled

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        return trio.run(main)

    async def connect(self, builder: ConsumerBuilder, url: str) -> Any:
        return await builder.connect_trio(url)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def event(self) -> trio.Event:
        return trio.Event()

    async def all(self, *calls: Callable[[], Awaitable[Any]]) -> None:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)

    async def cancelling(self, call: Callable[[], Awaitable[Any]], after: Callable[[], Awaitable[Any]]) -> bool:
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with scope:
                    await call()

            nursery.start_soon(run)
            await after()
            scope.cancel()
        return scope.cancelled_caught


LOOPS = [Asyncio(), Trio()]
