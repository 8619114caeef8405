"""The backend of trio: what is peculiar to it. What it shares with asyncio is in `test_aio` and the contract suite."""

from __future__ import annotations

import os

import pytest
import trio

import faktory.trio
from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server


def test_no_task_outlives_the_nursery_of_run(server: Server, client: Client) -> None:
    client.push(Job("work"))
    ended = trio.Event()

    async def work(job: Job) -> None:
        await trio.sleep(0.02)
        ended.set()

    async def main() -> None:
        consumer = await ConsumerBuilder().register("work", work).workers(3).connect_trio(server.url)
        before = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.run, ["default"])
            await ended.wait()
            nursery.cancel_scope.cancel()
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert consumer.state == "terminated"

    trio.run(main)
    assert len(server.working) == 0


def test_a_deadline_around_run_ends_it(server: Server) -> None:
    async def main() -> None:
        consumer = await ConsumerBuilder().register("work", print).connect_trio(server.url)
        with trio.move_on_after(0.05) as scope:
            await consumer.run(["default"])
        assert scope.cancelled_caught

    trio.run(main)


def test_a_handler_may_use_a_nursery_of_its_own(server: Server, client: Client) -> None:
    async def work(job: Job) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 10)
            await trio.sleep(10)

    client.push(Job("work", retry=2))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work, timeout=0.05)
        async with await builder.connect_trio(server.url) as consumer:
            assert (await consumer.drain(["default"])).failed == 1

    trio.run(main)
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "JobTimeout"


def test_errors_of_run_come_alone_and_not_in_a_group() -> None:
    async def main() -> None:
        with Server() as server:
            consumer = await ConsumerBuilder().register("work", print).connect_trio(server.url)
        with pytest.raises(faktory.ConnectionLost):
            await consumer.run(["default"])
        await consumer.close()

    trio.run(main)


def test_the_names_are_exported() -> None:
    assert set(faktory.trio.__all__) == {"Batch", "Client", "Connection", "Consumer"}


def test_a_descriptor_closed_under_the_client_costs_no_push(server: Server) -> None:
    """N: Somebody closes all descriptors, as daemons do."""

    async def main() -> None:
        async with faktory.trio.Client(server.url) as client:
            await client.push(Job("work"))
            (share,) = client._pool._shares.values()
            os.close(share._idle[-1]._stream.sock.fileno())  # type: ignore[union-attr]
            await client.push(Job("work"))

    trio.run(main)
    assert len(server.queue("default")) == 2
