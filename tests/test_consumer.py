"""The consumer in threads: what it owes beyond the contract all kinds of consumer share (tests/contract)."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faktory import (
    Client,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    Consumer,
    ConsumerBuilder,
    ConsumerTerminated,
    Job,
    Summary,
)
from faktory.runtime.ticking import boottime
from faktory.server import Server
from tests.running import InThread, end
from tests.waiting import until


def nothing(job: Job) -> None:
    pass


_built: list[Consumer] = []


@pytest.fixture(autouse=True)
def consumers_are_closed() -> Iterator[None]:
    yield
    while _built:
        _built.pop().close()


def build(server: Server, handler: Any = nothing, **options: Any) -> Consumer:
    builder = ConsumerBuilder().register("work", handler)
    for name, value in options.items():
        getattr(builder, name)(value)
    _built.append(builder.connect(server.url))
    return _built[-1]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queues", "message"),
    [
        ("default", "as a list"),
        ([], "at least one queue"),
        ({}, "at least one queue"),
        (["a", "a"], "each queue once"),
        ({"a": 0}, "weight"),
        (None, "as a list"),
    ],
)
def test_queues_that_are_none_are_refused(server: Server, queues: Any, message: str) -> None:
    with build(server) as consumer:
        for call in (consumer.run, consumer.run_one, consumer.drain):
            with pytest.raises(ConfigurationError, match=message):
                call(queues)


@pytest.mark.parametrize("name", ["a b", "x\r\nQUEUE REMOVE *", "", "*", 5])
def test_a_queue_name_that_would_be_another_command_is_refused(server: Server, name: Any) -> None:
    """D1."""
    with build(server) as consumer:
        for queues in ([name], {name: 2}):
            with pytest.raises(ConfigurationError, match="queue name"):
                consumer.run(queues)


def test_a_consumer_works_once_at_a_time(server: Server) -> None:
    run = InThread(build(server))
    until(lambda: server.waiting == 1)
    with pytest.raises(ConfigurationError, match="at work already"):
        run.consumer.run_one(["default"])
    end(server, run)


# -- one idle FETCH ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fetch_wait", [2], ids=["long"])
def test_an_idle_consumer_waits_with_one_fetch(server: Server, client: Client) -> None:
    """However many threads: each waiting FETCH can cost a job when its client dies (fact 3)."""
    done: list[str] = []
    run = InThread(build(server, lambda job: done.append(job.jid), workers=20))
    until(lambda: server.waiting == 1)
    time.sleep(0.05)
    assert server.waiting == 1
    for _ in range(3):  # a trickle
        client.push(Job("work"))
        time.sleep(0.05)
    assert len(done) == 3
    assert server.waiting <= 2
    server.clock.advance(2.1)
    until(lambda: server.waiting == 1)
    end(server, run)


def test_a_burst_reaches_every_thread(server: Server, client: Client) -> None:
    """Each job that arrives wakes the next thread before it runs."""
    together = threading.Barrier(20)
    run = InThread(build(server, lambda job: together.wait(10) and None, workers=20))
    until(lambda: server.waiting == 1)
    client.push_bulk(Job("work") for _ in range(20))
    until(lambda: together.broken or (len(server.working) == 0 and len(server.queue("default")) == 0))
    assert not together.broken
    end(server, run)
    assert len(server.retries) == 0


@pytest.mark.parametrize("fetch_wait", [2], ids=["long"])
def test_many_slots_wait_with_two_fetches(server: Server) -> None:
    run = InThread(build(server, workers=200))
    until(lambda: server.waiting == 2)
    time.sleep(0.05)
    assert server.waiting == 2
    end(server, run)


def test_two_round_trips_are_one(server: Server, client: Client) -> None:
    """The report and the next FETCH leave in one write; alone when quiet."""
    lines: list[bytes] = []

    def work(job: Job) -> None:
        if job.args[0] == 2:
            consumer.terminate()

    consumer = build(server, work)
    from faktory.blocking.connection import Connection

    original = Connection.send

    def send(self: Connection, data: bytes, replies: int = 1) -> None:
        if data.startswith(b"ACK"):
            lines.append(data)
        original(self, data, replies)

    for n in range(3):
        client.push(Job("work", [n]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "send", send)
        consumer.run(["default"])
    assert [line.count(b"\n") for line in lines] == [2, 2, 1]
    assert len(server.working) == 0


def test_an_outcome_is_reported_at_once_when_only_its_connection_broke(server: Server, client: Client) -> None:
    """J3: `run` ends with the error, and nothing is left over."""

    def work(job: Job) -> None:
        server.disconnect_all()
        until(lambda: not server.workers)

    consumer = build(server, work)
    client.push(Job("work"))
    with pytest.raises(ConnectionLost):
        consumer.run(["default"])
    assert len(server.working) == 0


# -- broken connections -----------------------------------------------------------------------------------------------


def test_an_outcome_that_was_not_reported_is_reported_later_without_running_again(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """J3."""
    ran: list[str] = []

    def work(job: Job) -> None:
        ran.append(job.jid)
        server.kill()

    consumer = build(server, work)
    jid = client.push(Job("work"))
    with pytest.raises(ConnectionLost):
        consumer.run(["default"])
    assert ran == [jid]
    assert server.working.jids == [jid]
    server.start()
    consumer.reconnect()
    run = InThread(consumer)
    until(lambda: len(server.working) == 0)
    assert ran == [jid]
    assert len(server.retries) == 0
    end(server, run)
    assert run.error is None


def test_a_failure_that_was_not_reported_is_reported_later(server: Server, client: Client) -> None:
    def work(job: Job) -> None:
        server.disconnect_all()
        until(lambda: not server.workers)
        raise ValueError("no good")

    consumer = build(server, work)
    client.push(Job("work", retry=3))
    with pytest.raises(ConnectionLost):
        consumer.run_one(["default"])
    assert len(server.working) == 1
    server.clock.advance(0)
    assert not consumer.run_one(["nothing"])
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.message == "no good"
    consumer.close()


@pytest.mark.parametrize("lost", ["ACK", "FAIL"])
def test_a_lost_answer_to_a_report_settles_with_the_next(server: Server, client: Client, lost: str) -> None:
    """J4, J6: a repeated ACK is OK, a repeated FAIL is "Job not found"; both settle."""
    ran: list[str] = []

    def work(job: Job) -> None:
        ran.append(job.jid)
        if lost == "FAIL":
            raise ValueError("no good")

    consumer = build(server, work)
    client.push(Job("work", retry=3))
    server.faults.drop(lost)
    with pytest.raises(ConnectionLost):
        consumer.run_one(["default"])
    assert not consumer.run_one(["nothing"])
    assert len(ran) == 1
    assert len(server.retries) == (lost == "FAIL")
    assert len(server.working) == 0
    consumer.close()


@pytest.mark.parametrize("lost", ["ACK", "FAIL"])
def test_run_one_reports_nothing_past_the_reservation(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    """J3, J7, fact 7: a late FAIL would hit another worker's run."""

    def work(job: Job) -> None:
        if lost == "FAIL":
            raise ValueError("no good")

    consumer = build(server, work)
    client.push(Job("work", reserve_for=60, retry=3))
    server.faults.drop(lost, executed=False)
    with pytest.raises(ConnectionLost):
        consumer.run_one(["default"])
    late = boottime() + 61
    monkeypatch.setattr("faktory.blocking.state.boottime", lambda: late)
    assert not consumer.run_one(["nothing"])
    assert "could not report job" in caplog.text
    assert (len(server.working), len(server.retries), consumer.health().unreported) == (1, 0, 0)
    consumer.close()


