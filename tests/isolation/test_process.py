"""A worker process with children: signals, also to the whole group, its sudden death, and main files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faktory import Client, Job
from faktory.server import Server
from tests.isolation.conftest import is_alive
from tests.program import ROOT, Program
from tests.waiting import until

WORKER = "tests.programs.isolated"


def child_of(worker: Program, number: int = 0) -> int:
    return int([line for line in worker.lines if line.startswith("start")][number].split()[2])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def processor_time(pid: int) -> float:
    """Return how many seconds a process has used; 0 when it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_jobs(server: Server, worker: Program) -> None:
    until(lambda: "terminating" in worker.errors)
    server.clock.advance(2.1)  # the FETCH that waits


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("to_all", [False, True], ids=["worker", "group"])
def test_a_signal_lets_running_jobs_end(server: Server, client: Client, number: signal.Signals, to_all: bool) -> None:
    """P1: also when a terminal or a supervisor sends it to all processes."""
    client.push(Job("nap", [0.4]))
    with Program(WORKER, server.url, "default", group=True) as worker:
        worker.expect("start")
        if to_all:
            os.killpg(worker.pid, number)
            os.killpg(worker.pid, number)  # as a wrapper does, too: within a second it is the same one
            os.kill(child_of(worker), number)
        else:
            worker.signal(number)
        wait_for_jobs(server, worker)
        assert worker.wait() == 0, worker.errors
        assert worker.lines[-1] == "shutdown"
        assert len([line for line in worker.lines if line.startswith("done")]) == 1
    assert (len(server.working), len(server.retries)) == (0, 0)


def test_jobs_are_killed_at_the_deadline_and_the_process_ends_with_1(server: Server, client: Client) -> None:
    """P6, P7: with a child it is the job that is killed, and nothing of it goes on."""
    client.push(Job("stubborn", retry=5))
    with Program(WORKER, server.url, "default", "--timeout", 0.3) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        wait_for_jobs(server, worker)
        assert worker.wait() == 1, worker.errors
        assert not is_alive(child_of(worker))
        assert worker.lines[-1] == "shutdown"
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "JobCancelled"
    assert len(server.working) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_fork_server_waits_without_using_the_processor_while_a_job_is_cut_off(
    server: Server, client: Client
) -> None:
    """P6: the grace is 1.5 s."""
    client.push(Job("stubborn", retry=5))
    with Program(WORKER, server.url, "default", "--timeout", 0.1) as worker:
        worker.expect("start")
        fork_server = parent_of(child_of(worker))
        before = used = processor_time(fork_server)
        worker.signal(signal.SIGTERM)
        wait_for_jobs(server, worker)
        while is_alive(fork_server):
            used = max(used, processor_time(fork_server))
            time.sleep(0.02)
        assert worker.wait() == 1, worker.errors
    assert used - before < 0.2


def test_a_second_signal_kills_at_once(server: Server, client: Client) -> None:
    """P2."""
    client.push(Job("stubborn", retry=5))
    with Program(WORKER, server.url, "default") as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        time.sleep(1.1)  # another one within a second would be the same
        started = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 128 + signal.SIGTERM, worker.errors
        assert time.monotonic() - started < 2
        assert not is_alive(child_of(worker))
    assert len(server.retries) == 1


def test_children_end_within_a_second_of_their_parents_death(server: Server, client: Client) -> None:
    """P11."""
    client.push_bulk(Job("stubborn", retry=5) for _ in range(2))
    with Program(WORKER, server.url, "default") as worker:
        worker.expect("start", 2)
        children = [child_of(worker, 0), child_of(worker, 1)]
        worker.signal(signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: not any(map(is_alive, children)))
        assert time.monotonic() - killed < 1
        worker.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the worker sees to it, as soon as it can")
