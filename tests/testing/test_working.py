"""The test's consumer: `Worker`, which `faktory_worker` makes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from faktory import App, Client, ConfigurationError, ConsumerBuilder, ConsumerTerminated, Job
from faktory.server import Server
from faktory.testing import Worker, capture, serve
from tests.testing import kit_jobs

app = App("tcp://never.invalid:7419")
ran: list[Any] = []


@app.job(queue="mail")
def work(number: int) -> None:
    ran.append(number)
    if number > 0:
        work.using(queue=f"queue-{number}").enqueue(number - 1)


@app.job(retry=1)
def fail(what: str) -> None:
    raise KeyError(what)


@pytest.fixture
def served() -> Iterator[Server]:
    ran.clear()
    with serve() as server:
        yield server


def test_a_drain_runs_the_jobs_of_all_queues_and_those_they_push(served: Server) -> None:
    worker = Worker(app)
    assert worker.drain().total == 0
    work.enqueue(4)
    summary = worker.drain()
    assert (summary.succeeded, summary.failed, ran) == (5, 0, [4, 3, 2, 1, 0])
    assert worker.wid == served.workers[0].wid
    assert repr(worker) == "<Worker of <App of 2 jobs>>"
    worker.close()
    worker.close()


def test_a_drain_may_be_told_its_queues(served: Server) -> None:
    worker = Worker(app, ["mail"])
    work.enqueue(1)
    assert worker.drain().total == 1
    assert len(served.queue("queue-1")) == 1
    assert worker.drain({"queue-1": 2}).total == 1
    worker.close()


def test_paused_queues_are_left_alone(served: Server) -> None:
    work.enqueue(0)
    with Client() as client:
        client.pause_queues("mail")
        worker = Worker(app)
        assert worker.drain().total == 0
        client.resume_queues("mail")
    assert worker.run_one()
    assert not worker.run_one()
    worker.close()


def test_the_first_jobs_exception_is_raised_when_all_have_run(served: Server) -> None:
    worker = Worker(app)
    fail.enqueue("first")
    work.enqueue(0)
    with pytest.raises(KeyError, match="first") as caught:
        worker.drain()
    assert ran == [0]
    assert caught.traceback[-1].name == "fail"
    assert "attempt 1: fail('first') queue=default" in caught.value.__notes__[0]
    served.clock.advance(60)
    summary = worker.drain(raise_failures=False)
    assert (summary.succeeded, summary.failed, len(served.dead)) == (0, 1, 1)
    assert worker.drain().total == 0  # it has been told
    fail.enqueue("second")
    with pytest.raises(KeyError, match="second"):
        worker.run_one()
    worker.close()


def test_a_builder_of_plain_handlers_is_not_changed(served: Server) -> None:
    builder = ConsumerBuilder().register("plain", kit_jobs.plain).on_failure(lambda job, exc: ran.append(type(exc)))
    for _ in range(2):
        worker = Worker(builder)
        with Client() as client:
            client.push(Job("plain", ["here"], queue="low", retry=0))
        with pytest.raises(LookupError, match="here"):
            worker.drain()
        worker.close()
    assert ran == [LookupError, LookupError]
    with pytest.raises(ConfigurationError, match="runs an App or a ConsumerBuilder, got str"):
        Worker("app")  # type: ignore[arg-type]


def test_a_drain_does_not_go_on_for_ever(served: Server) -> None:
    endless = App()

    @endless.job
    def more() -> None:
        more.enqueue()

    more.enqueue()
    worker = Worker(endless)
    with pytest.raises(AssertionError, match=r"drain did not end within 0.1 s: a job waits for ever, or pushes itself"):
        worker.drain(timeout=0.1)
    with pytest.raises(ConsumerTerminated):
        worker.drain()
    worker.close()
    with worker:
        assert worker.run_one()


def test_a_job_that_still_runs_at_the_end_is_told(served: Server) -> None:
    begun, may_end = threading.Event(), threading.Event()
    slow = App()

    @slow.job
    def wait() -> None:
        begun.set()
        may_end.wait(10)

    wait.enqueue()
    worker = Worker(slow)
    thread = threading.Thread(target=lambda: worker.consumer.run(["default"]))
    thread.start()
    assert begun.wait(10)
    threading.Timer(0.05, may_end.set).start()
    with pytest.raises(AssertionError, match=r"the test has ended, but 1 jobs still run: wait\(\)"):
        worker.close()
    thread.join(10)


def test_without_a_server_it_says_what_to_use() -> None:
    with pytest.raises(ConfigurationError, match="use the fixture faktory_server"):
        Worker(app)
    with capture(), pytest.raises(ConfigurationError, match="use the fixture faktory_server"):
        Worker(app)


# -- async ------------------------------------------------------------------------------------------------------------

async_app = App()


@async_app.job
async def fetch(number: int) -> None:
    await asyncio.sleep(0)
    ran.append(number)
    if number > 1:
        plainly.enqueue(number)


@async_app.job
def plainly(number: int) -> None:
    ran.append(-number)
    if number > 2:
        raise KeyError(number)


@async_app.job
async def on_trio() -> None:
    await trio.sleep(0)
    ran.append("trio")


def test_async_jobs_run_on_a_loop_of_their_own(served: Server) -> None:
    worker = Worker(async_app)
    fetch.enqueue(2)
    assert worker.drain().succeeded == 2
    assert ran == [2, -2]
    fetch.enqueue(3)
    with pytest.raises(KeyError, match="3"):
        worker.drain()
    with pytest.raises(ConfigurationError, match="connect_asyncio"):
        worker.consumer  # noqa: B018
    worker.close()


def test_async_jobs_run_on_the_tests_loop(served: Server) -> None:
    async def test() -> None:
        worker = Worker(async_app)
        await fetch.aenqueue(2)
        assert (await worker.adrain()).succeeded == 2
        await fetch.aenqueue(1)
        assert worker.drain().succeeded == 1  # in a thread: a loop runs here
        await plainly.aenqueue(3)
        with pytest.raises(KeyError):
            await worker.adrain()

    asyncio.run(test())
    assert ran == [2, -2, 1, -3]


def test_trio_jobs_run_on_the_tests_loop(served: Server) -> None:
    async def test() -> None:
        on_trio.enqueue()
        assert (await Worker(async_app).adrain()).succeeded == 1

    trio.run(test)
    assert ran == ["trio"]


@pytest.mark.slow
def test_an_async_drain_does_not_go_on_for_ever(served: Server) -> None:
    stuck = App()

    @stuck.job
    async def wait() -> None:
        await asyncio.sleep(30)

    wait.enqueue()
    with pytest.raises(AssertionError, match=r"did not end within 0\.1 s"):
        Worker(stuck).drain(timeout=0.1)


# -- children ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_children_see_the_tests_server_and_its_clock(served: Server) -> None:
    served.clock.advance(3600)
    worker = Worker(kit_jobs.app.consumer().processes(1))
    kit_jobs.parent_of.enqueue(1)
    assert worker.drain().succeeded == 2
    assert served.scheduled[0].args == [2]
    served.clock.advance(61)
    assert worker.drain().succeeded == 1
    kit_jobs.again.enqueue()
    for _ in range(3):
        assert worker.drain().succeeded == 1
        assert worker.drain().total == 0
        served.clock.advance(61)
    assert worker.drain().total == 0
    worker.close()


@pytest.mark.slow
def test_what_jobs_raise_in_children_is_raised_in_the_test(served: Server) -> None:
    worker = Worker(kit_jobs.app.consumer().processes(1))
    kit_jobs.fail.enqueue("from a child")
    with pytest.raises(KeyError, match="from a child") as caught:
        worker.drain()
    assert "fail('from a child')" in caught.value.__notes__[0]
    kit_jobs.fail.enqueue("unpicklable")
    with pytest.raises(Exception, match="Unpicklable: one text"):
        worker.drain()
    worker.close()


@pytest.mark.slow
def test_a_standing_clock_stands_in_children() -> None:
    from datetime import UTC, datetime

    with serve(now=datetime(2030, 1, 2, tzinfo=UTC)) as server:
        worker = Worker(kit_jobs.app.consumer().processes(1))
        kit_jobs.parent_of.enqueue(1)
        worker.drain()
        assert server.scheduled[0].at == datetime(2030, 1, 2, 0, 1, tzinfo=UTC)
        worker.close()
