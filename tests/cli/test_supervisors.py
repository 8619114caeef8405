"""`worker -p N`, `worker --reload` and `dev`, as processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

import pexpect
import pytest

from faktory import Client, Job
from faktory.server import Server
from tests.cli.conftest import Project, read_until
from tests.waiting import until

pytestmark = pytest.mark.slow


def pids(server: Server) -> set[int]:
    return {worker.pid for worker in server.workers if worker.connections}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_so_many_workers_work_come_back_and_end_together(project: Project) -> None:
    process = project.start("worker", "app", "-p", "2", "-c", "1")
    read_until(process, "working as")
    read_until(process, "working as")
    first = pids(project.server)
    assert len(first) == 2
    dead = first.pop()
    os.kill(dead, signal.SIGKILL)
    told = read_until(process, "the next one starts in 1 s")
    assert f"the worker {dead} was killed by SIGKILL" in told
    read_until(process, "working as")
    workers = pids(project.server)
    process.send_signal(signal.SIGTERM)
    read_until(process, "ended: ")
    assert process.wait(10) == 0
    assert not [pid for pid in workers if pid != dead and is_alive(pid)]


def test_signals_are_passed_on_and_a_second_one_ends_at_once(project: Project) -> None:
    process = project.start("worker", "app", "-p", "2", "-c", "1")
    read_until(process, "working as")
    read_until(process, "working as")
    with Client(project.server.url) as client:
        client.push(Job("nap", [30], queue="slow"))
    read_until(process, "napping")
    process.send_signal(signal.SIGTTIN)
    read_until(process, "stack of thread ")
    process.send_signal(signal.SIGTERM)
    read_until(process, "ending 1 job has 25 s to end: nap ")
    time.sleep(1.1)  # the time after which another signal counts
    process.send_signal(signal.SIGTERM)
    read_until(process, "cut off 1 jobs")
    assert process.wait(10) == 143


def test_no_worker_outlives_a_supervisor_that_is_killed(project: Project) -> None:
    process = project.start("worker", "app", "-p", "2", "-c", "1")
    read_until(process, "working as")
    read_until(process, "working as")
    workers = pids(project.server)
    process.kill()
    until(lambda: not any(map(is_alive, workers)))


def test_a_supervisor_gives_up_when_its_workers_cannot_start(project: Project) -> None:
    done = project.run("worker", "nothing", "-p", "2")
    assert done.returncode == 2
    assert "No module named 'nothing'" in done.stderr
    assert project.run("worker", "app", "-p", "2", FAKTORY_URL="tcp://127.0.0.1:1").returncode == 3
    done = project.run("worker", "app", "-p", "2", "--burst")
    assert (done.returncode, done.stdout.count("0 succeeded, 0 failed in")) == (0, 2)


def test_a_reload_follows_the_code_and_survives_errors(project: Project) -> None:
    project.write("inner.py", "WORD = 'one'\n")
    project.write(
        "work.py",
        "from faktory import App\nfrom inner import WORD\napp = App()\n\n@app.job\ndef say() -> None:\n"
        "    print('said', WORD, flush=True)\n",
    )
    process = project.start("worker", "work", "--reload")
    read_until(process, "working as")

    def says(word: str) -> None:
        with Client(project.server.url) as client:
            client.push(Job("say"))
        read_until(process, f"said {word}")

    says("one")
    project.write("inner.py", "WORD = (\n")
    told = read_until(process, "it does not compile; the old worker goes on")
    assert "SyntaxError" in told
    says("one")
    project.write("inner.py", "WORD = 'three'\n")
    read_until(process, "changed: inner.py: starting anew")
    read_until(process, "working as")
    says("three")
    project.write("inner.py", "WORD = 'four'\nimport nowhere\n")
    told = read_until(process, "the next one starts when the code changes")
    assert told.count("No module named 'nowhere'") == 1
    project.write("inner.py", "WORD = 'fifth'\n")
    read_until(process, "working as")
    says("fifth")
    process.send_signal(signal.SIGINT)
    read_until(process, "ended: ")
    assert process.wait(10) == 0


def test_each_way_of_saving_reloads_and_a_touch_does_not(project: Project) -> None:
    for name in ("shop/__init__.py", "shop/jobs.py", "other.py", "gone.py"):
        project.write(name, "x = 1\n")
    process = project.start("worker", "app", "--reload", "-c", "1")
    read_until(process, "working as")

    def saves(*names: str) -> None:
        assert read_until(process, "starting anew").splitlines()[-1] == f"changed: {', '.join(names)}: starting anew"
        read_until(process, "working as")

    os.utime(project.folder / "shop/jobs.py")  # touched: no line names it
    project.write("brand_new.py", "x = 1\n")
    (project.folder / "gone.py").unlink()
    saves("brand_new.py", "gone.py")
    os.utime(project.folder / "shop/jobs.py")
    project.write("other.py.new", "x = 22\n").rename(project.folder / "other.py")
    project.write("shop/__init__.py", "x = 333\n")
    saves("other.py", "shop/__init__.py")
    process.send_signal(signal.SIGINT)
    read_until(process, "ended: ")
    assert process.wait(10) == 0


def test_a_job_that_ends_in_time_is_not_cut_off_by_a_reload(project: Project) -> None:
    process = project.start("worker", "app", "--reload", "-q", "slow")
    read_until(process, "working as")
    with Client(project.server.url) as client:
        client.push(Job("nap", [1.5], queue="slow"))
    read_until(process, "napping")
    project.write("new.py", "x = 1\n")
    read_until(process, "starting anew")
    read_until(process, "ended: 1 jobs succeeded, 0 failed")
    read_until(process, "working as")
    assert (len(project.server.retries), project.server.queues.get("slow", 0)) == (0, 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.mark.parametrize("state", ["starting", "broken", "backing off", "draining"])
def test_ctrl_c_ends_a_reload_in_each_state(project: Project, state: str) -> None:
    text = {
        "starting": "print('importing', flush=True)\nimport time\ntime.sleep(30)\n",
        "broken": "import nowhere\n",
        "backing off": "import os\nos._exit(1)\n",
        "draining": "from app import app\n",
    }
    project.write("state.py", text[state])
    process = project.start("worker", "state", "--reload", "-t", "5")
    if state == "draining":
        read_until(process, "working as")
        with Client(project.server.url) as client:
            client.push(Job("nap", [1.5], queue="slow"))
        read_until(process, "napping")
        project.write("new.py", "x = 1\n")
        read_until(process, "ending 1 job")
    else:
        words = {"starting": "importing", "broken": "when the code changes", "backing off": "the next one starts in"}
        read_until(process, words[state])
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stdout is not None
    assert "Traceback" not in process.stdout.read()
    until(lambda: not pids(project.server))


def test_a_job_that_runs_long_is_cut_off_by_a_reload(project: Project) -> None:
    process = project.start("worker", "app", "--reload", "-q", "slow")
    read_until(process, "working as")
    with Client(project.server.url) as client:
        client.push(Job("nap", [20], queue="slow"))
    read_until(process, "napping")
    project.write("new.py", "x = 1\n")
    began = time.monotonic()
    read_until(process, "cut off 1 jobs")
    read_until(process, "working as")
    assert time.monotonic() - began < 12
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_dev_serves_works_and_says_what_to_type(project: Project) -> None:
    with project.terminal("dev", "app.py", "--port", "0") as child:
        child.expect(r"Faktory server in memory: (tcp://localhost:\d+); nothing is stored")
        url = child.match.group(1)
        child.expect(r"  try     (.*) push --url (.*) add 1 2\r\n")
        assert child.match.group(2) == url
        child.expect("ready")
        assert project.run("push", "--url", url, "add", "1", "2").returncode == 0
        child.expect(re.escape("1 + 2 = 3"))
        project.write("other.py", "x = 1\n")
        child.expect("changed: other.py: starting anew")
        child.expect("ready")
        child.sendintr()
        child.expect(pexpect.EOF)
        assert "faktory-sdk" not in child.before  # the block is shown once
    assert child.exitstatus == 0


def test_dev_uses_the_faktory_that_is_there_and_nothing_else(project: Project) -> None:
    port = str(project.server.port)
    process = project.start("dev", "app", FAKTORY_DEV_PORT=port)
    told = read_until(process, "working as")
    assert f"using the Faktory that is there already: tcp://localhost:{port}" in told
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.listen()
        number = other.getsockname()[1]
        process = project.start("dev", "app", "--port", str(number))
        connection, _ = other.accept()
        connection.sendall(b"SSH-2.0\r\n")
        connection.close()
        told = read_until(process, "--port 0 takes a free one")
        assert process.wait(10) == 3
    with Server(password="secret") as guarded:
        done = project.run("dev", "app", "--port", str(guarded.port))
    assert (done.returncode, "wants a password" in done.stderr) == (3, True)
