"""`faktoryctl worker`: each pool, each end, what is said on a terminal and elsewhere."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
from types import SimpleNamespace

import pexpect
import pytest

from faktory import Client, Job
from faktory.cli import main
from faktory.server import Server
from tests.cli.conftest import ASYNC, Project, read_until

pytestmark = pytest.mark.slow


def push(server: Server, *jobs: Job) -> None:
    with Client(server.url) as client:
        for job in jobs:
            client.push(job)


def test_the_block_on_a_terminal_and_the_lines_of_jobs(project: Project) -> None:
    push(project.server, Job("add", [1, 2], jid="2389ab1c5555"), Job("boom", [], jid="bde639200000"))
    with project.terminal("worker", "app.py", "-t", "7") as child:
        child.expect("FAIL.*boom\r\n")
        told = child.before + child.after
        child.sendintr()
        child.expect(pexpect.EOF)
        told += child.before
    assert child.exitstatus == 0
    shown = re.sub(
        r"\d\d:\d\d:\d\d",
        "HH:MM:SS",
        told.replace("\r", "").replace("^C0", "0").replace("^C1", "1").replace("^C2", "2"),
    )
    shown = re.sub(r"\d+ ms|\d\.\d s", "N ms", re.sub(r"ready  [0-9a-f]{16}", "ready  WID", shown))
    lines = shown.splitlines()
    assert re.fullmatch(r"faktory-sdk \S+ · Python 3\.\d+\.\d+\S* · pid \d+", lines[0])
    assert lines[1] == f"  server  tcp://127.0.0.1:{project.server.port} (Faktory 1.10.0)"
    assert lines[2] == "  queues  default, slow (in this order)      pool  10 threads, 7 s to end"
    assert lines[3] == (
        "  jobs    add(a: int, b: int) · boom() · nap(seconds: float = 0.5) · "
        "welcome(to: Address, since: date | None = None)"
    )
    assert lines[4] == "  ^C ends gracefully, twice at once · TSTP quiet · TTIN stacks"
    rest = sorted(lines[5:])
    assert "HH:MM:SS ready  WID" in rest
    assert "1 + 2 = 3" in rest
    assert "HH:MM:SS ok     add 2389ab1c  N ms (waited N ms)" in rest
    assert "HH:MM:SS FAIL   boom bde63920 attempt 1 of 26, again in 15 to 44 s" in rest
    assert "                ValueError: no such cat   app.py:20 in boom" in rest
    assert "HH:MM:SS ending no job runs" in rest
    assert "HH:MM:SS ended  1 succeeded, 1 failed, 0 cut off" in rest
    assert len([line for line in rest if "WARNING" in line or "info" in line]) == 0


def test_the_lines_elsewhere_and_what_the_end_waits_for(project: Project) -> None:
    process = project.start("worker", "app", "--log-jobs", "always", "-q", "slow=2,default=1", "-c", "2")
    told = read_until(process, "working as")
    for fact in (
        "INFO faktory.cli: faktory-sdk ",
        f"INFO faktory.cli: server tcp://127.0.0.1:{project.server.port}\n",
        "INFO faktory.cli: queues slow 2, default 1 (weighted)\n",
        "INFO faktory.cli: pool 2 threads, 25 s to end\n",
        "INFO faktory.cli: jobs add(a: int, b: int), boom(), ",
    ):
        assert fact in told
    push(project.server, Job("nap", [0.3], queue="slow", jid="44c58ade9999"))
    read_until(process, "napping")
    process.send_signal(signal.SIGTERM)
    told = read_until(process, "ended: ")
    assert re.search(r"ending 1 job has 25 s to end: nap 44c58ade \(\d+ ms\)\n", told)
    assert "1 jobs succeeded" in told
    assert process.wait(10) == 0


@pytest.mark.parametrize("pool", ["threads", "processes", "asyncio", "trio"])
def test_each_pool_runs_jobs_and_ends_after_so_many(project: Project, pool: str) -> None:
    push(project.server, Job("add", [1, 2]))
    done = project.run(
        "worker", "app.py", "-P", pool, "-c", "1", "--max-jobs", "1", "--log-format", "json", "--log-jobs", "always"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 + 2 = 3\n"
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert any(re.match("ok add .* ms \\(waited", record["msg"]) for record in records)
    assert {record["level"] for record in records} == {"info"}
    (ran,) = (record for record in records if record["msg"].startswith("ok"))
    assert (ran["jobtype"], ran["queue"], ran["attempt"], ran["outcome"]) == ("add", "default", 1, "succeeded")
    assert ran["duration_s"] >= 0
    assert ran["wait_s"] >= 0
    assert any(record["msg"].startswith("ended: 1 jobs succeeded") for record in records)


def test_async_jobs_choose_asyncio_and_threads_refuse_them(project: Project) -> None:
    project.write("loops.py", ASYNC)
    push(project.server, Job("hello", ["you"]), Job("plain", []))
    done = project.run("worker", "loops", "--burst", "--log-jobs", "always")
    assert done.returncode == 0
    assert "hello you\n" in done.stdout
    assert "2 succeeded, 0 failed in " in done.stdout
    assert "pool 10 asyncio tasks" in done.stderr
    assert done.stderr.count("INFO faktory.jobs: ok ") == 2
    done = project.call("worker", "loops", "-P", "threads")
    assert done.returncode == 2
    assert "the handler of 'hello' is async, which threads cannot run" in done.stderr


def test_a_burst_prints_what_it_has_done(project: Project) -> None:
    push(project.server, Job("add", [1, 2]), Job("boom", []))
    done = project.run("worker", "app", "--burst", "--json", "--no-configure-logging")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == {"succeeded": 1, "failed": 1, "skipped": 0, "unreported": 0}


def test_check_prints_jobs_and_queues_and_asks_no_server(project: Project) -> None:
    done = project.run("worker", "app", "--check", FAKTORY_URL="tcp://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "jobs    add(a: int, b: int)\n        boom()\n        nap(seconds: float = 0.5)\n"
        "        welcome(to: Address, since: date | None = None)\n"
        "queues  default, slow (in this order)\npool    threads, 10 at a time\n"
    )
    done = project.call("worker", "app", "--check", "--json", "-P", "processes", "-c", "3")
    assert json.loads(done.stdout) == {
        "jobs": ["add", "boom", "nap", "welcome"], "queues": ["default", "slow"], "pool": "processes", "concurrency": 3
    }  # fmt: skip


def test_a_builder_keeps_its_own_settings(project: Project) -> None:
    builder = "from faktory import ConsumerBuilder\nbuilder = ConsumerBuilder().register('x', print)"
    project.write("built.py", f"{builder}.workers(3)\n")
    done = project.call("worker", "built", "--check")
    assert done.stdout == "jobs    x(job)\nqueues  default\npool    threads, 3 at a time\n"
    project.write("built.py", f"{builder}.processes(2)\n")
    assert project.call("worker", "built", "--check").stdout.endswith("pool    processes, 2 at a time\n")
    done = project.call("worker", "built", "--check", "-P", "threads")
    assert (done.returncode, "contradict" in done.stderr) == (2, True)
    done = project.call("worker", "app", "--max-rss-mb", "5")
    assert (done.returncode, "--max-rss-mb is for --pool processes" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("worker", "expected a TARGET, like shop.jobs:app or app.py"),
        ("worker a b", "expected one TARGET, got 2 words"),
        ("worker app -q a=1,b", "--queues: give all queues a weight or none"),
        ("worker app --max-jobs 0", "expected a number from 1 on, got 0"),
        ("worker app -c none", "--concurrency: invalid"),
        ("worker app -p 2 --wid 12345678", "--wid names one worker"),
        ("worker app -p 2 --reload", "--reload has one worker process"),
        ("worker app --reload-dir x", "--reload-dir is for --reload"),
        ("worker app --reload --reload-dir x", "--reload-dir: there is no folder 'x'"),
        ("worker app --url tcp://h --ca x", "--ca is for servers with TLS"),
        ("worker ap", "cannot import ap: No module named 'ap' (looked first in the current folder"),
        ("dev", "expected a TARGET, like app.py or shop.jobs:app"),
        ("dev app --port 70000", "expected a port from 0 to 65535"),
        ("dev app --url tcp://h", "there is no option --url"),
    ],
)
def test_calls_that_are_wrong_end_with_2_and_a_line(
    call: str, expected: str, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setenv("FAKTORY_URL", project.server.url)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert main(call.split()) == 2
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert expected in err


def test_a_target_that_fails_shows_the_users_frames_then_a_hint(project: Project) -> None:
    project.write("bad.py", "import nowhere_to_be_found\n")
    done = project.run("worker", "bad.py")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    assert lines[-1].endswith("cannot import bad.py: an error in it at bad.py:1, shown above")
    assert "importlib" not in done.stderr


def test_no_server_and_a_wrong_password_are_3_and_one_line(project: Project) -> None:
    done = project.run("worker", "app", FAKTORY_URL="tcp://127.0.0.1:1")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    with Server(password="right") as guarded:
        done = project.run("worker", "app", "--wait-server", "--url", guarded.url.replace("right", "wrong"))
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "wrong" not in done.stderr.replace("wrong password", "").replace("is wrong", "")


def test_wait_server_waits_and_term_ends_the_wait(project: Project) -> None:
    project.server.stop()
    process = project.start("worker", "app", "--wait-server", "--max-jobs", "1")
    read_until(process, "waiting for the server: ")
    project.server.start()
    push(project.server, Job("add", [1, 2]))
    read_until(process, "1 + 2 = 3")
    assert process.wait(10) == 0
    process = project.start("worker", "app", "--wait-server", FAKTORY_URL="tcp://127.0.0.1:1")
    read_until(process, "waiting for the server: ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143


def test_the_wait_for_a_server_is_told_once_and_ends_with_any_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.server.stop()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            project.server.start()
            project.server.faults.refuse("QUEUE")

    monkeypatch.setattr("faktory.cli.pools.time", SimpleNamespace(sleep=sleep))
    done = project.call("worker", "app", "--wait-server", "--burst")
    assert done.returncode == 0
    assert done.stderr.count("waiting for the server: ") == 1
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]


def test_ctrl_c_ends_a_burst(project: Project) -> None:
    project.write(
        "halting.py", "import _thread\nfrom app import app\n\n@app.job\ndef halt():\n    _thread.interrupt_main()\n"
    )
    push(project.server, Job("halt", []))
    done = project.call("worker", "halting", "--burst")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert not project.server.working


def test_a_pool_whose_library_is_missing_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)
    done = project.call("worker", "app", "-P", "trio")
    assert done.returncode == 2
    assert "--pool trio needs trio: pip install 'faktory-sdk[trio]'" in done.stderr


def test_the_project_and_its_environments_are_followed(project: Project) -> None:
    project.write(
        "pyproject.toml",
        '[tool.faktory]\napp = "app"\nconcurrency = 4\nqueues = ["a", "default", "slow"]\n'
        '[tool.faktory.env.production]\nconcurrency = "auto"\nmode = "foreground"\nqueues = {default = 3, slow = 1}\n',
    )
    done = project.call("worker", "--check")
    assert done.stdout.endswith("queues  a, default, slow (in this order)\npool    threads, 4 at a time\n")
    done = project.call("worker", "--check", "--env", "production", FAKTORY_WORKER_CONCURRENCY="6")
    assert done.stdout.endswith("queues  default 3, slow 1 (weighted)\npool    threads, 6 at a time\n")
    done = project.run("worker", "--burst", FAKTORY_ENV="production")
    assert "the mode is foreground: jobs run where they are pushed" in done.stderr
    project.write("pyproject.toml", "[tool.faktory]\nconcurency = 4\n")
    done = project.call("worker", "app", "--check")
    assert done.returncode == 2
    assert "pyproject.toml: [tool.faktory] has an unknown key 'concurency'; did you mean concurrency?" in done.stderr


def test_a_queue_that_nobody_fetches_is_warned_of_and_odd_modules_work(project: Project) -> None:
    project.write(
        "odd.py",
        "import logging, threading\nlogging.basicConfig(level=logging.DEBUG)\nprint('imported')\n"
        "from app import app\nthreading.Thread(target=threading.Event().wait, args=(0.5,), name='mine').start()\n",
    )
    done = project.run("worker", "odd", "--burst", "-q", "default")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "imported")
    assert "this worker does not fetch from queues that its app's jobs go to" in done.stderr
    assert "slow, with 'nap'" in done.stderr
    assert "DEBUG" not in done.stderr


def test_term_ends_a_burst_gracefully(project: Project) -> None:
    push(project.server, Job("nap", [0.3], queue="slow"))
    process = project.start("worker", "app", "--burst")
    read_until(process, "napping")
    process.send_signal(signal.SIGTERM)
    read_until(process, "ended: 1 jobs succeeded")
    assert process.wait(10) == 143
