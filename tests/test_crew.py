"""What the threads share: outcomes that belong to nobody, and the end of what runs."""

from __future__ import annotations

import time

import pytest

from faktory import Client, ConnectFailed, ConnectionLost, ConsumerBuilder, Job
from faktory import crew as module
from faktory.commands import Ack, Fail
from faktory.crew import Shift, as_lost
from faktory.outbox import Outcome
from faktory.queues import order_of
from faktory.server import Server
from faktory.worker import Worker


def test_an_orphan_is_reported_before_anything_is_fetched(server: Server, client: Client) -> None:
    """J3: first the outbox, then FETCH."""
    jid = client.push(Job("work"))
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        from faktory.commands import Fetch
        from faktory.connection import Connection

        with Connection(server.url) as connection:
            connection.call(Fetch(["default"]))
            assert server.working.jids == [jid]
            consumer._crew.outbox.add(Outcome(Ack(jid), time.monotonic() + 100))
            assert [outcome.jid for outcome in consumer._crew.orphans()] == [jid]
            assert not consumer.run_one(["nothing"])
            assert len(server.working) == 0
            assert len(consumer._crew.outbox) == 0


def test_a_late_failure_of_nobody_is_given_up(server: Server, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Fact 7."""
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        consumer._crew.outbox.add(Outcome(Fail("job-late-1", "E", "m"), time.monotonic() - 1))
        consumer._heart.report_orphans()
        assert len(consumer._crew.outbox) == 0
    assert "could not report job 'job-late-1'" in caplog.text


def test_a_refused_orphan_is_sent_twice_and_given_up(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """J5."""
    fault = server.faults.refuse("ACK", times=2)
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        consumer._crew.outbox.add(Outcome(Ack("job-odd-12"), time.monotonic() + 100))
        consumer._heart.report_orphans()
        assert len(consumer._crew.outbox) == 1
        consumer._heart.report_orphans()
        assert len(consumer._crew.outbox) == 0
    assert fault.struck == 2
    assert "gave up reporting job 'job-odd-12'" in caplog.text


def test_a_job_that_comes_after_the_end_is_failed_without_being_run(server: Server, client: Client) -> None:
    """P5: what a FETCH in flight brings when no time is left."""
    ran: list[str] = []
    client.push(Job("work", retry=3))
    builder = ConsumerBuilder().register("work", lambda job: ran.append(job.jid)).shutdown_timeout(0)
    with builder.connect(server.url) as consumer:
        shift = Shift(order_of(["default"]), is_persistent=False, until_empty=False)
        worker = Worker(0, consumer._crew, shift, consumer._dialler)
        consumer._crew.workers = [worker]
        worker._connection = consumer._crew.connect(10)
        consumer._crew.terminate()
        assert worker.run_one()
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
        assert len(consumer._crew.outbox) == 1
        now = time.monotonic()
        monkeypatch.setattr(module, "monotonic", lambda: now + 61)
        with pytest.raises(ConnectionLost):
            consumer.run_one(["default"])
        monkeypatch.setattr(module, "monotonic", time.monotonic)
        worker = consumer._single
        assert worker is not None
        consumer._crew.lost(worker, ConnectionLost("again"))
        server.start()


def test_an_unopened_connection_is_a_lost_one_to_run() -> None:
    error = ConnectFailed("no server", retry_after=1)
    lost = as_lost(error)
    assert type(lost) is ConnectionLost
    assert (str(lost), lost.maybe_executed, lost.__cause__) == ("no server", False, error)
    assert as_lost(lost) is lost
