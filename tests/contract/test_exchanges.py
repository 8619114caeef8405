"""What each front end says to the server: how many commands, in which writes, on how many connections, and when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job, ServerError
from faktory.server import Server
from tests.contract.conftest import Backend
from tests.contract.fronts import PATIENCE, Front, Running, ThreadFront
from tests.recording import Exchange, Recording

AT_ONCE = 3.0
"""Seconds: far less than a beat (15 s), which would repair what is forgotten, and enough for a busy machine."""


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


@pytest.fixture
def fetch_wait() -> float:
    """As long as at the real server: what must not wait for it is seen."""
    return 2.0


@pytest.fixture
def recording(backend: Backend) -> Iterator[Recording]:
    with Recording(port_of(backend.url)) as recording:
        yield recording


@pytest.fixture
def embedded() -> Iterator[Server]:
    with Server(seed=5, fetch_wait=0.05) as server:
        yield server


@pytest.fixture
def said(embedded: Server) -> Iterator[Recording]:
    """A recording before an embedded server that answers an empty FETCH soon."""
    with Recording(port_of(embedded.url)) as recording:
        yield recording


def fill(backend: Backend, count: int) -> list[str]:
    jobs = [Job("work", [n], queue=backend.queue) for n in range(count)]
    assert backend.client.push_bulk(jobs) == {}
    return [job.jid for job in jobs]


def jids_of(recording: Recording, verb: str) -> Counter[str]:
    return Counter(each.payload.decode().split('"')[3] for each in recording.exchanges(verb))


def nothing(job: Job) -> None:
    pass


def finish(run: Running, backend: Backend) -> None:
    """Terminate a run without the 2 s of its FETCHes: as many may wait as there are workers, or be on their way."""
    is_over = threading.Event()

    def hurry() -> None:
        while not is_over.wait(0.02):
            backend.hurry()

    run.consumer.terminate()
    hurrying = threading.Thread(target=hurry)
    hurrying.start()
    try:
        assert run.wait() == 0
    finally:
        is_over.set()
        hurrying.join()


# -- how many, and together -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fetch_wait", [0.1], ids=[""])
def test_one_worker_reports_and_fetches_in_one_write(front: Front, backend: Backend, recording: Recording) -> None:
    fill(backend, 12)
    summary = front.drain(ConsumerBuilder().register("work", nothing), recording.url, [backend.queue])
    assert summary.succeeded == 12
    assert recording.writes("FETCH", "ACK") == [("FETCH",), *[("ACK", "FETCH")] * 12]
    assert len(recording.connections("FETCH", "ACK")) == 1
    assert recording.count("HELLO") == 2  # its own, and the heartbeat's


@pytest.mark.parametrize("fetch_wait", [0.1], ids=[""])
def test_drain_sends_no_fetch_more_than_needed(front: Front, backend: Backend, recording: Recording) -> None:
    jids = fill(backend, 40)
    summary = front.drain(ConsumerBuilder().register("work", nothing).workers(4), recording.url, [backend.queue])
    assert summary.succeeded == 40
    assert jids_of(recording, "ACK") == dict.fromkeys(jids, 1)
    # Each worker may meet an empty queue once; one FETCH more would put the end off by 2 s.
    assert 41 <= recording.count("FETCH") <= 44
    assert summary.seconds < backend.fetch_wait + AT_ONCE


def test_idle_workers_have_one_fetch_at_the_server(front: Front, backend: Backend, recording: Recording) -> None:
    started = threading.Semaphore(0)
    go_on = threading.Event()

    def work(job: Job) -> None:
        started.release()
        go_on.wait(PATIENCE)

    run = front.start(ConsumerBuilder().register("work", work).workers(10), recording.url, [backend.queue])
    recording.until(lambda said: said.waiting("FETCH"))
    for _ in range(3):  # each job that comes wakes one parked worker, which then waits alone
        waiting = recording.waiting("FETCH")
        time.sleep(0.05)  # a FETCH that was answered sooner means that there is much to do
        fill(backend, 1)
        assert started.acquire(timeout=AT_ONCE)
        recording.until(lambda said, before=waiting: set(said.waiting("FETCH")) - set(before), AT_ONCE)  # type: ignore[misc]
    assert recording.most_waiting_fetches() == 1
    go_on.set()
    recording.until(lambda said: said.count("ACK") == 3, AT_ONCE)
    finish(run, backend)


# -- how soon ---------------------------------------------------------------------------------------------------------


def test_an_outcome_leaves_when_its_job_ends_though_no_fetch_may(
    front: Front, backend: Backend, recording: Recording
) -> None:
    go_on = threading.Event()
    started = threading.Event()

    def work(job: Job) -> None:
        started.set()
        go_on.wait(PATIENCE)

    run = front.start(ConsumerBuilder().register("work", work).workers(2), recording.url, [backend.queue])
    fill(backend, 1)
    assert started.wait(AT_ONCE)
    before = recording.count("FETCH")
    recording.until(lambda said: said.waiting("FETCH") and said.count("FETCH") > before)  # it has just begun to wait
    ended = time.monotonic()
    go_on.set()
    recording.until(lambda said: said.count("ACK") == 1 and not said.waiting("ACK"), AT_ONCE)
    assert recording.exchanges("ACK")[0].at - ended < 1.5  # not with the answer to the FETCH, 2 s later
    finish(run, backend)


def test_a_time_limit_wakes_whoever_watches_it(front: Front, backend: Backend, recording: Recording) -> None:
    ended = threading.Event()

    def spin(job: Job) -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    builder = ConsumerBuilder().register("work", spin, timeout=0.2)
    run = front.start(builder, recording.url, [backend.queue])
    recording.until(lambda said: said.waiting("FETCH"))
    fill(backend, 1)
    started = time.monotonic()
    assert ended.wait(PATIENCE)
    assert 0.19 < time.monotonic() - started < AT_ONCE
    recording.until(lambda said: said.count("FAIL") == 1, AT_ONCE)
    finish(run, backend)


@pytest.mark.parametrize("word", ["quiet", "terminate"])
def test_what_it_is_told_is_beaten_to_the_server_at_once(
    front: Front, backend: Backend, recording: Recording, word: Any
) -> None:
    run = front.start(ConsumerBuilder().register("work", nothing).workers(3), recording.url, [backend.queue])
    recording.until(lambda said: said.waiting("FETCH"))
    getattr(run.consumer, word)()
    recording.until(lambda said: any(word.encode() in each.payload for each in said.exchanges("BEAT")), AT_ONCE)
    sent = recording.count("FETCH")
    backend.hurry()
    recording.until(lambda said: not said.waiting("FETCH"), AT_ONCE)
    run.consumer.terminate()
    started = time.monotonic()
    assert run.wait() == 0
    assert time.monotonic() - started < AT_ONCE
    assert recording.count("FETCH") == sent


def test_a_freed_slot_fetches_what_waits(front: Front, backend: Backend, recording: Recording) -> None:
    """With every worker busy no FETCH is at the server; the first that is free asks at once."""
    ends = [threading.Event() for _ in range(3)]
    started = threading.Semaphore(0)

    def work(job: Job) -> None:
        started.release()
        ends[job.args[0]].wait(PATIENCE)

    fill(backend, 3)
    run = front.start(ConsumerBuilder().register("work", work).workers(2), recording.url, [backend.queue])
    for _ in range(2):
        assert started.acquire(timeout=PATIENCE)
    recording.until(lambda said: not said.waiting("FETCH"))
    ends[0].set()
    assert started.acquire(timeout=AT_ONCE)
    for end in ends:
        end.set()
    recording.until(lambda said: said.count("ACK") == 3, AT_ONCE)
    finish(run, backend)


# -- when the server says no, or nothing ------------------------------------------------------------------------------


def test_a_refused_outcome_goes_again_alone(front: Front, embedded: Server, said: Recording) -> None:
    with_queue = ConsumerBuilder().register("work", nothing)
    embedded.faults.refuse("ACK", text="ERR storage is away", times=1)
    run = front.start(with_queue, said.url, ["default"])
    said.until(lambda said: said.waiting("FETCH"))
    push(embedded, 1)
    said.until(lambda said: said.count("ACK") == 2 and not said.waiting("ACK"), AT_ONCE)
    first, second = said.exchanges("ACK")
    assert first.payload == second.payload
    assert [each.verb for each in said.exchanges() if each.write == second.write] == ["ACK"]
    run.consumer.terminate()
    assert run.wait() == 0


def test_an_outcome_of_a_worker_that_has_ended_is_reported_at_once(
    front: Front, embedded: Server, said: Recording
) -> None:
    """While another's job keeps `run` going, and long before the next beat."""
    go_on = threading.Event()
    started = threading.Event()

    def work(job: Job) -> None:
        if job.args[0] == "long":
            started.set()
            go_on.wait(PATIENCE)

    run = front.start(ConsumerBuilder().register("work", work).workers(2), said.url, ["default"])
    push(embedded, "long")
    assert started.wait(AT_ONCE)
    embedded.faults.drop("ACK", times=2, executed=False)
    push(embedded, "short")
    said.until(lambda said: any(each.reply == "OK" for each in said.exchanges("ACK")), PATIENCE)
    go_on.set()
    with pytest.raises(ConnectionError):
        run.wait()


