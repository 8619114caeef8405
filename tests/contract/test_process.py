"""`run_to_completion` as a process: signals, restarts of the server, exit codes. Against both servers."""

from __future__ import annotations

import os
import signal
import time

import pytest

from faktory import Client, Job
from faktory.blocking.connection import Connection
from faktory.commands import Beat
from faktory.server import Server
from tests.contract.conftest import Backend, real
from tests.contract.restarting import Restartable, end_of
from tests.program import Program
from tests.waiting import until

WORKER = "tests.programs.worker"


@pytest.mark.parametrize(
    ("backend", "number"),
    [("embedded", signal.SIGTERM), ("embedded", signal.SIGINT), ("embedded", signal.SIGHUP), real(signal.SIGTERM)],
    indirect=["backend"],
)
def test_term_lets_four_running_jobs_end(backend: Backend, number: signal.Signals) -> None:
    """P1."""
    for _ in range(4):
        backend.push("nap", 0.6)
    with Program(WORKER, backend.url, backend.queue, "--workers", 4) as worker:
        worker.expect("start", 4)
        worker.signal(number)
        assert end_of(worker, backend) == 0, worker.errors
        assert sum(line.startswith("done") for line in worker.lines) == 4
        assert worker.lines[-1] == "shutdown"
    assert backend.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


@pytest.mark.usefixtures("brief_wind_down")
def test_a_job_longer_than_the_shutdown_is_failed_and_the_process_ends_with_1(backend: Backend) -> None:
    """P6, P7, W4: the thread cannot be stopped, the process can."""
    backend.push("stubborn", 60, retry=5)
    backend.push("nap", 0)
    with Program(WORKER, backend.url, backend.queue, "--timeout", 0.5) as worker:
        worker.expect("start", 2)
        worker.signal(signal.SIGTERM)
        started = time.monotonic()
        assert worker.wait() == 1, worker.errors
        assert time.monotonic() - started < 0.5 + 3
    assert backend.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


def test_a_job_that_obeys_the_cut_off_was_cut_off_all_the_same(ours: Backend) -> None:
    """The exit code tells of it, also when the handler had ended by then."""
    ours.push("obedient", 60, retry=5)
    with Program(WORKER, ours.url, ours.queue, "--timeout", 0.3) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 1, worker.errors
    assert ours.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


def test_a_second_signal_ends_at_once(ours: Backend) -> None:
    """P2."""
    ours.push("stubborn", 60, retry=5)
    with Program(WORKER, ours.url, ours.queue, "--timeout", 20) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        time.sleep(1.1)  # another one within a second would be the same
        started = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 128 + signal.SIGTERM, worker.errors
        assert time.monotonic() - started < 2
    assert ours.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


def test_signals_that_come_together_are_one(ours: Backend) -> None:
    """P2: a wrapper and the process group send each its own."""
    ours.push("nap", 0.5)
    with Program(WORKER, ours.url, ours.queue) as worker:
        worker.expect("start")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            worker.signal(number)
        assert end_of(worker, ours) == 0, worker.errors
        assert sum(line.startswith("done") for line in worker.lines) == 1
    assert ours.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGTSTP])
@pytest.mark.parametrize("library", ["threads", "asyncio", "trio"])
@pytest.mark.slow
def test_a_worker_that_is_told_to_end_while_it_starts_fetches_nothing(
    server: Server, client: Client, library: str, number: signal.Signals
) -> None:
    """P16: a signal that comes while `on_startup` runs is heard before the first FETCH."""
    client.push_bulk(Job("nap", [0]) for _ in range(64))
    environment = os.environ | {"STARTUP": "0.5"}
    arguments = [WORKER] if library == "threads" else ["tests.programs.async_worker", library]
    options = ["--workers", 64] if library == "threads" else []
    with Program(*arguments, server.url, "default", *options, env=environment) as worker:
        worker.expect("starting")
        worker.signal(number)
        if number == signal.SIGTSTP:
            until(lambda: "quiet:" in worker.errors)
            worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.errors
        assert not [line for line in worker.lines if line.startswith("start ")]
    assert (len(server.queue("default")), len(server.working), len(server.retries)) == (64, 0, 0)


