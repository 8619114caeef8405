"""The end of a child's job from outside: it is told in time, then interrupted, then killed, and fails with one text."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from faktory import Client, Consumer, ConsumerBuilder, Failure, Job
from faktory.isolation import fork_client as parent
from faktory.isolation.fork_server import cut_off_plan
from faktory.isolation.frames import CUT_OFF_SIGNAL, DUMP, SOFT_LIMIT, pauses
from faktory.server import Server
from tests.isolation import jobs
from tests.isolation.conftest import Journal, is_alive
from tests.loops import LOOPS, Loop
from tests.waiting import until

TEXT = "the worker had to stop before the job was done"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(seed=7, fetch_wait=0.05) as server:
        yield server


def terminate_while(
    loop: Loop | None, server: Server, journal: Journal, handler: Callable[[Job], None], shutdown_timeout: float
) -> None:
    """Run a job, terminate once it has begun, and wait for the end."""
    builder = ConsumerBuilder().register("job", handler).on_failure(jobs.tell_failure).processes(1)
    builder.shutdown_timeout(shutdown_timeout)
    if loop is None:
        with builder.connect(server.url) as consumer:

            def end(consumer: Consumer = consumer) -> None:
                until(lambda: journal.lines("start"))
                consumer.terminate()

            thread = threading.Thread(target=end)
            thread.start()
            assert consumer.run(["default"]) == 0
            thread.join()
        return

    async def main() -> None:
        async with await loop.connect(builder, server.url) as consumer:

            async def end() -> None:
                await loop.until(lambda: journal.lines("start"))
                consumer.terminate()

            async def run() -> None:
                assert await consumer.run(["default"]) == 0

            await loop.all(run, end)

    loop.run(main)


def failure_of(server: Server, jid: str) -> Failure:
    (job,) = [job for job in server.retries if job.jid == jid]
    assert job.failure is not None
    return job.failure


@pytest.fixture(params=[None, *LOOPS], ids=lambda loop: "threads" if loop is None else loop.name)
def loop(request: pytest.FixtureRequest) -> Loop | None:
    found: Loop | None = request.param
    return found


def test_a_job_learns_in_time_that_its_worker_is_ending(
    loop: Loop | None, server: Server, client: Client, journal: Journal
) -> None:
    """C7."""
    client.push(Job("job", [journal.path], retry=3))
    terminate_while(loop, server, journal, jobs.wait_for_the_end, 20)
    assert journal.words("saw-stopping") == [["False"]]
    assert (len(server.retries), len(server.working)) == (0, 0)


def test_a_job_that_looks_each_50_ms_sees_that_it_is_cut_off(
    loop: Loop | None, server: Server, client: Client, journal: Journal
) -> None:
    """C7: it is failed all the same, and told of like the others."""
    jid = client.push(Job("job", [journal.path], retry=3))
    terminate_while(loop, server, journal, jobs.poll_slowly, 0.1)
    assert journal.lines("saw-cancelled")
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobCancelled", TEXT)
    assert (journal.words("failure")[0][1], journal.lines("text")) == ("JobCancelled", [f"text {TEXT}"])


def test_a_job_that_is_cut_off_cleans_up(
    loop: Loop | None, server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C7: its failure says where it was. Only a second signal is in a hurry."""
    monkeypatch.setattr(parent, "CUT_OFF_HURRY", 0.1)
    jid = client.push(Job("job", [journal.path], retry=3))
    terminate_while(loop, server, journal, jobs.clean_up, 0.1)
    assert journal.words("cleaned") == [["True"]]
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobCancelled", TEXT)
    assert "in clean_up" in failure.backtrace[0]


def test_a_job_that_raises_something_else_when_cut_off_is_called_cut_off(
    server: Server, client: Client, journal: Journal
) -> None:
    """C7."""
    jid = client.push(Job("job", [journal.path], retry=3))
    terminate_while(None, server, journal, jobs.raise_another, 0.1)
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobCancelled", TEXT)
    assert any("OddError: in the cleaning up" in line for line in failure.backtrace)


@pytest.mark.parametrize("handler", [jobs.stubborn_for_ever, jobs.hold_in_c_for_ever])
def test_a_job_that_goes_on_is_killed_and_told_of(
    loop: Loop | None,
    server: Server,
    client: Client,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    handler: Callable[[Job], None],
) -> None:
    """C7, P6, P7: by the worker then, with the same text and the last stack."""
    monkeypatch.setattr(parent, "CUT_OFF_GRACE", 0.7)
    jid = client.push(Job("job", [journal.path], retry=3))
    terminate_while(loop, server, journal, handler, 0.1)
    ((_, pid),) = journal.words("start")
    assert not is_alive(int(pid))
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobCancelled", TEXT)
    assert any(f"in {handler.__name__}" in line for line in failure.backtrace)
    assert journal.words("failure") == [[jid, "JobCancelled", str(os.getpid())]]
    assert journal.lines("text") == [f"text {TEXT}"]


def test_a_limit_that_is_swallowed_counts_as_failed(server: Server, client: Client, journal: Journal) -> None:
    """C8."""
    jid = client.push(Job("swallow", retry=3))
    builder = ConsumerBuilder().register("swallow", jobs.swallow, timeout=0.1).on_failure(jobs.tell_failure)
    with builder.processes(1).connect(server.url) as consumer:
        summary = consumer.drain(["default"])
    assert (summary.succeeded, summary.failed) == (0, 1)
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobTimeout", "the job ran past its time limit of 0.1 s")
    assert len(journal.lines("failure")) == 1


def test_a_child_that_is_cut_off_is_told_then_interrupted_then_killed() -> None:
    plan = cut_off_plan(7, 100.0, 1.5)
    assert plan[0] == (100.0, 7, CUT_OFF_SIGNAL)
    assert plan[-2:] == [(pytest.approx(101.3), 7, DUMP), (101.5, 7, signal.SIGKILL)]
    moments = [moment for moment, _, signum in plan if signum == SOFT_LIMIT]
    assert moments[:3] == pytest.approx([100.15, 100.16, 100.173])
    assert 100.8 < moments[-1] < 101.3
    assert len(moments) == 14


@pytest.mark.parametrize("total", [2.0, 0.3, 0.05, 0.01])
def test_pauses_grow_and_add_up(total: float) -> None:
    found = pauses(total)
    assert sum(found) == pytest.approx(total)
    assert sorted(found[:-1]) == found[:-1]