def test_outcomes_that_nobody_takes_are_tried_with_a_back_off(embedded: Server, said: Recording) -> None:
    """By the heartbeat, in threads: elsewhere `run` has ended by then."""
    go_on = threading.Event()
    started = threading.Event()

    def work(job: Job) -> None:
        if job.args[0] == "long":
            started.set()
            go_on.wait(PATIENCE)

    run = ThreadFront().start(ConsumerBuilder().register("work", work).workers(2), said.url, ["default"])
    push(embedded, "long")
    assert started.wait(AT_ONCE)
    fault = embedded.faults.drop("ACK", times=None, executed=False)
    push(embedded, "short")
    said.until(lambda said: said.count("ACK") >= 8, PATIENCE)
    third, eighth = said.exchanges("ACK")[2], said.exchanges("ACK")[7]  # behind the worker's own two tries
    assert eighth.at - third.at > 0.1  # five pauses of up to 0.1, 0.2, 0.4 s and so on; a storm takes 10 ms
    embedded.faults.remove(fault)
    said.until(lambda said: any(each.reply == "OK" for each in said.exchanges("ACK")), PATIENCE)
    go_on.set()
    with pytest.raises(ConnectionError):
        run.wait()


def test_unknown_worker_is_answered_by_hello_at_once(front: Front, embedded: Server, said: Recording) -> None:
    builder = ConsumerBuilder().register("work", nothing).heartbeat_interval(0.2)
    embedded.faults.refuse("BEAT", text="ERR Unknown worker w", times=1)
    run = front.start(builder, said.url, ["default"])
    said.until(lambda said: said.count("BEAT") >= 2 and said.exchanges("BEAT")[1].reply == "OK", PATIENCE)
    first, second = said.exchanges("BEAT")[:2]
    assert first.connection != second.connection
    (hello,) = [each for each in said.exchanges("HELLO") if each.connection == second.connection]
    assert first.at < hello.at < second.at
    run.consumer.terminate()
    assert run.wait() == 0


