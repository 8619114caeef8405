"""Limits of queues, in each front end: jobs over a limit stay with the server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from faktory import ConfigurationError, ConsumerBuilder, Job
from tests.contract.conftest import Backend
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront
from tests.waiting import until

FRONTS: dict[str, Front] = {"threads": ThreadFront(), "asyncio": AsyncioFront(), "trio": TrioFront()}


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> Front:
    return FRONTS[request.param]


class Handlers:
    """Counts what runs at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = 0
        self.began: list[float] = []
        self.go_on = threading.Event()

    def slow(self, job: Job) -> None:
        with self.lock:
            self.began.append(time.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
        self.go_on.wait(5)
        with self.lock:
            self.running -= 1

    def fast(self, job: Job) -> None:
        pass

    def builder(self) -> ConsumerBuilder:
        return ConsumerBuilder().register("slow", self.slow).register("fast", self.fast).workers(6)


def test_a_queue_that_is_full_is_left_to_others(front: Front, ours: Backend) -> None:
    handlers = Handlers()
    ours.client.push_bulk([Job("slow", queue="slow") for _ in range(5)])
    running = front.start(handlers.builder().limit("slow", concurrency=2), ours.url, ["slow", "fast"])
    until(lambda: handlers.running == 2)
    ours.client.push_bulk([Job("fast", queue="fast") for _ in range(5)])
    until(lambda: ours.client.info()["faktory"]["queues"].get("fast", 0) == 0)
    assert ours.client.info()["faktory"]["queues"]["slow"] == 3  # not fetched and held
    assert handlers.running == 2
    handlers.go_on.set()
    until(lambda: len(handlers.began) == 5)
    running.consumer.terminate()
    running.wait()
    assert handlers.most == 2


def test_nothing_to_fetch_from_is_waited_for(front: Front, ours: Backend) -> None:
    handlers = Handlers()
    ours.client.push_bulk([Job("slow", queue="slow") for _ in range(4)])
    running = front.start(handlers.builder().limit("slow", concurrency=1), ours.url, ["slow"])
    until(lambda: handlers.running == 1)
    assert running.consumer.health().is_ready
    handlers.go_on.set()
    until(lambda: len(handlers.began) == 4)
    running.consumer.terminate()
    running.wait()
    assert handlers.most == 1


@pytest.mark.slow
def test_a_rate_spreads_jobs_out(front: Front, ours: Backend) -> None:
    handlers = Handlers()
    handlers.go_on.set()
    ours.client.push_bulk([Job("slow", queue="slow") for _ in range(5)])
    started = time.monotonic()
    summary = front.drain(handlers.builder().limit("slow", per_second=10), ours.url, ["slow"])
    assert summary.succeeded == 5
    # A busy machine may start one late and the next in time, so that there is less between the two.
    early = [(n, began - started) for n, began in enumerate(handlers.began) if began - started < 0.1 * n - 0.01]
    assert not early


def test_a_worker_at_its_limit_ends_at_once(front: Front, ours: Backend) -> None:
    handlers = Handlers()
    handlers.go_on.set()
    ours.client.push_bulk([Job("slow", queue="slow") for _ in range(3)])
    running = front.start(handlers.builder().limit("slow", per_second=0.01), ours.url, ["slow"])
    until(lambda: handlers.began)
    started = time.monotonic()
    running.consumer.terminate()
    running.wait()
    assert time.monotonic() - started < 3.0
    assert len(handlers.began) == 1


def test_run_one_heeds_a_limit(front: Front, ours: Backend) -> None:
    handlers = Handlers()
    handlers.go_on.set()
    ours.client.push(Job("slow", queue="slow"))
    assert front.run_one(handlers.builder().limit("slow", concurrency=1), ours.url, ["slow"])


def test_wrong_limits_are_refused() -> None:
    builder: Any = ConsumerBuilder()
    with pytest.raises(ConfigurationError, match="a queue name"):
        builder.limit("a b", concurrency=1)
    with pytest.raises(ConfigurationError, match="got neither"):
        builder.limit("slow")