def test_run_one_waits_for_a_report_that_is_refused_for_a_while(server: Server, client: Client) -> None:
    """J5."""
    consumer = build(server)
    client.push(Job("work"))
    fault = server.faults.refuse("ACK", times=3)
    assert consumer.run_one(["default"])
    assert fault.struck == 3
    assert (len(server.working), consumer.health().unreported) == (0, 0)
    consumer.close()


def test_a_lost_fetch_ends_run_and_nothing_else(server: Server, client: Client) -> None:
    """J1."""
    run = InThread(build(server, workers=3))
    until(lambda: server.waiting == 1)
    server.disconnect_all()
    run.join()
    assert isinstance(run.error, ConnectionLost)
    assert run.consumer.state == "running"
    server.clock.advance(2.1)  # the FETCH of the cut connection still waits at the server
    run.consumer.reconnect()
    client.push(Job("work"))
    assert run.consumer.run_one(["default"])
    run.consumer.close()


def test_no_server_is_an_error_of_connect_and_of_run(server: Server) -> None:
    """N1."""
    consumer = build(server)
    server.kill()
    for call in (consumer.run, consumer.run_one, consumer.drain):
        with pytest.raises(ConnectionLost):
            call(["default"])
    with pytest.raises(ConnectFailed):
        consumer.reconnect()
    with pytest.raises(ConnectFailed):
        build(server)
    server.start()
    consumer.reconnect()
    assert not consumer.run_one(["default"])
    consumer.close()