def test_an_ignored_hup_stays_ignored(server: Server, client: Client) -> None:
    """P2: nohup."""
    client.push(Job("nap", [0.4]))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is ignored stays so in a program that is started
    try:
        worker = Program(WORKER, server.url, "default")
    finally:
        signal.signal(signal.SIGHUP, before)
    with worker:
        worker.expect("start")
        worker.signal(signal.SIGHUP)
        worker.expect("done")
        until(lambda: server.waiting)
        assert "terminating" not in worker.errors
        worker.signal(signal.SIGTERM)
        server.clock.advance(2.1)
        assert worker.wait() == 0, worker.errors


def test_a_storm_of_signals_is_one_shutdown(ours: Backend) -> None:
    """P4, T10."""
    ours.push("nap", 0.2)
    with Program(WORKER, ours.url, ours.queue) as worker:
        worker.expect("start")
        for _ in range(50):
            worker.signal(signal.SIGTSTP)
            worker.signal(signal.SIGTTIN)
        worker.expect("done")
        worker.signal(signal.SIGTERM)
        assert end_of(worker, ours) == 0, worker.errors
        assert worker.lines.count("shutdown") == 1


def test_tstp_is_quiet(ours: Backend) -> None:
    """P3."""
    ours.push("nap", 0.1)
    with Program(WORKER, ours.url, ours.queue) as worker:
        worker.expect("done")
        worker.signal(signal.SIGTSTP)
        until(lambda: "quiet:" in worker.errors)
        server = ours.embedded
        assert server is not None
        until(lambda: not server.waiting)
        ours.push("nap", 0)
        time.sleep(0.3)
        assert sum(line.startswith("start") for line in worker.lines) == 1
        worker.signal(signal.SIGTERM)
        assert end_of(worker, ours) == 0, worker.errors


def test_ttin_dumps_stacks_with_jids(ours: Backend) -> None:
    jid = ours.push("nap", 1)
    with Program(WORKER, ours.url, ours.queue) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTTIN)
        until(lambda: f"job {jid!r}" in worker.errors and "in nap" in worker.errors)
        worker.signal(signal.SIGTERM)
        assert end_of(worker, ours) == 0


@pytest.mark.parametrize("wanted", ["quiet", "terminate"])
def test_the_servers_buttons_end_the_process(backend: Backend, wanted: str) -> None:
    """J13."""
    backend.push("nap", 0.3)
    with Program(WORKER, backend.url, backend.queue, "--beat", 0.1, "--wid", "wid-buttons-1") as worker:
        worker.expect("start")
        with Connection(backend.url) as connection:
            connection.call(Beat("wid-buttons-1", current_state=wanted))  # type: ignore[arg-type]
            if wanted == "quiet":
                worker.expect("done")
                until(lambda: "quiet:" in worker.errors)
                connection.call(Beat("wid-buttons-1", current_state="terminate"))
        assert end_of(worker, backend) == 0, worker.errors
        assert sum(line.startswith("done") for line in worker.lines) == 1
    assert backend.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


def test_a_worker_without_a_server_fails_to_start() -> None:
    """N9, first connect: exit non-zero."""
    with Server() as server:
        url = server.url
    with Program(WORKER, url, "default") as worker:
        assert worker.wait() != 0
        assert "ConnectFailed" in worker.errors


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_server_that_comes_back_gets_every_outcome(restartable: Restartable, kill: bool) -> None:
    """J3, J14, N1: it reconnects, reports what was done meanwhile without running it again, and goes on."""
    with Client(restartable.url) as client, Program(WORKER, restartable.url, "default", "--workers", 6) as worker:
        worker.expect("ready")
        for _ in range(4):
            client.push(Job("nap", [1.0]))
        client.push(Job("boom", retry=3))
        worker.expect("start", 5)
        restartable.away(kill=kill)
        worker.expect("done", 4)  # while there is no server
        restartable.back()
        for _ in range(10):
            client.push(Job("nap", [0]))
        worker.expect("done", 14)
        until(lambda: client.info()["faktory"]["sets"]["working"] == 0)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.errors
        assert sum(line.startswith("start") for line in worker.lines) == 15  # nothing ran twice
        assert "lost the server" in worker.errors
        assert "connected to the server again" in worker.errors
