"""Reconnecting: one attempt at a time, one line per change, and no obstacle to the end."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from faktory import AuthenticationError, Client, ConnectFailed, ConsumerBuilder, Job
from faktory.blocking import connection
from faktory.blocking.connection import Connection
from faktory.blocking.dialling import dial
from faktory.blocking.heartbeat import Heartbeat
from faktory.core.backoff import Backoff
from faktory.core.lifecycle import Lifecycle
from faktory.core.outage import Outage
from faktory.options import ConsumerOptions
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


class Dialled:
    """Counts the attempts to connect, by thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: Exception | None = None) -> None:
        self.names: list[str] = []
        self.at_once: list[int] = []
        self._fault = fault
        self._inside = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(connection, "dial", self)

    def __call__(self, *args: Any) -> Any:
        with self._lock:
            self.names.append(threading.current_thread().name)
            self._inside += 1
            self.at_once.append(self._inside)
        try:
            if self._fault is not None:
                raise self._fault
            return dial(*args)
        finally:
            with self._lock:
                self._inside -= 1


@pytest.fixture
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who cannot connect wait for 26 s before the next attempt, as after many."""
    monkeypatch.setattr(Backoff, "next_delay", lambda self, at_least=0.0: 26.0)


def test_attempts_are_spaced_out_and_one_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """N1: twenty threads do not make twenty times the attempts."""
    run = Persistent(server, workers=20, builder=ConsumerBuilder().heartbeat_interval(20))
    until(lambda: server.waiting == 1)
    dialled = Dialled(monkeypatch)
    server.kill()
    time.sleep(1.0)
    assert 2 <= len(dialled.names) <= 12
    assert max(dialled.at_once) == 1
    started = time.monotonic()
    run.consumer.terminate()
    run.join()
    assert time.monotonic() - started < 3


@pytest.mark.usefixtures("long_waits")
def test_workers_stop_waiting_when_the_heartbeat_has_reached_the_server(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """N1: what one knows of the server all know."""
    run = Persistent(server, builder=ConsumerBuilder().heartbeat_interval(0.2))
    until(lambda: server.waiting == 1)
    server.kill()
    until(lambda: "lost the server" in caplog.text)
    server.start()
    started = time.monotonic()
    client.push(Job("work"))
    until(lambda: run.done)
    assert time.monotonic() - started < 5
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


class Errands:
    """A consumer's errands for its heartbeat: none, but to look when the server is back."""

    def __init__(self) -> None:
        self.options = ConsumerOptions(hostname="here", wid="wid-heartbeat-2")
        self.lifecycle = Lifecycle(shutdown_timeout=1.0, heartbeat_interval=600.0, now=time.monotonic())
        self.wake = threading.Event()
        self.outage = Outage(self.wake.set)

    def next_alarm_in(self, beat_in: float) -> float:
        return beat_in

    def sound_alarms(self) -> None: ...

    def watch_fetches(self) -> None: ...

    def server_says(self, wanted: str | None) -> None: ...


@pytest.mark.usefixtures("long_waits")
def test_the_heartbeat_stops_waiting_when_a_worker_has_reached_the_server() -> None:
    """N1."""
    errands, attempts = Errands(), threading.Semaphore(0)

    def connect(timeout: float) -> Connection:
        attempts.release()
        raise ConnectFailed("nobody is there")

    heartbeat = Heartbeat(errands, connect)
    heartbeat.start()
    assert attempts.acquire(timeout=10)
    errands.outage.note_loss(ConnectFailed("nobody is there"), is_proven=False)
    assert not attempts.acquire(timeout=0.2)
    errands.outage.note_success()
    assert attempts.acquire(timeout=2.5)
    heartbeat.stop()


def test_a_refused_password_is_said_and_tried_each_five_seconds_by_all_together(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """N9: the password is rotated under a running worker."""
    run = Persistent(server, builder=ConsumerBuilder().heartbeat_interval(0.05))
    until(lambda: server.waiting == 1)
    dialled = Dialled(monkeypatch, AuthenticationError("the server has another password"))
    server.disconnect_all()
    until(lambda: "the server has another password" in caplog.text)
    time.sleep(0.5)
    # One of the workers, who dial in turn, and the heartbeat, unless it has heard of it before.
    assert 1 <= len(dialled.names) <= 2, dialled.names
    assert caplog.text.count("the server has another password") <= 2
    run.consumer.terminate()
    run.join()


@pytest.mark.usefixtures("long_waits")
def test_terminate_during_backoff_stops_at_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    server.kill()
    until(lambda: "lost the server" in caplog.text)
    started = time.monotonic()
    run.consumer.terminate()
    run.join()
    assert time.monotonic() - started < 3


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
def test_who_owes_an_outcome_stops_trying_when_its_time_is_up(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """P13: else its thread would go on trying for ever, behind the end."""
    run = Persistent(server, workers=1, builder=ConsumerBuilder().shutdown_timeout(0.3))
    until(lambda: server.waiting == 1)
    (worker,) = workers()
    run.handler = lambda job: server.kill()
    client.push(Job("work"))
    until(lambda: "lost the server" in caplog.text)
    run.consumer.terminate()
    run.join()
    worker.join(2)
    assert not worker.is_alive()
    assert run.consumer.health().unreported == 1


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("faktory-worker")]


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="nobody tells of a thread's processor time")
@pytest.mark.usefixtures("long_waits")
def test_waiting_to_connect_again_uses_no_processor_time(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """N1."""
    run = Persistent(server, workers=1)
    until(lambda: server.waiting == 1)
    (worker,) = workers()
    server.kill()
    until(lambda: "lost the server" in caplog.text)
    time.sleep(0.1)
    try:
        clock = time.pthread_getcpuclockid(worker.ident or 0)
        before = time.clock_gettime(clock)
        time.sleep(0.5)
        assert time.clock_gettime(clock) - before < 0.02
    finally:
        run.consumer.terminate()
        run.join()