def test_children_end_with_a_fork_server_that_is_killed_though_the_worker_is_frozen(
    server: Server, client: Client
) -> None:
    """P11."""
    client.push_bulk(Job("stubborn", retry=5) for _ in range(2))
    with Program(WORKER, server.url, "default") as worker:
        worker.expect("start", 2)
        children = [child_of(worker, 0), child_of(worker, 1)]
        (fork_server,) = {parent_of(child) for child in children}
        assert fork_server != worker.pid
        worker.signal(signal.SIGSTOP)
        os.kill(fork_server, signal.SIGKILL)
        until(lambda: not any(map(is_alive, children)), 2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux leaves orphans to anybody but init")
def test_the_fork_server_reaps_what_a_job_leaves_behind(server: Server, client: Client) -> None:
    """In a container nobody else may do so, and the zombies would use up the numbers of processes."""
    client.push(Job("orphan"))
    with Program(WORKER, server.url, "default") as worker:
        worker.expect("start")
        child = child_of(worker)
        worker.expect("orphan")
        orphan = int(next(line for line in worker.lines if line.startswith("orphan")).split()[1])
        until(lambda: parent_of(orphan) == parent_of(child))
        os.kill(orphan, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{orphan}").exists())
        worker.signal(signal.SIGTERM)
        wait_for_jobs(server, worker)
        assert worker.wait() == 0, worker.errors


def test_stacks_are_dumped_with_the_childs(server: Server, client: Client) -> None:
    jid = client.push(Job("stubborn", retry=5))
    with Program(WORKER, server.url, "default", "--timeout", 0.1) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTTIN)
        until(lambda: f"writes its stacks to stderr, job {jid!r}" in worker.errors and "in stubborn" in worker.errors)
        worker.signal(signal.SIGTERM)
        wait_for_jobs(server, worker)
        assert worker.wait() == 1


def test_handlers_of_a_script_work(server: Server, client: Client) -> None:
    script = ROOT / "tests" / "programs" / "isolated.py"
    client.push(Job("nap", [0]))
    process = subprocess.Popen(
        [sys.executable, script, server.url, "default"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: not server.queue("default"))
    until(lambda: len(server.working) == 0)
    process.terminate()
    server.clock.advance(2.1)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "done" in out


def test_a_main_file_that_starts_its_consumer_when_imported_is_told_so(server: Server) -> None:
    with Program(WORKER, server.url, "default", "--unguarded") as worker:
        assert worker.wait() != 0
    assert 'put that part of it under `if __name__ == "__main__":`' in worker.errors


def test_handlers_of_a_session_without_a_file_are_refused(server: Server) -> None:
    program = (
        "from faktory import ConsumerBuilder\n"
        "def work(job): pass\n"
        f"ConsumerBuilder().register('work', work).processes(1).connect({server.url!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "is defined in a session without a file" in done.stderr


def test_a_module_that_fails_in_the_child_is_told_of(server: Server, tmp_path: Path) -> None:
    (tmp_path / "odd_jobs.py").write_text(
        "import faktory.isolation.threads as t\nif t.is_child: raise RuntimeError('not here')\ndef work(job): pass\n"
    )
    program = (
        "import odd_jobs\n"
        "from faktory import ConsumerBuilder\n"
        f"ConsumerBuilder().register('work', odd_jobs.work).processes(1).connect({server.url!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigurationError: a child process could not import the application" in done.stderr
    assert "RuntimeError: not here" in done.stderr


def test_what_the_main_file_adds_to_an_app_is_there_in_children(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shop_jobs.py").write_text(
        "from faktory import App, JobContext\n"
        "class Db: pass\n"
        "app = App()\n"
        "@app.job(needs=(Db,), retry=0)\n"
        "def needy(ctx: JobContext) -> None: print('got', type(ctx.get(Db)).__name__)\n"
    )
    (tmp_path / "shop_worker.py").write_text(
        "from shop_jobs import Db, app, needy\n"
        "app.manage(Db, Db)\n"
        "@app.use\n"
        "def around(ctx, call_next):\n"
        "    print('around')\n"
        "    return call_next()\n"
        "if __name__ == '__main__':\n"
        "    needy.enqueue()\n"
        "    with app.consumer().processes(1).connect() as consumer: consumer.run_one(['default'])\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "shop_worker.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "FAKTORY_URL": server.url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "around\ngot Db\n"


def test_an_exception_of_the_main_file_is_called_as_it_would_be_without_children(
    server: Server, client: Client
) -> None:
    client.push(Job("fail", retry=5))
    with Program(WORKER, server.url, "default") as worker:
        worker.expect("ready")
        until(lambda: server.retries)
        worker.signal(signal.SIGTERM)
        wait_for_jobs(server, worker)
        assert worker.wait() == 0
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.backtrace[-1] == "Boom: no luck"
    assert "\nBoom: in the log\n" in worker.errors
