"""Probes of a worker through what happens to it: an outage, a drain, a loop that is blocked, jobs that take long."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from faktory import Client, ConsumerBuilder, Job, builder
from faktory.cli.observed import Observed
from faktory.cli.output import Output
from faktory.observe import health, pages
from faktory.observe.healthfile import HealthFile
from faktory.observe.notify import Notifier
from faktory.options import ConsumerOptions
from faktory.server import Server
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront
from tests.waiting import until

FRONTS: dict[str, Front] = {"threads": ThreadFront(), "asyncio": AsyncioFront(), "trio": TrioFront()}


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> Front:
    return FRONTS[request.param]


def answer(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=10) as found:
            return found.status, found.read().decode()
    except HTTPError as exc:
        return exc.code, exc.read().decode()


class Gate:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()

    def wait(self, job: Job) -> None:
        self.began.release()
        self.go_on.wait(10)


def test_a_worker_whose_threads_are_all_busy_is_ready(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when that lasts longer than any FETCH may take."""
    monkeypatch.setattr(builder, "ConsumerOptions", partial(ConsumerOptions, fetch_watch=0.05))  # 30 s otherwise
    gate = Gate()
    with Server(fetch_wait=0.01) as server, Client(server.url) as client:
        client.push_bulk([Job("wait") for _ in range(3)])
        running = front.start(ConsumerBuilder().register("wait", gate.wait).workers(2), server.url, ["default"])
        url = running.consumer.serve_health().url
        for _ in range(2):
            assert gate.began.acquire(timeout=10)
        time.sleep(0.1)
        assert answer(f"{url}/readyz")[0] == 200
        assert answer(f"{url}/livez")[0] == 200
        gate.go_on.set()
        running.consumer.terminate()
        running.wait()


def test_a_worker_that_drains_lives_and_is_not_ready(front: Front) -> None:
    gate = Gate()
    with Server(fetch_wait=0.01) as server, Client(server.url) as client:
        client.push(Job("wait"))
        running = front.start(ConsumerBuilder().register("wait", gate.wait), server.url, ["default"])
        url = running.consumer.serve_health().url
        assert gate.began.acquire(timeout=10)
        running.consumer.terminate()
        until(lambda: answer(f"{url}/readyz") == (503, "the worker is terminating\n"))
        assert answer(f"{url}/livez")[0] == 200
        gate.go_on.set()
        running.wait()


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_blocked_loop_is_not_live(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TICK_LIMIT", 0.2)
    monkeypatch.setattr(pages, "TICK_EVERY", 0.05)
    gate = Gate()

    async def block(job: Job) -> None:
        gate.wait(job)

    with Server(fetch_wait=0.01) as server, Client(server.url) as client:
        running = FRONTS[kind].start(ConsumerBuilder().register("block", block), server.url, ["default"])
        url = running.consumer.serve_health().url
        time.sleep(0.3)
        assert answer(f"{url}/livez")[0] == 200  # idle, and the loop goes round
        client.push(Job("block"))
        assert gate.began.acquire(timeout=10)
        until(lambda: answer(f"{url}/livez")[0] == 503)
        assert "the main loop has not gone round" in answer(f"{url}/livez")[1]
        gate.go_on.set()
        until(lambda: answer(f"{url}/livez")[0] == 200)
        running.consumer.terminate()
        running.wait()


def test_a_thread_that_waits_for_long_still_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TICK_LIMIT", 0.2)
    monkeypatch.setattr(pages, "TICK_EVERY", 0.05)
    with Server(fetch_wait=0.01) as server:
        running = FRONTS["threads"].start(ConsumerBuilder().register("a", print), server.url, ["default"])
        url = running.consumer.serve_health().url
        until(lambda: answer(f"{url}/readyz")[0] == 200)
        time.sleep(0.3)
        assert answer(f"{url}/livez")[0] == 200
        running.consumer.terminate()
        running.wait()


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_an_outage_of_the_server_is_no_reason_to_restart(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from faktory.core import session

    monkeypatch.setattr(health, "TICK_LIMIT", 0.5)
    monkeypatch.setattr(pages, "TICK_EVERY", 0.05)
    real = session.Session.__init__

    def persistent(self: Any, order: Any, **options: Any) -> None:
        real(self, order, **options | {"is_persistent": True})  # as in `run_to_completion`, which ends the process

    monkeypatch.setattr(session.Session, "__init__", persistent)
    with Server(fetch_wait=0.01) as server:
        running = FRONTS[kind].start(ConsumerBuilder().register("a", print), server.url, ["default"])
        url = running.consumer.serve_health().url
        until(lambda: answer(f"{url}/readyz")[0] == 200)
    until(lambda: answer(f"{url}/readyz")[0] == 503)
    time.sleep(0.6)
    assert answer(f"{url}/livez")[0] == 200
    running.consumer.terminate()
    running.wait()


def test_a_worker_writes_its_health_file_until_it_ends(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "health"
    with Server(fetch_wait=0.01) as server:
        running = front.start(ConsumerBuilder().register("work", print), server.url, ["default"])
        Observed(None, HealthFile(str(path)), Notifier()).begin(running.consumer, Output("tests"))
        until(path.exists)
        urls = [running.consumer.serve_health().url for _ in range(2)]  # beside it
        assert [answer(f"{url}/livez")[0] for url in urls] == [200, 200]
        running.consumer.terminate()
        running.wait()
    until(lambda: not path.exists())
