"""The kinds of consumer behind one face that blocks, for the contract suite."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import trio

from faktory import Consumer, ConsumerBuilder, Summary
from faktory.core.queues import Queues
from tests.loops import run_asyncio

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which a test gives up: before the next beat (15 s), which repairs what it should have noticed."""


class Running(Protocol):
    """A consumer at work."""

    consumer: Any

    def wait(self) -> int:
        """Return what `run` returned, or raise what it raised."""
        ...


class Front(Protocol):
    def start(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Running: ...

    def drain(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Summary: ...

    def run_one(self, builder: ConsumerBuilder, url: str, queues: Queues) -> bool: ...

    def again(self, consumer: Any, queues: Queues) -> int:
        """Call `run` of a consumer that has ended."""
        ...


class ThreadRun:
    def __init__(self, consumer: Consumer, queues: Queues) -> None:
        self.consumer = consumer
        self._result: int | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(queues,), name="test-run")
        self._thread.start()

    def _run(self, queues: Queues) -> None:
        try:
            self._result = self.consumer.run(queues)
        except BaseException as exc:
            self._error = exc
            self.consumer.close()

    def wait(self) -> int:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the consumer did not end"
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result


class ThreadFront:
    def start(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Running:
        return ThreadRun(builder.connect(url), queues)

    def drain(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Summary:
        with builder.connect(url) as consumer:
            return consumer.drain(queues)

    def run_one(self, builder: ConsumerBuilder, url: str, queues: Queues) -> bool:
        with builder.connect(url) as consumer:
            return consumer.run_one(queues)

    def again(self, consumer: Any, queues: Queues) -> int:
        busy: int = consumer.run(queues)
        return busy


class AsyncRun:
    """A consumer on a loop in a thread of its own."""

    def __init__(self, front: AsyncFront, builder: ConsumerBuilder, url: str, queues: Queues) -> None:
        self.consumer: Any = None
        self._front = front
        self._ready = threading.Event()
        self._result: int | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(builder, url, queues), name="test-run")
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if self.consumer is None:
            self.wait()

    def _run(self, builder: ConsumerBuilder, url: str, queues: Queues) -> None:
        async def main() -> None:
            self.consumer = await self._front.connect(builder, url)
            self._ready.set()
            try:
                self._result = await self.consumer.run(queues)
            except BaseException:
                await self.consumer.close()
                raise

        try:
            self._front.run(main)
        except BaseException as exc:
            self._error = exc
        finally:
            self._ready.set()

    def wait(self) -> int:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the consumer did not end"
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result


class AsyncFront:
    """What asyncio and trio have in common."""

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        raise NotImplementedError

    async def connect(self, builder: ConsumerBuilder, url: str) -> Any:
        raise NotImplementedError

    def start(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Running:
        return AsyncRun(self, builder, url, queues)

    def drain(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Summary:
        async def main() -> Summary:
            async with await self.connect(builder, url) as consumer:
                summary: Summary = await consumer.drain(queues)
                return summary

        return self.run(main)

    def run_one(self, builder: ConsumerBuilder, url: str, queues: Queues) -> bool:
        async def main() -> bool:
            async with await self.connect(builder, url) as consumer:
                has_run: bool = await consumer.run_one(queues)
                return has_run

        return self.run(main)

    def again(self, consumer: Any, queues: Queues) -> int:
        async def main() -> int:
            busy: int = await consumer.run(queues)
            return busy

        return self.run(main)


class AsyncioFront(AsyncFront):
    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await main()

        return run_asyncio(run())

    async def connect(self, builder: ConsumerBuilder, url: str) -> Any:
        return await builder.connect_asyncio(url)


class TrioFront(AsyncFront):
    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        return trio.run(main)

    async def connect(self, builder: ConsumerBuilder, url: str) -> Any:
        return await builder.connect_trio(url)
