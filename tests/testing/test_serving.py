"""A server for a test: `serve`, whose server and clock all apps, clients and consumers follow."""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

import faktory.asyncio
import faktory.trio
from faktory import App, Client, ConfigurationError, ConsumerBuilder, Job, Retry
from faktory.server import Clock, Server
from faktory.testing import assert_enqueued, capture, make_context, refute_enqueued, serve
from tests.certificates import Certificates

PRODUCTION = "tcp://never.invalid:7419"
app = App(PRODUCTION)
client = Client(PRODUCTION)
async_client = faktory.asyncio.Client(PRODUCTION)
ran: list[Any] = []


@app.job
def work(number: int) -> None:
    ran.append(number)


@app.job
def patient() -> None:
    ran.append("tried")
    raise Retry(in_=60)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def test_whoever_was_told_another_server_connects_to_the_tests() -> None:
    for _ in range(3):  # a fresh one for each: nothing sticks
        with serve() as server:
            work.enqueue(1)
            client.push(Job("plain"))
            with Client() as fresh:
                fresh.push(Job("from the environment"))
            asyncio.run(async_client.push(Job("async")))
            trio.run(faktory.trio.Client(PRODUCTION).push, Job("trio"))
            asyncio.run(_aenqueue())
            assert sorted(job.jobtype for job in server.queue("default")) == [
                "async", "from the environment", "plain", "trio", "work", "work",
            ]  # fmt: skip
            assert os.environ["FAKTORY_URL"] == server.url


async def _aenqueue() -> None:
    await work.aenqueue(2)


def test_consumers_connect_to_it_too() -> None:
    async def consume() -> int:
        async with await app.consumer().connect_asyncio() as consumer:
            return (await consumer.drain(["default"])).succeeded

    with serve():
        work.enqueue_many([(1,), (2,)])
        with app.consumer().connect() as consumer:
            assert consumer.run_one(["default"])
        assert asyncio.run(consume()) == 1
        work.enqueue(3)
        with ConsumerBuilder().register("work", lambda job: ran.append(job.args)).connect(PRODUCTION) as consumer:
            assert consumer.drain(["default"]).succeeded == 1
    assert ran == [1, 2, [3]]


def test_the_environment_is_as_before_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKTORY_PROVIDER", "MY_URL")
    monkeypatch.setenv("MY_URL", PRODUCTION)
    monkeypatch.delenv("FAKTORY_URL", raising=False)
    with pytest.raises(ZeroDivisionError), serve():
        assert "FAKTORY_PROVIDER" not in os.environ
        raise ZeroDivisionError
    assert os.environ["FAKTORY_PROVIDER"] == "MY_URL"
    assert "FAKTORY_URL" not in os.environ
    with pytest.raises(faktory.ConnectFailed):
        client.push(Job("nothing is in force"))


def test_another_server_of_the_test_can_be_talked_to() -> None:
    with serve() as outer, serve() as inner, Server() as other:
        for server in (outer, inner, other):
            with Client(server.url) as its_own:
                its_own.push(Job("to", [server.port]))
            assert server.queue("default")[0].args == [server.port]
        with Client("tcp://127.0.0.1:1") as elsewhere:
            elsewhere.push(Job("to the latest"))
        assert [len(server.queue("default")) for server in (outer, inner, other)] == [1, 2, 1]


def test_a_capture_inside_takes_the_jobs() -> None:
    with serve() as server:
        with capture() as jobs:
            work.enqueue(1)
            client.push(Job("plain"))
        work.enqueue(2)
        assert (len(jobs), len(server.queue("default"))) == (2, 1)


def test_an_apps_mode_makes_no_difference() -> None:
    local = App(mode="foreground")
    ran_here: list[int] = []

    @local.job
    def here(number: int) -> None:
        ran_here.append(number)

    with serve() as server:
        here.enqueue(1)
        assert len(server.queue("default")) == 1
    here.enqueue(2)
    assert ran_here == [2]
    local.close()


def test_the_options_are_the_servers(certificates: Certificates) -> None:
    with serve(password="secret", enterprise=True, now=datetime(2030, 1, 2, tzinfo=UTC)) as server:
        with client.batch(success=Job("done")) as batch:
            batch.push(Job("of a batch", at=60))
        assert ":secret@" in server.url
        assert server.scheduled[0].at == datetime(2030, 1, 2, 0, 1, tzinfo=UTC)
    context = certificates.server_context("127.0.0.1", "localhost")
    with serve(ssl_context=context), Client("tcp+tls://a.b", ssl_context=certificates.client_context()) as secure:
        secure.push(Job("a"))
    with serve(), Client("tcp+tls://a.b", ssl_context=certificates.client_context()) as secure:
        secure.push(Job("a"))
    with pytest.raises(ConfigurationError, match="got both"), serve(now=datetime.now(UTC), clock=Clock()):
        pass


# -- the clock --------------------------------------------------------------------------------------------------------


def test_the_producers_clock_is_the_servers() -> None:
    with serve() as server:
        server.clock.advance(3600)
        work.enqueue_in(60, 1)
        client.push(Job("work", [2], at=timedelta(minutes=2)))
        assert server.queues.get("default", 0) == 0
        assert_enqueued(work, 1, at=60)
        server.clock.advance(61)
        assert [job.args for job in server.queue("default")] == [[1]]
        server.clock.advance(60)
        assert [job.args for job in server.queue("default")] == [[1], [2]]


def test_a_retry_in_a_minute_is_due_in_a_minute_of_the_servers() -> None:
    with serve() as server, app.consumer().connect() as consumer:
        server.clock.advance(3600)
        patient.enqueue()
        for turn in range(1, 4):
            assert consumer.drain(["default"]).succeeded == 1
            assert ran == ["tried"] * turn
            server.clock.advance(61)


def test_a_standing_clock_stands_for_producers() -> None:
    now = datetime(2040, 5, 6, tzinfo=UTC)
    with serve(now=now) as server:
        assert Job("a", at=10).at == now + timedelta(seconds=10)
        server.clock.advance(5)
        assert Job("a", at=10).at == now + timedelta(seconds=15)


# -- assertions, contexts ---------------------------------------------------------------------------------------------


def test_assertions_look_at_queues_and_schedule() -> None:
    with serve():
        work.enqueue(1)
        work.using(queue="low").enqueue(2)
        work.enqueue_in(60, 3)
        assert_enqueued(work, times=3)
        assert_enqueued(work, 2, queue="low", at=None)
        refute_enqueued(patient)


def test_a_context_has_the_tests_client() -> None:
    with serve(enterprise=True) as server:
        make_context(work).client.push(Job("from the job"))
        assert len(server.queue("default")) == 1


# -- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_pushes_to_the_same_server() -> None:
    with serve() as server:
        work.enqueue(1)
        server.clock.advance(3600)
        pid = os.fork()
        if not pid:
            try:
                work.enqueue(2)
                work.enqueue_in(60, 3)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert [job.args for job in server.queue("default")] == [[1], [2]]
        assert_enqueued(work, 3, at=60)


def test_an_app_of_the_test_that_is_dropped_leaves_no_socket_to_be_warned_of() -> None:
    with serve() as server:
        dropped = App()
        dropped.job(name="work")(work.function).enqueue(1)
        del dropped
        gc.collect()
        assert len(server.queue("default")) == 1
