"""Handlers of every kind whose lengths lie around their limits: none of them ends or wedges its worker.

`FAKTORY_STRESS=20000` runs so many jobs, and a hundredth as many shutdowns, instead of a few.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job, JobContext
from faktory.client import Client as BlockingClient
from faktory.core.run import running
from faktory.server import Server
from tests.share import share_of

JOBS = int(os.environ.get("FAKTORY_STRESS", share_of(400)))
SHUTDOWNS = max(JOBS // 100, 4)
LIMIT = 0.008
"""Seconds that each job may run ..."""
AROUND = 0.001
"""... and by how many its length differs from that, at most."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60 + JOBS / 20),
    # What is struck within socket.__init__, where a push connects anew, has nobody yet to close it but its own end.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


class Kinds:
    """A handler of each kind; `end` is when it means to end."""

    def __init__(self, path: Path, client: BlockingClient) -> None:
        self.log = logging.getLogger("tests.stress")
        self.path = str(path / "locked.db")
        self.holder = sqlite3.connect(self.path, check_same_thread=False)
        self.holder.execute("begin exclusive")
        self.waiting = [sqlite3.connect(self.path, check_same_thread=False) for _ in range(8)]
        self.client = client
        self.event, self.queue, self.future = threading.Event(), queue.Queue[int](), Future[int]()
        self.semaphore, self.condition = threading.Semaphore(8), threading.Condition()
        names = [name for name in vars(Kinds) if not name.startswith("_") and name not in ("run", "middleware")]
        self.all: list[Callable[[float], None]] = [getattr(self, name) for name in names]

    def run(self, job: Job) -> None:
        self.all[job.args[0] % len(self.all)](time.monotonic() + job.args[1])

    def middleware(self, job: Job, call_next: Callable[[], Any]) -> Any:
        with self.semaphore:
            return call_next()

    def spins(self, end: float) -> None:
        while time.monotonic() < end:
            pass

    def raises(self, end: float) -> None:
        self.spins(end)
        raise OSError("at its limit")

    def polls(self, end: float) -> None:
        run = running.get()
        assert run is not None
        ctx = JobContext(run, None, "tests")
        while time.monotonic() < end:
            ctx.raise_if_cancelled()

    def sleeps(self, end: float) -> None:
        while time.monotonic() < end:
            time.sleep(0.0005)

    def waits(self, end: float) -> None:
        while time.monotonic() < end:
            self.event.wait(0.0005)

    def waits_for_a_queue(self, end: float) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                self.queue.get(timeout=0.0005)

    def waits_for_a_future(self, end: float) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                self.future.result(0.0005)

    def holds_a_condition(self, end: float) -> None:
        while time.monotonic() < end:
            with self.condition:
                self.condition.notify_all()

    def logs(self, end: float) -> None:
        while time.monotonic() < end:
            self.log.warning("x")

    def pushes(self, end: float) -> None:
        while time.monotonic() < end:
            self.client.queue_latency("none")

    def is_in_c(self, end: float) -> None:
        index = threading.get_ident() % len(self.waiting)
        self.waiting[index].execute(f"pragma busy_timeout = {int(1000 * max(0.0, end - time.monotonic()))}")
        self.waiting[index].execute("select * from anything")

    def swallows(self, end: float) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(Exception):
                self.sleeps(end)


@pytest.fixture
def kinds(tmp_path: Path, server: Server) -> Iterator[Kinds]:
    handler = logging.FileHandler(tmp_path / "log")
    log = logging.getLogger("tests.stress")
    log.addHandler(handler)
    log.propagate = False
    with Client(server.url, pool_size=4) as client:
        kinds = Kinds(tmp_path, client)
        yield kinds
    for connection in (kinds.holder, *kinds.waiting):
        connection.close()
    log.removeHandler(handler)
    assert handler.lock is not None
    assert handler.lock.acquire(timeout=5), "a job has left logging's lock taken"
    handler.lock.release()
    handler.close()
    with kinds.semaphore, kinds.queue.mutex, kinds.condition:
        assert not kinds.condition._waiters  # type: ignore[attr-defined]
    assert kinds.semaphore._value == 8


def builder(kinds: Kinds) -> ConsumerBuilder:
    return (
        ConsumerBuilder()
        .register("run", kinds.run, timeout=LIMIT)
        .middleware(kinds.middleware)
        .workers(4)
        .heartbeat_interval(0.5)
    )


def push(client: Client, count: int) -> None:
    chance = random.Random(7)
    client.push_bulk(Job("run", [number, LIMIT + chance.uniform(-AROUND, AROUND)], retry=0) for number in range(count))


def test_jobs_whose_lengths_lie_around_their_limits_end_once_each(
    server: Server, client: Client, kinds: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    """W4, P5: no thread ends, no `drain` raises, and each job is reported once."""
    push(client, JOBS)
    with builder(kinds).connect(server.url) as consumer:
        summary = consumer.drain(["default"])
    assert summary.total == JOBS
    assert summary.failed > JOBS // 20
    assert client.info()["faktory"]["total_processed"] == JOBS
    assert len(server.working) == 0
    assert "ended unexpectedly" not in caplog.text
    assert "could not be interrupted" not in caplog.text


def test_shutdowns_under_such_load_leave_nothing_reserved(
    server: Server, client: Client, kinds: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    """P6, P7: jobs are cut off within microseconds of their ends and limits."""
    chance = random.Random(8)
    for _ in range(SHUTDOWNS):
        push(client, 12)
        consumer = builder(kinds).shutdown_timeout(0.005).connect(server.url)
        errors: list[BaseException] = []

        def work(consumer: Any = consumer, errors: list[BaseException] = errors) -> None:
            try:
                consumer.run(["default"])
            except BaseException as exc:
                errors.append(exc)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(chance.uniform(0.001, 0.03))
        consumer.terminate()
        server.clock.advance(2.1)  # a FETCH that waits
        thread.join(30)
        assert not thread.is_alive(), "the worker is wedged"
        consumer.close()
        assert errors == []
        assert len(server.working) == 0
        client.flush()
    assert "ended unexpectedly" not in caplog.text
