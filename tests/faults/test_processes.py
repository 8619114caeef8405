"""Section 2.6 of the faults: processes, threads, signals. tests/contract/test_process.py has the plain cases."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from datetime import UTC, datetime
from itertools import cycle

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Clock, Server
from tests.program import Program
from tests.share import share_of
from tests.waiting import until

WORKER = "tests.programs.worker"
TERMS = int(os.environ.get("FAKTORY_TEST_TERMS", 4 * share_of(4)))
FORKS = int(os.environ.get("FAKTORY_TEST_FORKS", share_of(40)))


def test_t9_a_term_at_any_moment_leaves_nothing_reserved(server: Server, client: Client) -> None:
    """T9, P1, P5: at random instants of start, fetch, run and report; the exit is within the grace and 3 s."""
    chance = random.Random(9)
    batch = 4
    for _ in range(TERMS // batch):
        client.push_bulk(Job("nap", [chance.random() * 0.02], queue="storm", retry=5) for _ in range(40))
        workers = [Program(WORKER, server.url, "storm", "--workers", 3, "--timeout", 5) for _ in range(batch)]
        for worker in workers:
            worker.expect("ready")
        hurry = threading.Timer(1.0, server.clock.advance, [2.1])
        try:
            for worker in workers:
                time.sleep(chance.random() * 0.05)
                worker.signal(signal.SIGTERM)
            hurry.start()
            started = time.monotonic()
            for worker in workers:
                code = worker.wait()
                # Before its signal handlers are in place, a process dies of the signal itself.
                assert code in (0, -signal.SIGTERM), worker.errors
            assert time.monotonic() - started < 5 + 3
        finally:
            hurry.cancel()
            for worker in workers:
                worker.__exit__()
        wids = {worker.wid for worker in server.workers}
        assert not wids
        assert server.working.jids == []
    done = len(server.retries) + len(server.queue("storm"))
    assert done <= 40 * (TERMS // batch)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_t12_forks_in_handlers_and_producers_disturb_nothing(server: Server, client: Client) -> None:
    """T12, W7, P8: the children close what they inherited; the parent's conversations go on undisturbed."""

    def fork(job: Job) -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    for _ in range(FORKS):
        client.push(Job("fork", queue="forks", retry=0))
        pid = os.fork()
        if pid == 0:
            os._exit(0 if client.info()["server"]["connections"] == 2 else 1)  # one of its own, beside ours
        assert os.waitpid(pid, 0)[1] == 0
    builder = ConsumerBuilder().register("fork", fork).workers(3)
    with builder.connect(server.url) as consumer:
        summary = consumer.drain(["forks"])
    assert (summary.succeeded, summary.failed) == (FORKS, 0)
    for n in range(200):
        assert client.queue_latency("nothing") == {"nothing": 0}, n
    assert len(server.working) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_w7_the_worker_is_gone_with_its_process_and_not_with_its_children(server: Server) -> None:
    """W7: a child that lives on holds no socket of the parent's."""
    consumer = ConsumerBuilder().register("work", print).connect(server.url)
    assert len(server.workers) == 1
    leaving, left = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(leaving, 1)
        os._exit(0)
    consumer.close()
    until(lambda: server.workers == [])
    os.write(left, b"x")
    os.waitpid(pid, 0)
    os.close(leaving)
    os.close(left)


