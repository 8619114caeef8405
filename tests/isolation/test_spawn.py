"""Starting the process that forks children: what is checked first, and that nothing is left when it is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zipapp
from pathlib import Path

import pytest

from faktory import Client, ConfigurationError, ConsumerBuilder, Job, ThreadStartFailed
from faktory.isolation import spawn
from faktory.server import Server
from tests.isolation import jobs
from tests.isolation.conftest import Journal, descendants, is_alive
from tests.program import ROOT
from tests.waiting import until

PROGRAM = """
import os, sys
import faktory
from faktory import ConsumerBuilder
def work(job):
    print("printed")
    with open(job.args[0], "a") as file:
        file.write("ran\\n")
def main():
    with ConsumerBuilder().register("work", work).processes(1).connect() as consumer:
        assert consumer.run_one(["default"])
if __name__ == "__main__":
    main()
"""


def environment(server: Server) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "FAKTORY_URL": server.url}


@pytest.mark.parametrize("closed", ["1", "2", "1 2", "0 1 2"])
def test_a_program_whose_outputs_are_closed_works(
    server: Server, client: Client, journal: Journal, tmp_path: Path, closed: str
) -> None:
    """C5: with the low numbers free, sockets and pipes take them."""
    (tmp_path / "program.py").write_text(PROGRAM)
    client.push(Job("work", [journal.path], retry=0))
    redirections = " ".join(f"{descriptor}>&-" for descriptor in closed.split())
    command = f"exec {sys.executable} {tmp_path}/program.py {redirections}"
    done = subprocess.run(["/bin/sh", "-c", command], env=environment(server), check=False, timeout=30)
    assert done.returncode == 0
    assert journal.lines() == ["ran"]


def test_a_zipped_program_has_children_that_run_its_main_file(
    server: Server, client: Client, journal: Journal, tmp_path: Path
) -> None:
    """C5."""
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__main__.py").write_text(PROGRAM)
    zipapp.create_archive(tmp_path / "program", tmp_path / "program.pyz")
    client.push(Job("work", [journal.path], retry=0))
    command = [sys.executable, str(tmp_path / "program.pyz")]
    done = subprocess.run(command, env=environment(server), capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "printed\n"), done.stderr
    assert journal.lines() == ["ran"]


def test_what_is_printed_while_importing_is_not_printed_by_each_child(
    server: Server, client: Client, journal: Journal, tmp_path: Path
) -> None:
    """C5: in a pipe it waits in a buffer, of which each child would have a copy. A half line comes out, too."""
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from faktory import ConsumerBuilder\n"
        "sys.stdout.write('imported\\n')\n"
        "def work(job):\n"
        "    sys.stdout.write('half a line')\n"
        "if __name__ == '__main__':\n"
        "    builder = ConsumerBuilder().register('work', work).processes(1, max_jobs_per_child=1)\n"
        "    with builder.connect() as consumer:\n"
        "        assert consumer.drain(['default']).succeeded == 3\n"
    )
    client.push_bulk(Job("work", retry=0) for _ in range(3))
    command = [sys.executable, str(tmp_path / "program.py")]
    buffered = environment(server) | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, env=buffered, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    assert lines == ["half a line"] * 3 + ["imported"] * 2  # the worker's and the fork server's


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", ""), ("executable", None)])
def test_a_frozen_program_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """C5: it would start itself, without end."""
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(ConfigurationError, match=r"frozen program .* leave out processes\(\.\.\.\)"):
        ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url)


def test_where_no_children_can_be_had_it_is_said(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5: on Windows, and in a child itself, which has imported a program that starts its consumer when imported."""
    builder = ConsumerBuilder().register("work", jobs.work).processes(1)
    with monkeypatch.context() as patch:
        patch.delattr(os, "fork")
        with pytest.raises(ConfigurationError, match=r"need a POSIX system; leave out processes\(\.\.\.\)"):
            builder.connect(server.url)
    monkeypatch.setattr("faktory.isolation.threads.is_child", True)
    with pytest.raises(ConfigurationError, match='put that part of it under `if __name__ == "__main__":`'):
        builder.connect(server.url)


def test_an_import_that_takes_too_long_leaves_no_process(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5."""
    before = descendants()
    monkeypatch.setattr(spawn, "CHILD_START_LIMIT", 0.0001)
    with pytest.raises(ConfigurationError, match=r"it took longer than 0\.0001 s|temporarily unavailable"):
        ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url)
    assert descendants() == before


def test_ctrl_c_while_the_application_is_imported_leaves_no_process(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C5."""
    before = descendants()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(spawn, "_introduce", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url)
    assert descendants() == before


def test_a_thread_that_cannot_be_started_leaves_no_process(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5."""
    before = descendants()

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    builder = ConsumerBuilder().register("work", jobs.work).processes(1)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ThreadStartFailed):
        builder.connect(server.url)
    assert descendants() == before


def test_a_server_that_cannot_be_reached_leaves_no_process(unused_tcp_url: str) -> None:
    """C5."""
    before = descendants()
    with pytest.raises(ConnectionError):
        ConsumerBuilder().register("work", jobs.work).processes(1).connect(unused_tcp_url)
    assert descendants() == before


@pytest.fixture
def unused_tcp_url() -> str:
    with Server() as server:
        return server.url


def test_a_fork_server_whose_worker_ends_while_it_imports_ends_at_once_and_silently(
    server: Server, tmp_path: Path
) -> None:
    """C6."""
    (tmp_path / "slow_jobs.py").write_text(
        "import os, time\n"
        "import faktory.isolation.threads as threads\n"
        "if threads.is_child:\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    os.rename('pid', 'importing')\n"
        "    time.sleep(60)\n"
        "def work(job): pass\n"
    )
    program = (
        "import slow_jobs\nfrom faktory import ConsumerBuilder\n"
        "ConsumerBuilder().register('work', slow_jobs.work).processes(1).connect()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(server), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    marker = tmp_path / "importing"
    until(marker.exists)
    pid = int(marker.read_text())
    worker.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, errors = worker.communicate(timeout=20)
    until(lambda: not is_alive(pid))
    assert time.monotonic() - killed < 2
    assert errors == ""