def test_the_pause_after_refused_fetches_starts_anew_with_the_next_job(
    front: Front, embedded: Server, said: Recording
) -> None:
    done = threading.Semaphore(0)
    builder = ConsumerBuilder().register("work", lambda job: done.release())
    embedded.faults.refuse("FETCH", text="ERR storage is away", times=5)
    push(embedded, 1)
    run = front.start(builder, said.url, ["default"])
    assert done.acquire(timeout=PATIENCE)
    said.until(lambda said: len(said.waiting("FETCH")) == 1)
    refused = refusals(said)
    embedded.faults.refuse("FETCH", text="ERR storage is away", times=1)
    said.until(lambda said: len(refusals(said)) > len(refused), AT_ONCE)
    last = refusals(said)[-1]
    said.until(lambda said: any(each.at > last.at for each in said.exchanges("FETCH")), AT_ONCE)
    after = next(each for each in said.exchanges("FETCH") if each.at > last.at)
    assert after.at - last.at < 0.45  # 0.1 s and jitter; five refusals had made it ten times that
    run.consumer.terminate()
    assert run.wait() == 0


def refusals(said: Recording) -> list[Exchange]:
    return [each for each in said.exchanges("FETCH") if isinstance(each.reply, ServerError)]


def push(server: Server, *args: Any) -> None:
    with Client(server.url) as client:
        client.push(Job("work", args, retry=3))
