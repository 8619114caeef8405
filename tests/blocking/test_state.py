"""What the threads share: outcomes that belong to nobody, and the end of what runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from faktory import Client, ConnectFailed, ConnectionLost, ConsumerBuilder, Job, JobTimeout
from faktory.blocking import state
from faktory.blocking import worker as worker_module
from faktory.blocking.connection import Connection
from faktory.blocking.duties import Duties
from faktory.blocking.worker import Worker
from faktory.commands import Ack, Fail
from faktory.core.outbox import Outcome
from faktory.core.queues import order_of
from faktory.core.session import Session
from faktory.runtime.ticking import boottime
from faktory.server import Server
from tests.running import InThread, Persistent
from tests.waiting import until

PATIENCE = 10.0


def workers_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("faktory-worker")]


def _set_boottime(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Have reservations run on this clock."""
    for module in (state, worker_module):
        monkeypatch.setattr(module, "boottime", clock)


def test_an_orphan_is_reported_before_anything_is_fetched(server: Server, client: Client) -> None:
    """J3: first the outbox, then FETCH."""
    jid = client.push(Job("work"))
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        from faktory.commands import Fetch

        with Connection(server.url) as connection:
            connection.call(Fetch(["default"]))
            assert server.working.jids == [jid]
            consumer._state.ledger.outbox.add(Outcome(Ack(jid), time.monotonic() + 100))
            assert [outcome.jid for outcome in Duties(consumer._state).orphans()] == [jid]
            assert not consumer.run_one(["nothing"])
            assert len(server.working) == 0
            assert consumer.health().unreported == 0


