"""A worker's signals and its server's absence, at the real server; as process 1 where the system allows it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faktory import Client, Job
from tests.cli.conftest import ROOT, Project, read_until
from tests.real_server import RealServer, needs_own_server

pytestmark = [pytest.mark.slow]


@pytest.fixture
def real(project: Project) -> Iterator[RealServer]:
    with RealServer(password="right") as real:
        project.environment["FAKTORY_URL"] = real.url
        yield real


def push(real: RealServer, *jobs: Job) -> None:
    with Client(real.url) as client:
        for job in jobs:
            client.push(job)


@needs_own_server
def test_what_each_signal_does_at_the_real_server(project: Project, real: RealServer) -> None:
    process = project.start("worker", "app", "-c", "2", "-t", "20")
    read_until(process, "working as")
    process.send_signal(signal.SIGTTIN)
    read_until(process, "stack of thread ")
    push(real, Job("nap", [30], queue="slow"))
    read_until(process, "napping")
    process.send_signal(signal.SIGTSTP)
    assert re.search(r"quiet no new jobs are taken; 1 job still run: nap ", read_until(process, "quiet no new jobs"))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # at once, as wrappers do: they are one
    read_until(process, "terminating")
    time.sleep(1.1)  # the time after which another one counts
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    read_until(process, "cut off 1 jobs")
    assert process.wait(10) == 130


@needs_own_server
def test_the_server_goes_and_comes_back(project: Project, real: RealServer) -> None:
    process = project.start("worker", "app", "--max-jobs", "1")
    read_until(process, "working as")
    real.kill()
    read_until(process, "reconnecting")
    real.start()
    push(real, Job("add", [1, 2]))
    read_until(process, "1 + 2 = 3")
    assert process.wait(15) == 0
    assert project.run("worker", "app", FAKTORY_URL=real.url.replace("right", "wrong")).returncode == 3


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, for a process 1 of its own")
def test_as_process_1_it_ends_at_term_in_every_state(project: Project, tmp_path: Path) -> None:
    probe = ["unshare", "--user", "--pid", "--fork", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this system allows no process 1 of its own")
    name = tmp_path / "out"
    for words, word, code in (
        (("worker", "app"), "working as", 0),
        (("worker", "app", "--wait-server", "--url", "tcp://127.0.0.1:1"), "waiting for the server", 143),
    ):
        with name.open("w") as out:
            command = ["unshare", "--user", "--pid", "--fork", sys.executable, "-m", "faktory", *words]
            process = subprocess.Popen(
                command, cwd=project.folder, env=project.environment | {"PYTHONPATH": str(ROOT)}, stdout=out, stderr=out
            )
            try:
                deadline = time.monotonic() + 20
                while word not in name.read_text():
                    assert time.monotonic() < deadline, name.read_text()
                    time.sleep(0.02)
                child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
                subprocess.run(["kill", "-TERM", child], check=True)
                assert process.wait(10) == code
            finally:
                process.kill()
                process.wait(10)
