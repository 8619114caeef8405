"""Never alive but not consuming: health, the watchdog, and the interpreter's end."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.core.standing import Health
from faktory.options import ConsumerOptions
from faktory.server import Server
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront
from tests.program import Program
from tests.running import InThread, Persistent, end
from tests.share import share_of
from tests.waiting import until


def test_health_tells_how_a_consumer_is(server: Server, client: Client) -> None:
    """P13."""
    go_on = threading.Event()
    consumer = (
        ConsumerBuilder()
        .register("work", lambda job: go_on.wait(20))
        .workers(2)
        .heartbeat_interval(0.05)
        .connect(server.url)
    )
    health = consumer.health()
    assert (health.state, health.is_ready, health.busy, health.workers) == ("running", False, 0, 2)
    assert (health.last_fetch_age, health.last_report_age) == (None, None)
    run = InThread(consumer)
    until(lambda: consumer.health().is_ready)
    client.push(Job("work"))
    until(lambda: consumer.health().busy == 1)
    client.push(Job("work"))
    until(lambda: consumer.health().busy == 2)
    assert consumer.health().is_ready
    go_on.set()
    until(lambda: consumer.health().busy == 0 and consumer.health().unreported == 0)
    health = consumer.health()
    assert health.last_report_age is not None
    assert health.last_report_age < 5
    assert health.last_fetch_age is not None
    assert health.last_fetch_age < 5
    assert health.last_beat_age is not None
    consumer.quiet()
    assert not consumer.health().is_ready
    end(server, run)
    assert (consumer.health().state, consumer.health().is_ready) == ("terminated", False)


def test_health_is_not_ready_in_an_outage(server: Server) -> None:
    """P13, N1."""
    run = Persistent(server)
    until(lambda: run.consumer.health().is_ready)
    server.kill()
    until(lambda: not run.consumer.health().is_ready)
    assert run.consumer.health().reconnects >= 1
    server.start()
    until(lambda: run.consumer.health().is_ready)
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


class Watched(ConsumerBuilder):
    """A builder whose consumers have less patience with a FETCH."""

    def _options(self, processes: int | None) -> ConsumerOptions:
        return replace(super()._options(processes), fetch_watch=0.5)


@pytest.mark.slow
def test_a_fetch_that_hangs_is_cut_and_sent_anew(caplog: pytest.LogCaptureFixture) -> None:
    """P13: cut well before the time limit of its connection, which nothing but the watch could do."""
    with Server(fetch_wait=0.05) as server, Client(server.url) as client:
        server.faults.delay("FETCH", seconds=8)  # shorter than the time limit of a reply
        started = time.monotonic()
        run = Persistent(server, workers=2, builder=Watched().heartbeat_interval(0.1))
        until(lambda: "a FETCH was not answered" in caplog.text)
        client.push(Job("work"))
        until(lambda: run.done)
        assert time.monotonic() - started < 6
        assert caplog.text.count("cutting its connection") == 1
        run.consumer.terminate()
        run.join()


FRONTS = pytest.mark.parametrize(
    "front", [ThreadFront(), AsyncioFront(), TrioFront()], ids=["threads", "asyncio", "trio"]
)


@FRONTS
@pytest.mark.slow
def test_no_healthy_fetch_is_cut_after_jobs_longer_than_the_watch(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """P13: jobs of just over the limit, at all phases of the beats; what counts is when the FETCH was sent."""
    caplog.set_level("WARNING")
    done: list[int] = []
    with Server(fetch_wait=0.1) as server, Client(server.url) as client:

        def drain(queue: str) -> None:
            builder = Watched().register("work", lambda job: time.sleep(job.args[0])).heartbeat_interval(0.07)
            done.append(front.drain(builder, server.url, [queue]).succeeded)

        queues = [f"queue-{number}" for number in range(share_of(40))]
        for number, queue in enumerate(queues):
            client.push_bulk(Job("work", [0.5 + number / 10 / len(queues)], queue=queue) for _ in range(5))
        runs = [threading.Thread(target=drain, args=(queue,)) for queue in queues]
        for run in runs:
            run.start()
        for run in runs:
            run.join(60)
        assert done == [5] * len(queues)
        assert len(server.working) == 0
    assert "FETCH" not in caplog.text


@FRONTS
def test_a_consumer_is_ready_all_the_while_after_a_job_longer_than_the_watch(front: Front) -> None:
    """P13: its FETCH waits at an empty queue, and the last one was answered long ago."""
    with Server() as server, Client(server.url) as client:
        builder = Watched().register("work", lambda job: time.sleep(job.args[0])).heartbeat_interval(0.07)
        client.push(Job("work", [0.6]))
        run = front.start(builder, server.url, ["default"])
        until(lambda: run.consumer.health().busy == 1)
        seen: list[Health] = []
        until(lambda: seen.append(run.consumer.health()) or (server.waiting == 1 and len(server.working) == 0))  # type: ignore[func-returns-value]
        seen.append(run.consumer.health())
        assert [health for health in seen if not health.is_ready] == []
        assert (seen[-1].last_fetch_age or 0) > 0.5
        run.consumer.terminate()
        server.clock.advance(2.1)
        run.wait()


def test_parked_workers_that_nobody_wakes_are_woken(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """P13: what a lost wake-up would look like."""
    run = Persistent(server, workers=2, builder=Watched().heartbeat_interval(0.1))
    until(lambda: server.waiting == 1)
    state = run.consumer._state
    with state.lock:
        other: Any = object()
        state.fetches._idle = {other: 0.0}  # one that does not exist
    server.clock.advance(2.1)
    until(lambda: server.waiting == 0)
    assert not run.consumer.health().is_ready or run.consumer.health().last_fetch_age < 0.5  # type: ignore[operator]
    until(lambda: server.waiting == 1)
    assert "no worker has sent a FETCH" in caplog.text
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_p12_the_interpreters_end_waits_for_running_jobs(server: Server, client: Client) -> None:
    """P12: a consumer in a daemon thread, and the main thread is done."""
    client.push(Job("nap", retry=3))
    with Program("tests.programs.daemon", server.url, "default") as program:
        program.expect("done")
        server.clock.advance(2.1)
        assert program.wait() == 0
        assert program.errors == ""
    assert len(server.working) == 0
    assert len(server.retries) == 0