def test_t13_many_threads_and_a_small_pool_mix_nothing_up(server: Server) -> None:
    """T13: each push is stored once, each reply goes to its caller."""
    threads, each = 64, int(os.environ.get("FAKTORY_TEST_PUSHES", "30"))
    pushed: list[str] = []
    with Client(server.url, pool_size=8) as client:

        def push() -> None:
            pushed.extend([client.push(Job("work")) for _ in range(each)])

        running = [threading.Thread(target=push) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert client.info()["server"]["connections"] <= 8
    stored = server.queue("default").jids
    assert len(stored) == threads * each
    assert set(stored) == set(pushed)


@pytest.mark.usefixtures("brief_wind_down")
def test_p14_reports_flow_while_draining(server: Server, client: Client) -> None:
    """P14: a short job that ends in the drain is acknowledged in the drain; the long one is failed at its end."""
    client.push(Job("nap", [0.3], queue="drain", retry=5))
    client.push(Job("stubborn", [60], queue="drain", retry=5))
    with Program(WORKER, server.url, "drain", "--workers", 2, "--timeout", 1.5) as worker:
        worker.expect("start", 2)
        worker.signal(signal.SIGTERM)
        until(lambda: len(server.working) == 1, 1.3)
        assert worker.wait() == 1
    assert [job.jobtype for job in server.retries] == ["stubborn"]
    assert len(server.working) == 0


def test_j15_deadlines_do_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """J15: every timer is monotonic; a jump of the wall clock changes nothing."""
    jumps = cycle([1e9, -1e9])
    ran: list[str] = []
    # The server in this process has a clock of its own: by the other it would find the worker silent for years.
    with Server(clock=Clock(datetime(2026, 11, 26, tzinfo=UTC)), fetch_wait=0.01) as server:
        with Client(server.url) as client, monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: next(jumps))
            consumer = ConsumerBuilder().register("work", lambda job: ran.append(job.jid)).connect(server.url)
            jid = client.push(Job("work"))
            assert consumer.run_one(["default"])
        consumer.close()
        assert ran == [jid]
        assert len(server.working) == 0


def test_j12_a_paused_queue_is_an_empty_one(server: Server, client: Client) -> None:
    """J12: the others are still served."""
    client.push(Job("work", ["paused"], queue="paused"))
    client.push(Job("work", ["open"], queue="open"))
    client.pause_queues("paused")
    ran: list[str] = []
    with ConsumerBuilder().register("work", lambda job: ran.append(job.args[0])).connect(server.url) as consumer:
        assert consumer.drain(["paused", "open"]).total == 1
        client.resume_queues("paused")
        assert consumer.run_one(["paused", "open"])
    assert ran == ["open", "paused"]


def test_j8_j9_a_job_that_comes_twice_runs_twice_and_tells_so(server: Server, client: Client) -> None:
    """J8, J9: a duplicate is possible; the handler sees the jid, the attempt and the last error."""
    job = Job("work", jid="twice-012345", retry=3)
    client.push(job)
    client.push(job)
    seen: list[tuple[str, int]] = []
    with ConsumerBuilder().register("work", lambda job: seen.append((job.jid, job.attempt))).connect(server.url) as own:
        own.drain(["default"])
    assert seen == [("twice-012345", 1)] * 2
    assert len(server.working) == 0


def test_j7_a_second_delivery_names_the_expired_reservation(server: Server, client: Client) -> None:
    """J7, W2 of section 3: what a handler can see after its worker died."""
    from faktory.blocking.connection import Connection
    from faktory.commands import Fetch

    client.push(Job("work", retry=3, reserve_for=60))
    with Connection(server.url) as dead:
        dead.call(Fetch(["default"]))
    server.clock.advance(61)
    server.clock.advance(60)
    seen: list[Job] = []
    with ConsumerBuilder().register("work", seen.append).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
    (job,) = seen
    assert job.attempt == 2
    assert job.failure is not None
    assert job.failure.errtype == "ReservationExpired"


def test_j16_a_worker_holds_no_job_that_it_does_not_run(server: Server, client: Client) -> None:
    """J16: nothing is fetched ahead."""
    go_on = threading.Event()
    client.push_bulk(Job("work") for _ in range(20))
    consumer = ConsumerBuilder().register("work", lambda job: go_on.wait(20)).workers(3).connect(server.url)
    thread = threading.Thread(target=consumer.run, args=[["default"]])
    thread.start()
    until(lambda: len(server.working) == 3)
    time.sleep(0.05)
    assert (len(server.working), len(server.queue("default"))) == (3, 17)
    consumer.terminate()
    go_on.set()
    thread.join(20)
    consumer.close()
    assert len(server.working) == 0


def test_a_killed_idle_worker_of_twenty_threads_takes_one_job_with_it(server: Server, client: Client) -> None:
    """Fact 3: each FETCH that waits costs a job when its client dies, so only one waits."""
    with Program(WORKER, server.url, "idle", "--workers", 20) as worker:
        worker.expect("ready")
        until(lambda: server.waiting == 1)
        worker.signal(signal.SIGKILL)
        worker.wait()
        client.push_bulk(Job("nap", queue="idle") for _ in range(20))
        assert len(server.working) <= 1
        assert len(server.queue("idle")) >= 19
