"""An outcome that the server refuses is reported in the end; else it is said, counted and told by the exit code."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.aio import state as aio_state
from faktory.blocking import state as state
from faktory.core.run import running
from faktory.runtime.ticking import boottime, monotonic
from faktory.server import Server
from tests.contract.fronts import PATIENCE, Front
from tests.program import Program
from tests.waiting import until


@pytest.fixture
def quick() -> Iterator[Server]:
    """A server that tells soon that its queues are empty."""
    with Server(fetch_wait=0.05) as server:
        yield server


def work(job: Job) -> None:
    if job.args[0] % 2:
        raise ValueError("no good")


def builder() -> ConsumerBuilder:
    return ConsumerBuilder().register("work", work).workers(4)


def push(server: Server, count: int) -> None:
    with Client(server.url) as client:
        client.push_bulk(Job("work", [n], retry=3) for n in range(count))


def test_outcomes_that_are_refused_for_a_while_are_confirmed_in_the_end(
    front: Front, quick: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """J5: a proxy, or the server's storage, fails for a while; no job that ends in that time is given up."""
    push(quick, 40)
    faults = [quick.faults.refuse(command, times=None) for command in ("ACK", "FAIL")]

    def heal() -> None:
        until(lambda: all(fault.struck >= 30 for fault in faults))  # some twice
        quick.faults.clear()

    healing = threading.Thread(target=heal)
    healing.start()
    summary = front.drain(builder(), quick.url, ["default"])
    healing.join(20)
    assert (summary.succeeded, summary.failed, summary.unreported) == (20, 20, 0)
    assert (len(quick.working), len(quick.retries)) == (0, 20)
    assert "gave up" not in caplog.text
    assert caplog.text.count("the server refuses outcomes for now") == 1


def test_outcomes_that_are_refused_for_good_are_told_and_counted(
    front: Front, quick: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """J5."""
    push(quick, 4)
    quick.faults.refuse("ACK", text="invalid ACK of a later server", times=None)
    summary = front.drain(builder(), quick.url, ["default"])
    assert (summary.succeeded, summary.failed, summary.unreported) == (2, 2, 2)
    assert caplog.text.count("gave up reporting job") == 2


@pytest.mark.parametrize("is_single", [False, True], ids=["drain", "run_one"])
@pytest.mark.usefixtures("brief_wind_down")
def test_an_end_is_not_put_off_for_ever_by_outcomes_that_are_refused(
    front: Front, quick: Server, is_single: bool
) -> None:
    """J5: `shutdown_timeout` is their time, too."""
    push(quick, 1)
    quick.faults.refuse("ACK", times=None)
    started = time.monotonic()
    if is_single:
        assert front.run_one(builder().shutdown_timeout(0.3), quick.url, ["default"])
    else:
        assert front.drain(builder().shutdown_timeout(0.3), quick.url, ["default"]).unreported == 1
    assert 0.3 <= time.monotonic() - started < 5
    assert len(quick.working) == 1


@pytest.mark.parametrize("library", ["threads", "asyncio", "trio"])
@pytest.mark.slow
def test_the_exit_code_tells_of_outcomes_that_were_not_reported(quick: Server, library: str) -> None:
    """J5."""
    with Client(quick.url) as client:
        client.push(Job("nap", [0]))
    quick.faults.refuse("ACK", text="unknown command ACK")
    arguments = ["tests.programs.worker"] if library == "threads" else ["tests.programs.async_worker", library]
    with Program(*arguments, quick.url, "default") as worker:
        until(lambda: "gave up reporting job" in worker.errors)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 1, worker.errors
        assert "1 outcomes could not be reported" in worker.errors


def test_a_job_that_is_read_when_its_reservation_is_over_is_left_to_others(
    front: Front, quick: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """J17: the machine slept between FETCH and its answer; the server has handed the job out again."""
    ran: list[str] = []
    for module in (state, aio_state):
        monkeypatch.setattr(module, "boottime", lambda: boottime() + 70)
    with Client(quick.url) as client:
        jid = client.push(Job("work", [0], reserve_for=60, retry=3))
    builder = ConsumerBuilder().register("work", lambda job: ran.append(job.jid))
    assert front.run_one(builder, quick.url, ["default"])
    assert ran == []
    assert (quick.working.jids, len(quick.retries)) == ([jid], 0)
    assert "after its reservation had ended" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("brief_wind_down")
@pytest.mark.parametrize("is_over", [False, True], ids=["in-time", "late"])
def test_a_job_that_is_cut_off_is_failed_within_its_reservation_only(
    front: Front, quick: Server, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    """J17: after it the job may be another worker's, which a late FAIL would hit."""
    begun, gate = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        gate.wait(PATIENCE)  # nothing ends it

    with Client(quick.url) as client:
        jid = client.push(Job("work", reserve_for=60, retry=3))
    run = front.start(ConsumerBuilder().register("work", work).shutdown_timeout(0.05), quick.url, ["default"])
    assert begun.wait(PATIENCE)
    for module in (state, aio_state):
        monkeypatch.setattr(module, "boottime", lambda: boottime() + (70 if is_over else 50))
    run.consumer.terminate()
    assert run.wait() == 1
    gate.set()
    assert (quick.working.jids, len(quick.retries)) == (([jid], 0) if is_over else ([], 1))


def test_a_job_is_limited_by_its_reservation_which_is_told_once(
    front: Front, quick: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """J18: a limit of its own that is longer runs no job beside its copy."""
    left: list[float] = []

    def work(job: Job) -> None:
        run = running.get()
        assert run is not None
        left.append(run.deadline - monotonic())

    with Client(quick.url) as client:
        client.push_bulk(Job("work", reserve_for=60) for _ in range(3))
    summary = front.drain(ConsumerBuilder().register("work", work, timeout=3600), quick.url, ["default"])
    assert summary.succeeded == 3
    assert max(left) <= 40
    assert caplog.text.count("a time limit of 3600 s") == 1