def test_a_job_that_goes_on_when_the_connection_is_lost_is_reported_by_the_next_run(
    server: Server, client: Client
) -> None:
    """J3: one slot's loss ends `run`, another slot's job is not lost by it."""
    go_on, started = threading.Event(), threading.Event()
    ran: list[Any] = []

    def work(job: Job) -> None:
        ran.append(job.args[0])
        if job.args[0] == "long":
            started.set()
            go_on.wait(20)

    consumer = build(server, work, workers=2, shutdown_timeout=0.1)
    client.push(Job("work", ["long"]))
    run = InThread(consumer)
    assert started.wait(10)
    until(lambda: server.waiting == 1)
    server.disconnect_all()
    run.join()
    assert isinstance(run.error, ConnectionLost)
    assert len(server.working) == 1
    go_on.set()
    until(lambda: len(server.working) == 0)
    consumer.reconnect()
    run = InThread(consumer)
    until(lambda: server.waiting == 1)
    end(server, run)
    assert ran == ["long"]


# -- reservations -----------------------------------------------------------------------------------------------------


def test_a_failure_after_the_reservation_is_not_reported(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J7, fact 7: the FAIL could hit the run of another worker."""
    from faktory.blocking import state as state

    def work(job: Job) -> None:
        now = boottime()
        monkeypatch.setattr(state, "boottime", lambda: now + 61)
        raise ValueError("no good")

    consumer = build(server, work)
    client.push(Job("work", reserve_for=60, retry=3))
    assert consumer.run_one(["default"])
    assert len(server.working) == 1
    assert len(server.retries) == 0
    assert "after its reservation had ended" in caplog.text
    consumer.close()


def test_a_success_after_the_reservation_is_still_acknowledged(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J7."""
    from faktory.blocking import state as state

    def work(job: Job) -> None:
        now = boottime()
        monkeypatch.setattr(state, "boottime", lambda: now + 61)

    consumer = build(server, work)
    client.push(Job("work", reserve_for=60, retry=3))
    assert consumer.run_one(["default"])
    assert len(server.working) == 0
    consumer.close()


# -- malformed jobs -------------------------------------------------------------------------------------------------


def test_an_error_instead_of_a_job_is_survived(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """D8, PROTOCOL 45."""
    server.faults.refuse("FETCH", times=2)
    done: list[str] = []
    run = InThread(build(server, lambda job: done.append(job.jid)))
    client.push(Job("work"))
    until(lambda: done)
    assert "FETCH was answered with an error" in caplog.text
    end(server, run)
    assert run.busy == 0


# -- the consumer itself ----------------------------------------------------------------------------------------------


def test_close_ends_a_run_in_another_thread(server: Server) -> None:
    run = InThread(build(server))
    until(lambda: server.waiting == 1)
    threading.Timer(0.05, server.clock.advance, [2.1]).start()
    run.consumer.close()
    run.join()
    assert run.busy == 0
    assert run.consumer.state == "terminated"
    run.consumer.close()
    until(lambda: server.workers == [])


def test_a_terminated_consumer_refuses_to_work(server: Server) -> None:
    consumer = build(server)
    consumer.close()
    for call in (consumer.run, consumer.run_one, consumer.drain):
        with pytest.raises(ConsumerTerminated):
            call(["default"])
    with pytest.raises(ConsumerTerminated):
        consumer.reconnect()


def test_a_quiet_consumer_fetches_nothing(server: Server, client: Client) -> None:
    with build(server) as consumer:
        client.push(Job("work"))
        consumer.quiet()
        assert consumer.state == "quiet"
        assert not consumer.run_one(["default"])
        assert consumer.drain(["default"]).total == 0
    assert len(server.queue("default")) == 1


def test_a_keyboard_interrupt_drains_and_comes_back(server: Server, client: Client) -> None:
    started, ended = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        started.set()
        until(lambda: consumer.state == "terminating")
        ended.set()

    def press_ctrl_c() -> None:
        assert started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    consumer = ConsumerBuilder().register("work", work).workers(1).connect(server.url)
    client.push(Job("work"))
    finger = threading.Thread(target=press_ctrl_c)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        consumer.run(["default"])
    finger.join()
    assert ended.is_set()
    assert (consumer.state, len(server.working)) == ("terminated", 0)


def test_managed_values_live_as_long_as_the_consumer(server: Server, client: Client) -> None:
    closed: list[str] = []

    class Database:
        def close(self) -> None:
            closed.append("database")

    seen: list[Database] = []

    def work(job: Job) -> None:
        seen.append(consumer.get(Database))

    builder = ConsumerBuilder().register("work", work).manage(Database, Database)
    consumer: Consumer = builder.connect(server.url)
    with consumer:
        for _ in range(2):
            client.push(Job("work"))
            assert consumer.run_one(["default"])
        assert closed == []
    assert seen[0] is seen[1]
    assert closed == ["database"]
    with pytest.raises(ConfigurationError, match="managed twice"):
        builder.manage(Database, Database)
    with pytest.raises(ConfigurationError, match="int is not managed"):
        consumer.get(int)


def test_success_logs_nothing_but_the_changes_of_state(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.push_bulk(Job("work", ["secret"]) for _ in range(50))
    with build(server, workers=4) as consumer:
        consumer.drain(["default"])
    ours = [record for record in caplog.records if record.name.startswith("faktory.")]
    assert len(ours) <= 3
    assert "secret" not in caplog.text


def test_a_failure_is_logged_with_its_jid_and_without_its_arguments(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def work(job: Job) -> None:
        raise ValueError("bad\r\nvalue \x1b[31m")

    jid = client.push(Job("work", ["secret"], retry=0))
    with build(server, work) as consumer:
        assert consumer.run_one(["default"])
    assert jid in caplog.text
    assert "for the last time" in caplog.text
    assert "secret" not in caplog.text
    assert "\x1b" not in caplog.text


def test_reprs_show_the_wid_and_no_password() -> None:
    with Server(password="hunter2") as server, build(server, wid="wid-repr-1") as consumer:
        assert repr(consumer) == "<Consumer wid='wid-repr-1' running>"
        assert consumer.wid == "wid-repr-1"


def test_a_summary_counts() -> None:
    assert Summary(2, 3, 1.0).total == 5


def test_a_shift_forgets_orders_it_has_seen_too_many_of() -> None:
    from faktory.core.queues import order_of
    from faktory.core.session import Session

    session = Session(order_of({f"q{n}": 1.0 for n in range(8)}), is_persistent=False, until_empty=False)
    for _ in range(3000):
        assert len(session.next_fetch().line.split()) == 9
    assert len(session._fetches) <= 1001


def test_ctrl_c_while_run_one_runs_a_job_fails_the_job_and_comes_back(server: Server, client: Client) -> None:
    """Unlike a KeyboardInterrupt that the handler raises itself, which is only its job's failure."""

    def work(job: Job) -> None:
        if job.args[0] == "struck":
            signal.raise_signal(signal.SIGINT)
        raise KeyboardInterrupt

    consumer = build(server, work)
    client.push(Job("work", ["struck"], retry=2))
    client.push(Job("work", ["raised"], retry=2))
    with pytest.raises(KeyboardInterrupt):
        consumer.run_one(["default"])
    assert consumer.run_one(["default"])
    errtypes = [job.failure.errtype for job in server.retries if job.failure is not None]
    assert sorted(errtypes) == ["JobCancelled", "KeyboardInterrupt"]
    assert len(server.working) == 0


def test_signal_handlers_may_call_what_any_thread_may(server: Server) -> None:
    """Also when the signal strikes while its own thread is in there."""
    consumer = build(server)
    with consumer._state.lock:
        assert consumer.health().busy == 0
        consumer.quiet()
        consumer.terminate()
    assert consumer.state == "terminating"


def test_a_server_that_hurries_makes_drains_fast(client: Client) -> None:
    with Server(fetch_wait=0.02) as server, Client(server.url) as own:
        own.push(Job("work"))
        summary = build(server).drain(["default"])
        assert summary.succeeded == 1
        assert summary.seconds < 1
    with pytest.raises(ConfigurationError, match="fetch_wait"):
        Server(fetch_wait=5)


def use_and_drop(server: Server) -> weakref.ref[Consumer]:
    consumer = ConsumerBuilder().register("work", nothing).connect(server.url)
    consumer.run_one(["default"])
    consumer.drain(["default"])
    return weakref.ref(consumer)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as for a file that nobody closes
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_consumers_that_are_dropped_without_close_do_not_live_on() -> None:
    """Each kept two connections until the end of the process."""
    with Server(fetch_wait=0.01) as server:
        before = 0
        for _ in range(12):
            gone = use_and_drop(server)
            gc.collect()
            assert gone() is None
            before = before or descriptors()
        assert descriptors() <= before + 4
