"""Reconnecting: one attempt at a time, one line per change, and no obstacle to the end."""

from __future__ import annotations

import threading
import time

import pytest

from faktory import AuthenticationError, Client, ConsumerBuilder, Job
from faktory.blocking.connection import Connection
from faktory.server import Server
from tests.running import Persistent
from tests.waiting import until


def test_an_outage_is_two_lines_in_the_log_and_ends_by_itself(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """N1, J14."""
    caplog.set_level("INFO")
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    server.kill()
    until(lambda: "lost the server" in caplog.text)
    time.sleep(0.5)
    assert not run.consumer.health().is_ready
    server.start()
    client.push(Job("work"))
    until(lambda: run.done)
    assert run.consumer.health().is_ready
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()
    assert caplog.text.count("lost the server") == 1
    assert caplog.text.count("connected to") == 1


def test_attempts_are_spaced_out_and_one_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """N1: twenty threads do not make twenty times the attempts."""
    run = Persistent(server, workers=20)
    until(lambda: server.waiting == 1)
    attempts = 0
    lock = threading.Lock()
    at_once: list[int] = []
    inside = 0
    original = run.consumer._reconnector._state.connect

    def connect(timeout: float) -> object:
        nonlocal attempts, inside
        with lock:
            if threading.current_thread().name.startswith("faktory-worker"):
                attempts += 1
                inside += 1
                at_once.append(inside)
        try:
            return original(timeout)
        finally:
            with lock:
                if threading.current_thread().name.startswith("faktory-worker"):
                    inside -= 1

    monkeypatch.setattr(run.consumer._state, "connect", connect)
    server.kill()
    time.sleep(1.0)
    assert 2 <= attempts <= 12
    assert max(at_once) == 1
    started = time.monotonic()
    run.consumer.terminate()
    run.join()
    assert time.monotonic() - started < 3


def test_workers_stop_waiting_when_the_heartbeat_has_reached_the_server(server: Server, client: Client) -> None:
    """N1: what one knows of the server all know."""
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    outage = run.consumer._state.outage
    server.kill()
    outage._backoff._attempt = 8  # waits of 2.6 to 26 s
    until(lambda: outage.is_down)
    outage.not_before = time.monotonic() + 600
    time.sleep(0.1)
    server.start()
    started = time.monotonic()
    run.consumer._state.lifecycle.beat_at_once(started)
    run.consumer._state.heartbeat_wake.set()
    client.push(Job("work"))
    until(lambda: run.done)
    assert time.monotonic() - started < 5
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_the_heartbeat_stops_waiting_when_a_worker_has_reached_the_server(server: Server, client: Client) -> None:
    """N1."""
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    heartbeat, state = run.consumer._heartbeat, run.consumer._state
    heartbeat._backoff._attempt = 8  # waits of 2.6 to 26 s
    server.kill()
    state.lifecycle.beat_at_once(time.monotonic())
    state.heartbeat_wake.set()
    until(lambda: heartbeat._is_down)
    server.start()
    started = time.monotonic()
    client.push(Job("work"))
    until(lambda: not heartbeat._is_down)
    assert time.monotonic() - started < 2.5
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_a_refused_password_is_said_and_tried_each_five_seconds_by_all_together(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """N9: the password is rotated under a running worker."""
    run = Persistent(server, builder=ConsumerBuilder().heartbeat_interval(0.05))
    until(lambda: server.waiting == 1)
    state = run.consumer._state
    attempts: list[str] = []

    def refuse(timeout: float) -> Connection:
        attempts.append(threading.current_thread().name)
        raise AuthenticationError("the server has another password")

    monkeypatch.setattr(state, "connect", refuse)
    server.disconnect_all()
    until(lambda: "the server has another password" in caplog.text)
    time.sleep(0.5)
    # One of the workers, who dial in turn, and the heartbeat, unless it has heard of it before.
    assert 1 <= len(attempts) <= 2, attempts
    assert caplog.text.count("the server has another password") <= 2
    run.consumer.terminate()
    run.join()


def test_terminate_during_backoff_stops_at_once(server: Server) -> None:
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    server.kill()
    run.consumer._reconnector._outage._backoff._attempt = 8  # waits of up to 26 s
    time.sleep(0.2)
    started = time.monotonic()
    run.consumer.terminate()
    run.join()
    assert time.monotonic() - started < 3


def test_an_error_that_repeats_is_logged_once_a_minute(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """W8."""
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        for _ in range(3):
            consumer._reconnector.log_rarely("kind", "it happened %s", "again")
        for n in range(1100):
            consumer._reconnector.log_rarely(str(n), "many kinds")
    assert caplog.text.count("it happened again") == 1
    assert len(consumer._reconnector._outage._said) <= 1001


def test_a_server_that_accepts_only_to_drop_is_not_stormed(server: Server, client: Client) -> None:
    """N13: "too many connections" comes after the handshake; each attempt waits longer than the one before."""
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    fault = server.faults.refuse("FETCH", text="too many connections: 2001", times=None)
    started = time.monotonic()
    server.clock.advance(2.1)  # its FETCH ends, and the next one is refused
    until(lambda: fault.struck >= 3)
    time.sleep(0.3)
    # At once, then once more on a new connection, then one a second at the most.
    assert fault.struck <= 3 + int(time.monotonic() - started)
    server.faults.clear()
    client.push(Job("work"))
    until(lambda: run.done)
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


@pytest.mark.usefixtures("brief_wind_down")
def test_who_owes_an_outcome_stops_trying_when_its_time_is_up(server: Server, client: Client) -> None:
    """P13: else its thread would go on trying for ever, behind the end."""
    run = Persistent(server, workers=1, builder=ConsumerBuilder().shutdown_timeout(0.3))
    state = run.consumer._state
    until(lambda: server.waiting == 1)
    run.handler = lambda job: server.kill()
    client.push(Job("work"))
    until(lambda: state.outage.is_down)
    run.consumer.terminate()
    run.join()
    until(lambda: not state.fetches.living, 2)
    assert run.consumer.health().unreported == 1


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="nobody tells of a thread's processor time")
def test_waiting_to_connect_again_uses_no_processor_time(server: Server) -> None:
    """N1."""
    run = Persistent(server, workers=1)
    until(lambda: server.waiting == 1)
    (worker,) = (thread for thread in threading.enumerate() if thread.name.startswith("faktory-worker"))
    outage = run.consumer._state.outage
    outage._backoff._attempt = 8  # waits of 2.6 to 26 s
    server.kill()
    until(lambda: outage.is_down and outage.not_before > time.monotonic() + 1)
    try:
        clock = time.pthread_getcpuclockid(worker.ident or 0)
        before = time.clock_gettime(clock)
        time.sleep(0.5)
        assert time.clock_gettime(clock) - before < 0.02
    finally:
        run.consumer.terminate()
        run.join()