def test_a_late_failure_of_nobody_is_given_up(server: Server, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Fact 7."""
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        consumer._state.ledger.outbox.add(Outcome(Fail("job-late-1", "E", "m"), time.monotonic() - 1))
        consumer._heartbeat.report_orphans()
        assert consumer.health().unreported == 0
    assert "could not report job 'job-late-1'" in caplog.text


def test_a_refused_orphan_is_kept_until_it_is_refused_for_good(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """J5."""
    server.faults.refuse("ACK", times=2)
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        outbox = consumer._state.ledger.outbox
        outbox.add(Outcome(Ack("job-odd-12"), time.monotonic() + 100))
        consumer._heartbeat.report_orphans()
        assert len(outbox) == 1
        consumer._heartbeat.report_orphans(only_due=True)  # too early
        consumer._heartbeat.report_orphans()
        assert caplog.text.count("the server refuses outcomes for now, that of job 'job-odd-12'") == 1
        server.faults.refuse("ACK", text="invalid ACK job-odd-12")
        consumer._heartbeat.report_orphans()
        assert (len(outbox), outbox.given_up) == (0, 1)
    assert "gave up reporting job 'job-odd-12'" in caplog.text


def test_a_job_that_comes_after_the_end_is_failed_without_being_run(server: Server, client: Client) -> None:
    """P5: what a FETCH in flight brings when no time is left."""
    ran: list[str] = []
    client.push(Job("work", retry=3))
    builder = ConsumerBuilder().register("work", lambda job: ran.append(job.jid)).shutdown_timeout(0)
    with builder.connect(server.url) as consumer:
        session = Session(order_of(["default"]), is_persistent=False, until_empty=False)
        worker = Worker(consumer._state, session, consumer._reconnector)
        consumer._state.begin_session([worker.slot])
        worker._connection = consumer._state.connect(10)
        consumer._state.door.terminate()
        assert worker.run_one(session)
        worker.close()
    assert ran == []
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "JobCancelled"
    assert "no time left" in job.failure.message


def test_an_outcome_whose_reservation_ends_in_an_outage_is_given_up(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J3: until OK, or the end of the reservation."""
    client.push(Job("work", reserve_for=60))
    with ConsumerBuilder().register("work", lambda job: server.kill()).connect(server.url) as consumer:
        with pytest.raises(ConnectionLost):
            consumer.run_one(["default"])
        assert consumer.health().unreported == 1
        now = boottime()
        _set_boottime(monkeypatch, lambda: now + 61)
        with pytest.raises(ConnectionLost):
            consumer.run_one(["default"])
        _set_boottime(monkeypatch, boottime)
        single = consumer._single
        assert single is not None
        consumer._state.lost(single.slot, single._session, ConnectionLost("again"))
        server.start()


def test_a_failure_that_could_not_be_reported_in_time_is_not_sent_late(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """J7, fact 7: 600 s late it would hit another worker's run."""
    run = Persistent(server, workers=1)
    until(lambda: server.waiting == 1)

    def work(job: Job) -> None:
        server.kill()
        raise ValueError("no good")

    run.handler = work
    client.push(Job("work", reserve_for=60, retry=3))
    until(lambda: "lost the server" in caplog.text)
    now = boottime()
    _set_boottime(monkeypatch, lambda: now + 600)
    server.start()
    until(lambda: "could not report job" in caplog.text)
    _set_boottime(monkeypatch, boottime)
    assert len(server.retries) == 0
    assert len(server.working) == 1
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_a_worker_that_cannot_connect_steps_aside_for_one_that_can(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P13: one worker is refused for ever, the other's connection is fine."""
    run = Persistent(server, workers=2)
    until(lambda: server.waiting == 1)
    both = threading.Barrier(2)
    run.handler = lambda job: both.wait(10)
    client.push_bulk(Job("work") for _ in range(20))
    until(lambda: len(run.done) == 20)
    run.handler = None
    server.clock.advance(2.1)
    until(lambda: server.waiting == 1)
    state = run.consumer._state
    assert all(slot.hands.is_connected for slot in state.slots)
    connect = state.connect

    def refuse(timeout: float) -> Connection:
        if threading.current_thread().name.startswith("faktory-worker"):
            raise ConnectFailed("no more connections", retry_after=30)
        return connect(timeout)

    monkeypatch.setattr(state, "connect", refuse)
    (fetching,) = (slot for slot in state.slots if state.fetches.may_get_job(slot))
    fetching.hands.interrupt()
    server.clock.advance(2.1)  # its FETCH is over
    started = time.monotonic()
    jids = [client.push(Job("work")) for _ in range(50)]
    until(lambda: set(run.done) >= set(jids))
    assert time.monotonic() - started < 10
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


def test_an_interrupt_while_the_lock_is_taken_never_keeps_it(server: Server, client: Client) -> None:
    """The limit strikes just when the handler has ended and waits for the state's lock."""
    run = Persistent(server, workers=1)
    state = run.consumer._state
    until(lambda: server.waiting == 1)
    ending = threading.Event()
    run.handler = lambda job: ending.set()
    for _ in range(20):
        ending.clear()
        with state.lock:
            pass
        jid = client.push(Job("work", retry=0))
        assert ending.wait(10)
        with state.lock:
            if state.slots[0].timer.job is not None:
                time.sleep(0.001)  # the handler ends, and its thread waits for the lock
                state.slots[0].interrupt(JobTimeout("late"))
        until(lambda: len(server.working) == 0)
        assert jid
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


# -- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_does_not_wait_for_who_only_tries_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """P13."""
    dialling, go_on = threading.Event(), threading.Event()
    able: list[threading.Thread] = []

    def work(job: Job) -> None:
        assert dialling.wait(PATIENCE)  # the second worker has been woken for the next job
        consumer.terminate()

    with (
        Server(fetch_wait=0.05) as server,
        Client(server.url) as client,
        ConsumerBuilder().register("work", work).workers(2).connect(server.url) as consumer,
    ):
        connect = consumer._state.connect

        def hang(timeout: float) -> Connection:
            here = threading.current_thread()
            if here.name.startswith("faktory-worker"):
                able[:] = able or [here]
                if here not in able:
                    dialling.set()
                    go_on.wait(PATIENCE)
            return connect(timeout)

        monkeypatch.setattr(consumer._state, "connect", hang)
        client.push(Job("work"))
        started = time.monotonic()
        try:
            consumer.run(["default"])
            assert time.monotonic() - started < PATIENCE / 2
            assert len(server.working) == 0
        finally:
            go_on.set()
            until(lambda: not workers_alive())


def test_what_a_job_that_is_cut_off_cleans_up_is_waited_for(server: Server, client: Client) -> None:
    """P6."""
    started = threading.Event()
    cleaned: list[str] = []

    def work(job: Job) -> None:
        started.set()
        try:
            while True:
                time.sleep(0.001)
        finally:
            time.sleep(0.3)
            cleaned.append(job.jid)

    jid = client.push(Job("work", retry=3))
    with ConsumerBuilder().register("work", work).workers(1).shutdown_timeout(0.1).connect(server.url) as consumer:
        run = InThread(consumer)
        assert started.wait(10)
        consumer.terminate()
        run.join()
        assert cleaned == [jid]


@pytest.mark.usefixtures("brief_wind_down")
def test_a_hook_that_goes_on_for_ever_does_not_keep_a_failure_from_the_server(server: Server, client: Client) -> None:
    """P7: at the end of the shutdown its report is left to the heartbeat."""
    client.push(Job("work", retry=3))
    telling, go_on = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        raise ValueError("no good")

    def tell(job: Job, exc: BaseException) -> None:
        telling.set()
        go_on.wait(PATIENCE)

    builder = ConsumerBuilder().register("work", work).on_failure(tell).workers(1).shutdown_timeout(0.1)
    with builder.connect(server.url) as consumer:
        run = InThread(consumer)
        try:
            assert telling.wait(10)
            consumer.terminate()
            run.join()
            (job,) = server.retries
            assert job.failure is not None
            assert job.failure.message == "no good"
        finally:
            go_on.set()
            until(lambda: not workers_alive())
