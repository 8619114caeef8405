"""A worker that is looked at: pages, a health file, a service manager."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from faktory import Client, Job
from faktory.server import Server
from tests.cli.conftest import Project, read_until
from tests.waiting import until

APP = """
import os, time
import faktory
app = faktory.App()
@app.job
def look() -> None:
    print(os.environ.get("NOTIFY_SOCKET"), os.environ.get("WATCHDOG_USEC"), flush=True)
@app.job
def nap(seconds: float) -> None:
    time.sleep(seconds)
"""


def push(server: Server, *jobs: Job) -> None:
    with Client(server.url) as client:
        client.push_bulk(jobs)


def status_of(url: str) -> int:
    try:
        with urlopen(url, timeout=10) as answer:
            code: int = answer.status
            return code
    except HTTPError as exc:
        return exc.code


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "processes", "asyncio", "trio"])
def test_a_worker_serves_its_health_and_metrics(project: Project, pool: str) -> None:
    project.write("seen.py", APP)
    push(project.server, Job("look"))
    process = project.start("worker", "seen:app", "-P", pool, "--http", "0", "--log-jobs", "never")
    url = read_until(process, "health http").splitlines()[-1].split()[1].removesuffix("/livez")
    until(lambda: status_of(f"{url}/readyz") == 200)
    assert status_of(f"{url}/livez") == 200
    wanted = 'faktory_worker_jobs_total{jobtype="look",queue="default",outcome="succeeded"} 1\n'
    until(lambda: wanted in urlopen(f"{url}/metrics", timeout=10).read().decode())
    with urlopen(f"{url}/livez?verbose", timeout=10) as answer:
        assert json.load(answer)["is_live"] is True
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "processes", "asyncio"])
def test_a_service_manager_is_told_and_children_are_not(project: Project, pool: str, tmp_path: Path) -> None:
    project.write("seen.py", APP)
    health = tmp_path / "health"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        push(project.server, Job("look"), Job("nap", [0.5]))
        process = project.start(
            "worker", "seen:app", "-P", pool, "-c", "1", "--health-file", str(health),
            NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="2000000",
        )  # fmt: skip
        words: set[str] = set()
        while not {"READY=1", "WATCHDOG=1"} <= words:
            words.add(manager.recv(4096).decode())
        until(health.exists)
        assert json.loads(health.read_text())["is_live"] is True
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        while "STOPPING=1" not in words:
            words.add(manager.recv(4096).decode())
    assert process.returncode == 0
    assert "None None\n" in out
    assert not health.exists()


def test_what_only_one_worker_can_have_is_refused_for_several(project: Project) -> None:
    project.write("seen.py", APP)
    for words in (["--http", "9464"], ["--health-file", "h"]):
        done = project.call("worker", "seen:app", "-p", "2", *words)
        assert done.returncode == 2
        assert "--workers makes several workers" in done.stderr


def test_a_place_that_cannot_be_had_is_an_error_at_the_start(project: Project) -> None:
    project.write("seen.py", APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words in (["--http", str(taken.getsockname()[1])], ["--http", "x:y"], ["--health-file", "/no/where/h"]):
            done = project.call("worker", "seen:app", *words)
            assert done.returncode == 2, done.stderr
