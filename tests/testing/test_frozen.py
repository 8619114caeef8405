"""The kit beside a frozen clock: what is relative counts from the frozen time, and nothing waits for it to move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from faktory import App, Client, Job, Retry
from faktory.testing import Worker, assert_enqueued, capture, inline, serve

NOW = datetime(2100, 1, 2, tzinfo=UTC)
Freeze = Callable[[], AbstractContextManager[Any]]
app = App("tcp://never.invalid:7419")
client = Client("tcp://never.invalid:7419")
ran: list[int] = []


@app.job
def work(number: int) -> None:
    ran.append(number)


@app.job
def patient() -> None:
    raise Retry(in_=60)


@pytest.fixture(params=["freezegun", "freezegun ticking", "time-machine", "time-machine ticking"])
def freeze(request: pytest.FixtureRequest) -> Freeze:
    """Freeze the time, or have it go on from there."""
    ran.clear()
    library, _, ticking = request.param.partition(" ")
    if library == "freezegun":
        freezegun = pytest.importorskip("freezegun")
        return lambda: freezegun.freeze_time(NOW, tick=bool(ticking))
    time_machine = pytest.importorskip("time_machine")
    return lambda: time_machine.travel(NOW, tick=bool(ticking))


def test_a_server_inside_of_it(freeze: Freeze) -> None:
    with freeze(), serve() as server:
        work.enqueue(1)
        due = datetime.now(UTC) + timedelta(seconds=60)
        work.enqueue_in(60, 2)
        client.push(Job("work", [3], at=timedelta(seconds=30)))
        assert NOW + timedelta(seconds=60) <= due
        assert_enqueued(work, 2, at=due)
        worker = Worker(app)
        assert worker.drain(timeout=10).succeeded == 1
        server.clock.advance(62)
        assert worker.drain(timeout=10).succeeded == 2
        assert sorted(ran) == [1, 2, 3]
        worker.close()


def test_inside_of_a_server(freeze: Freeze) -> None:
    with serve() as server:
        worker = Worker(app)
        work.enqueue(1)
        worker.drain()
        with freeze():
            work.enqueue(2)
            client.push(Job("work", [3]))
            assert worker.drain(timeout=10).succeeded == 2
        work.enqueue(4)
        assert worker.drain(timeout=10).succeeded == 1
        assert (ran, len(server.working)) == ([1, 2, 3, 4], 0)
        worker.close()


def test_a_retry_inside_of_it_waits_for_the_servers_clock(freeze: Freeze) -> None:
    with freeze(), serve() as server:
        worker = Worker(app)
        server.clock.advance(3600)
        patient.enqueue()
        for _ in range(2):
            assert worker.drain(timeout=10).succeeded == 1
            assert worker.drain(timeout=10).total == 0
            server.clock.advance(62)
        worker.close()


def test_captured_and_inline(freeze: Freeze) -> None:
    with freeze():
        with capture() as jobs:
            work.enqueue_in(60, 1)
            assert_enqueued(work, 1, at=60)
            assert jobs.drain() == 0
            jobs.clock.advance(62)
            assert jobs.drain() == 1
        with inline() as jobs:
            work.enqueue_in(60, 2)
            work.enqueue(3)
            assert len(jobs) == 1
    assert ran == [1, 3]


def test_async_clients(freeze: Freeze) -> None:
    async def test() -> None:
        await work.aenqueue(1)
        await Worker(app).adrain(timeout=10)

    with freeze(), serve():
        asyncio.run(test())
    assert ran == [1]
