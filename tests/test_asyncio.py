"""The backend of asyncio: what is peculiar to it. What it shares with trio is in `test_aio` and the contract suite."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import faktory.asyncio
from faktory import Client, ConsumerBuilder, Job
from faktory.asyncio import BACKEND
from faktory.server import Server
from tests.loops import run_asyncio


def test_a_consumer_in_a_task_group_is_cancelled_with_it(server: Server, client: Client) -> None:
    started = asyncio.Event()

    async def work(job: Job) -> None:
        started.set()
        await asyncio.sleep(0.05)

    client.push(Job("work"))

    async def main() -> None:
        consumer = await ConsumerBuilder().register("work", work).connect_asyncio(server.url)
        with pytest.raises(ExceptionGroup, match="unhandled"):
            async with asyncio.TaskGroup() as group:
                group.create_task(consumer.run(["default"]))
                await started.wait()
                raise ValueError("stop all")
        assert consumer.state == "terminated"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_asyncio(main())
    assert len(server.working) == 0


def test_a_timeout_around_run_is_a_timeout(server: Server) -> None:
    async def main() -> None:
        consumer = await ConsumerBuilder().register("work", print).connect_asyncio(server.url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await consumer.run(["default"])

    run_asyncio(main())


def test_a_handler_may_use_timeouts_and_groups_of_its_own(server: Server, client: Client) -> None:
    seen: list[str] = []

    async def work(job: Job) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        seen.append(job.jid)

    client.push(Job("work"))

    async def main() -> None:
        async with await ConsumerBuilder().register("work", work).connect_asyncio(server.url) as consumer:
            assert (await consumer.drain(["default"])).succeeded == 1

    run_asyncio(main())
    assert len(seen) == 1


def test_a_cancelled_error_of_the_handlers_own_fails_the_job(server: Server, client: Client) -> None:
    async def work(job: Job) -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    client.push(Job("work", retry=2))

    async def main() -> None:
        async with await ConsumerBuilder().register("work", work).connect_asyncio(server.url) as consumer:
            assert (await consumer.drain(["default"])).failed == 1

    run_asyncio(main())
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "CancelledError"


def test_a_group_raises_what_a_task_raised() -> None:
    async def fail() -> None:
        raise ValueError("no good")

    async def main() -> None:
        async with BACKEND.group() as group:
            group.start(fail)

    with pytest.raises(ValueError, match="no good"):
        run_asyncio(main())


def test_what_a_peer_floods_us_with_is_not_kept() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(flood, "127.0.0.1", 0) as listener:
            stream: Any = await BACKEND.open("127.0.0.1", listener.sockets[0].getsockname()[1], 5)
            assert await stream.receive(5)
            await asyncio.sleep(0.1)
            assert len(stream._unread) < 4 * 1024 * 1024
            stream.abort()
            await asyncio.sleep(0.05)

    run_asyncio(main())


def test_the_names_are_exported() -> None:
    assert set(faktory.asyncio.__all__) == {"Batch", "Client", "Connection", "Consumer"}
