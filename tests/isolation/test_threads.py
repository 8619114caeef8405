"""Time limits in threads: raised soon, once, and never too late."""

from __future__ import annotations

import threading
import time

import pytest

from faktory import Client, ConsumerBuilder, Job, JobTimeout
from faktory.isolation import forget_interrupt, interrupt_thread
from faktory.server import Server
from tests.conftest import until


def test_an_exception_is_raised_in_another_thread() -> None:
    caught: list[BaseException] = []
    ready = threading.Event()

    def spin() -> None:
        try:
            ready.set()
            while True:
                time.sleep(0.001)
        except JobTimeout as exc:
            caught.append(exc)

    thread = threading.Thread(target=spin)
    thread.start()
    assert ready.wait(5)
    interrupt_thread(thread.ident or 0, JobTimeout)
    thread.join(5)
    assert [type(exc) for exc in caught] == [JobTimeout]


def test_an_exception_that_was_taken_back_is_not_raised() -> None:
    caught: list[BaseException] = []
    gate = threading.Lock()

    def wait() -> None:
        try:
            with gate:  # inside C, where no exception can reach it
                pass
        except JobTimeout as exc:
            caught.append(exc)

    with gate:
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.02)
        interrupt_thread(thread.ident or 0, JobTimeout)
        forget_interrupt(thread.ident or 0)
    thread.join(5)
    assert caught == []


def test_a_limit_that_strikes_at_the_end_of_a_job_never_hits_the_worker(server: Server, client: Client) -> None:
    """Jobs that end just when their limit does: each is done or failed, and the worker lives."""
    done: list[str] = []

    def spin(job: Job) -> None:
        limit = time.monotonic() + 0.01
        while time.monotonic() < limit:
            pass
        done.append(job.jid)

    client.push_bulk(Job("spin", [n], retry=0) for n in range(100))
    builder = ConsumerBuilder().register("spin", spin, timeout=0.0101).workers(2)
    with builder.connect(server.url) as consumer:
        summary = consumer.drain(["default"])
    assert summary.total == 100
    assert summary.succeeded <= len(done)
    assert len(server.working) == 0


def test_a_handler_stuck_in_c_is_interrupted_when_it_comes_back(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """W4: what a thread cannot do, as documented."""
    client.push(Job("stuck", retry=2))
    builder = ConsumerBuilder().register("stuck", lambda job: time.sleep(0.4), timeout=0.05)
    with builder.connect(server.url) as consumer:
        started = time.monotonic()
        assert consumer.run_one(["default"])
        assert time.monotonic() - started > 0.35
    assert "ran past its time limit" in caplog.text
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "JobTimeout"


def test_a_job_near_the_end_of_its_reservation_is_warned_of(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J7."""
    from faktory import crew

    client.push(Job("slow", reserve_for=100))

    def slow(job: Job) -> None:
        now = time.monotonic()
        monkeypatch.setattr(crew, "monotonic", lambda: now + 81)
        consumer._crew.sound_alarms()
        until(lambda: "80 s of the 100 s" in caplog.text or "81 s of the 100 s" in caplog.text)
        monkeypatch.setattr(crew, "monotonic", time.monotonic)

    with ConsumerBuilder().register("slow", slow, timeout=1000).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
    assert len(server.working) == 0
