"""Never alive but not consuming: health, the watchdog, and the interpreter's end."""

from __future__ import annotations

import threading
import time

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory import crew as crew_module
from faktory.server import Server
from tests.conftest import until
from tests.programs import Program
from tests.test_consumer import InThread, end
from tests.test_dialler import Persistent


def test_health_tells_how_a_consumer_is(server: Server, client: Client) -> None:
    """P13."""
    go_on = threading.Event()
    consumer = (
        ConsumerBuilder()
        .register("work", lambda job: go_on.wait(20))
        .workers(2)
        .heartbeat_interval(0.05)
        .connect(server.url)
    )
    health = consumer.health()
    assert (health.state, health.is_ready, health.busy, health.workers) == ("running", False, 0, 2)
    assert (health.last_fetch_age, health.last_report_age) == (None, None)
    run = InThread(consumer)
    until(lambda: consumer.health().is_ready)
    client.push(Job("work"))
    until(lambda: consumer.health().busy == 1)
    client.push(Job("work"))
    until(lambda: consumer.health().busy == 2)
    assert consumer.health().is_ready
    go_on.set()
    until(lambda: consumer.health().busy == 0 and consumer.health().unreported == 0)
    health = consumer.health()
    assert health.last_report_age is not None
    assert health.last_report_age < 5
    assert health.last_fetch_age is not None
    assert health.last_fetch_age < 5
    assert health.last_beat_age is not None
    consumer.quiet()
    assert not consumer.health().is_ready
    end(server, run)
    assert (consumer.health().state, consumer.health().is_ready) == ("terminated", False)


def test_health_is_not_ready_in_an_outage(server: Server) -> None:
    """P13, N1."""
    run = Persistent(server)
    until(lambda: run.consumer.health().is_ready)
    server.kill()
    until(lambda: not run.consumer.health().is_ready)
    assert run.consumer.health().reconnects >= 1
    server.start()
    until(lambda: run.consumer.health().is_ready)
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_a_fetch_that_is_never_answered_starts_over(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P13."""
    monkeypatch.setattr(crew_module, "FETCH_WATCH", 0.2)
    server.faults.delay("FETCH", seconds=8)  # shorter than the time limit of a reply
    run = Persistent(server, workers=2)
    until(lambda: server.workers)
    client.push(Job("work", queue="default"))
    time.sleep(0.3)
    started = time.monotonic()
    run.consumer._crew.heart_wake.set()
    server.clock.advance(1801, beating=True)
    server.clock.advance(60, beating=True)
    until(lambda: run.done)
    assert time.monotonic() - started < 5
    assert "no FETCH was answered" in caplog.text
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_parked_workers_that_nobody_wakes_are_woken(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P13: what a lost wake-up would look like."""
    monkeypatch.setattr(crew_module, "FETCH_WATCH", 0.2)
    run = Persistent(server, workers=2)
    until(lambda: server.waiting == 1)
    crew = run.consumer._crew
    with crew.lock:
        for worker in crew.workers:
            crew._lookouts.answered(worker.slot.index)
        crew._lookouts._waiting = {98: 0.0, 99: 0.0}  # two that do not exist
    server.clock.advance(2.1)
    until(lambda: server.waiting == 0)
    time.sleep(0.3)
    until(lambda: crew.heart_wake.set() or server.waiting == 1)  # type: ignore[func-returns-value]
    assert "no FETCH was answered" in caplog.text
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_p12_the_interpreters_end_waits_for_running_jobs(server: Server, client: Client) -> None:
    """P12: a consumer in a daemon thread, and the main thread is done."""
    client.push(Job("nap", retry=3))
    with Program("tests.programs.daemon", server.url, "default") as program:
        program.expect("done")
        server.clock.advance(2.1)
        assert program.wait() == 0
        assert program.errors == ""
    assert len(server.working) == 0
    assert len(server.retries) == 0
