"""`run_to_completion` of the async consumers as a process: signals and exit codes. Against both servers."""

from __future__ import annotations

import signal
import time

import pytest

from faktory import Client, Job
from tests.contract.conftest import Backend, real
from tests.contract.restarting import Restartable, end_of
from tests.program import Program
from tests.waiting import until

WORKER = "tests.programs.async_worker"


@pytest.fixture(params=["asyncio", "trio"])
def library(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("backend", "library", "number"),
    [
        ("embedded", "asyncio", signal.SIGTERM),
        ("embedded", "trio", signal.SIGTERM),
        ("embedded", "asyncio", signal.SIGINT),
        ("embedded", "trio", signal.SIGHUP),
        real("asyncio", signal.SIGTERM),
        real("trio", signal.SIGTERM),
    ],
    indirect=["backend"],
)
def test_term_lets_running_jobs_end(backend: Backend, library: str, number: signal.Signals) -> None:
    """P1."""
    for _ in range(4):
        backend.push("nap", 0.4)
    with Program(WORKER, library, backend.url, backend.queue) as worker:
        worker.expect("start", 4)
        worker.signal(number)
        assert end_of(worker, backend) == 0, worker.errors
        assert sum(line.startswith("done") for line in worker.lines) == 4
        assert worker.lines[-1] == "shutdown"
        assert "Traceback" not in worker.errors
    assert backend.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


@pytest.mark.usefixtures("brief_wind_down")
def test_a_job_longer_than_the_shutdown_is_cancelled_and_the_process_ends_with_1(
    backend: Backend, library: str
) -> None:
    """P6, P7."""
    backend.push("nap", 60, retry=5)
    with Program(WORKER, library, backend.url, backend.queue, 0.3) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 1, worker.errors
    assert backend.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


def test_a_second_signal_ends_at_once_whatever_the_handler_swallows(ours: Backend, library: str) -> None:
    """P2."""
    ours.push("stubborn", 60, retry=5)
    with Program(WORKER, library, ours.url, ours.queue, 20) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        time.sleep(1.1)  # another one within a second would be the same
        started = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 128 + signal.SIGTERM, worker.errors
        assert time.monotonic() - started < 4
    assert ours.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


def test_signals_that_come_together_are_one(ours: Backend, library: str) -> None:
    """P2: a wrapper and the process group send each its own."""
    ours.push("nap", 0.5)
    with Program(WORKER, library, ours.url, ours.queue) as worker:
        worker.expect("start")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            worker.signal(number)
        assert end_of(worker, ours) == 0, worker.errors
        assert sum(line.startswith("done") for line in worker.lines) == 1
    assert ours.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


def test_tstp_is_quiet_and_ttin_shows_where_jobs_wait(ours: Backend, library: str) -> None:
    """P3."""
    jid = ours.push("nap", 0.5)
    with Program(WORKER, library, ours.url, ours.queue) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTTIN)
        until(lambda: f"stack of job {jid!r}" in worker.errors and "nap (" in worker.errors)
        worker.signal(signal.SIGTSTP)
        until(lambda: "quiet:" in worker.errors)
        worker.signal(signal.SIGTERM)
        assert end_of(worker, ours) == 0, worker.errors


@pytest.mark.slow
@pytest.mark.parametrize(("library", "kill"), [("asyncio", False), ("trio", True)], ids=["stopped", "killed"])
def test_a_server_that_comes_back_gets_every_outcome(restartable: Restartable, library: str, kill: bool) -> None:
    """J3, J14, N1: it reconnects, reports what was done meanwhile without running it again, and goes on."""
    with Client(restartable.url) as client, Program(WORKER, library, restartable.url, "default") as worker:
        for _ in range(4):
            client.push(Job("nap", [0.6]))
        worker.expect("start", 4)
        restartable.away(kill=kill)
        worker.expect("done", 4)  # while there is no server
        restartable.back()
        for _ in range(10):
            client.push(Job("nap", [0]))
        worker.expect("done", 14)
        until(lambda: client.info()["faktory"]["sets"]["working"] == 0)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.errors
        assert sum(line.startswith("start") for line in worker.lines) == 14  # nothing ran twice
        ends = worker.errors.count("connected to the server again")  # of more than one outage on a slow machine
        assert ends >= 1, worker.errors
        assert worker.errors.count("lost the server") <= 2 * ends, worker.errors
        assert "Traceback" not in worker.errors
