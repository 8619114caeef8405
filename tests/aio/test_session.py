"""A session of the async consumers: losses, dialling, time-outs around it, and what leaves when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from faktory import Client, ConfigurationError, ConnectFailed, ConnectionLost, ConsumerBuilder, Job
from faktory.aio.fetcher import Fetcher
from faktory.aio.job_runner import JobRunner
from faktory.aio.reconnector import Reconnector
from faktory.aio.state import ConsumerState
from faktory.commands import Ack
from faktory.core.hooks import Hooks
from faktory.core.managed import Managed
from faktory.core.outage import Outage
from faktory.core.outbox import Outcome
from faktory.core.queues import order_of
from faktory.core.session import Session
from faktory.observe import Observer
from faktory.options import ConsumerOptions
from faktory.server import Server
from faktory.server.faults import Fault
from tests.loops import Loop, run_asyncio
from tests.odd_server import DEEP, GOOD, OddServer
from tests.recording import Recording
from tests.scripted import ScriptedServer


@pytest.fixture
def server() -> Iterator[Server]:
    """One whose FETCHes do not wait for long."""
    with Server(seed=7, fetch_wait=0.1) as server:
        yield server


# -- losses ------------------------------------------------------------------------------------------------------------


def run_with_losses(loop: Loop, server: Server, client: Client, losses: list[int]) -> int:
    """Have three jobs end one after the other, and lose the report of each so often. Returns what is unreported."""
    started: list[str] = []
    gate = -1

    async def work(job: Job) -> None:
        started.append(job.jid)
        await loop.until(lambda: gate >= job.args[0])

    client.push_bulk(Job("work", [number]) for number in range(3))

    def has_struck(fault: Fault, times: int) -> bool:
        return fault.struck == times

    def are_working(number: int) -> bool:
        return len(server.working) == number

    async def main() -> int:
        consumer = await loop.connect(ConsumerBuilder().register("work", work).workers(8), server.url)

        async def run() -> None:
            with pytest.raises(ConnectionLost):
                await consumer.run(["default"])

        async def end_jobs() -> None:
            nonlocal gate
            await loop.until(lambda: len(started) == 3 and server.waiting)
            for number, times in enumerate(losses):
                fault = server.faults.drop("ACK", times=times, executed=False)
                gate = number
                await loop.until(partial(has_struck, fault, times))
                if times == 1:  # which is tried again
                    await loop.until(partial(are_working, 2 - number))
            gate = 2

        await loop.all(run, end_jobs)
        unreported: int = consumer.health().unreported
        server.faults.clear()
        await consumer.reconnect()
        assert (await consumer.drain(["default"])).total == 0
        await consumer.close()
        return unreported

    unreported = loop.run(main)
    assert len(started) == 3
    assert len(server.working) == 0
    return unreported


def test_two_losses_ever_lose_no_report(loop: Loop, server: Server, client: Client) -> None:
    """A7."""
    assert run_with_losses(loop, server, client, [1, 1]) == 0


def test_two_losses_in_a_row_end_run_and_keep_the_reports(loop: Loop, server: Server, client: Client) -> None:
    """A7."""
    assert run_with_losses(loop, server, client, [2]) == 3


class Connections(Observer):
    """Writes down what becomes of a consumer's connections."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def connection(self, event: str) -> None:
        self.events.append(event)


def test_a_connection_is_told_of_once(loop: Loop) -> None:
    """And not with each report that leaves by itself while the FETCH waits."""
    observer, gate = Connections(), -1

    async def work(job: Job) -> None:
        await loop.until(lambda: gate >= job.args[0])

    async def main(server: Server, recording: Recording) -> None:
        builder = ConsumerBuilder().register("work", work).workers(8).observer(observer)
        consumer = await loop.connect(builder, recording.url)

        async def end_jobs() -> None:
            nonlocal gate
            await loop.until(lambda: len(server.working) == 3 and server.waiting)
            for number in range(3):
                gate = number
                await loop.until(partial(lambda left: len(server.working) == left, 2 - number))
            consumer.terminate()

        await loop.all(partial(consumer.run, ["default"]), end_jobs)
        await consumer.close()

    with Server(fetch_wait=1.0) as server, Client(server.url) as client:
        client.push_bulk(Job("work", [number]) for number in range(3))
        with Recording(int(server.url.rpartition(":")[2])) as recording:
            loop.run(lambda: main(server, recording))
            used = len(recording.connections("FETCH", "ACK"))
    assert used >= 2  # a fetcher's and the reporter's
    assert observer.events == ["connected"] * used


# -- dialling ----------------------------------------------------------------------------------------------------------


def test_one_at_a_time_dials_in_the_order_of_coming(loop: Loop) -> None:
    """A7: The first is cancelled, and hands its turn on."""
    order: list[int] = []
    begun = dialling = most = 0

    async def main() -> None:
        async def connect() -> Any:
            nonlocal dialling, most
            dialling += 1
            most = max(most, dialling)
            try:
                await loop.sleep(10 if begun < 8 else 0)
            finally:
                dialling -= 1

        async def pause(seconds: float, is_pointless: Any) -> None:
            await loop.sleep(seconds)

        backend: Any = loop.Connection._backend
        reconnector = Reconnector(backend, Outage(lambda: None), connect)

        async def dial(number: int) -> None:
            nonlocal begun
            await loop.until(lambda: begun == number)
            begun += 1
            await reconnector.reconnect(lambda: False, pause, is_persistent=True)
            order.append(number)

        async def cancelled() -> None:
            await loop.cancelling(lambda: dial(0), lambda: loop.until(lambda: begun == 8))

        await loop.all(cancelled, *[partial(dial, number) for number in range(1, 8)])

    loop.run(main)
    assert most == 1
    assert order == list(range(1, 8))


def test_outcomes_do_not_wait_while_a_fetcher_dials(loop: Loop) -> None:
    """A7: What it would have taken along with its FETCH is the reporter's from then on."""
    rung: list[bool] = []

    async def main() -> None:
        backend: Any = loop.Connection._backend
        options = ConsumerOptions("host", "wid-of-test", workers=4)
        state = ConsumerState(backend, options, {}, Managed(), lambda timeout: pytest.fail("no heartbeat here"))
        session = Session(order_of(["default"]), is_persistent=False, until_empty=False)

        async def connect() -> Any:
            await state.reports.wait(10)
            rung.append(state.fetches.is_reconnecting(fetcher.turn))
            raise ConnectFailed("nobody there")

        async with backend.group() as group:
            runner = JobRunner(state, session, Hooks(), group)
            reconnector = Reconnector(backend, Outage(lambda: None), connect)
            fetcher = Fetcher(state, session, reconnector, runner, is_single=False)
            state.begin_session([fetcher.turn], stuck=0, is_watched=False)
            state.outgoing.add(Outcome(Ack("jid-of-mine"), 1e9))
            group.start(fetcher.run)
        assert isinstance(session.error, ConnectFailed)

    started = time.monotonic()
    loop.run(main)
    assert rung == [True]
    assert time.monotonic() - started < 5


# -- time-outs around and inside ---------------------------------------------------------------------------------------


def test_a_time_out_around_a_consumer_does_not_misfire(server: Server, client: Client) -> None:
    """A8: None of the consumer's own waits, limits and cancellations is taken for the caller's."""

    async def work(job: Job) -> None:
        await asyncio.sleep(job.args[0])

    client.push_bulk(Job("work", [seconds], retry=0) for seconds in (0, 0.01, 5, 5))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work, timeout=0.05).workers(2)
        async with asyncio.timeout(20):
            async with await builder.connect_asyncio(server.url) as consumer:
                summary = await consumer.drain(["default"])
        assert (summary.succeeded, summary.failed) == (2, 2)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run_asyncio(main())


def test_a_time_out_or_a_group_inside_a_hook_does_not_misfire(server: Server, client: Client) -> None:
    """A8: The hook runs in the task of the job that was cancelled at its limit."""
    seen: list[str] = []

    async def work(job: Job) -> None:
        await asyncio.sleep(5)

    async def on_failure(job: Job, error: BaseException) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append(f"cancelled {task.cancelling()} times")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        seen.append("timed out")
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.sleep(5)
        seen.append("failed")

    async def fail() -> None:
        raise ValueError("no good")

    client.push(Job("work", retry=2))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work, timeout=0.05).on_failure(on_failure)
        async with await builder.connect_asyncio(server.url) as consumer:
            await consumer.drain(["default"])

    run_asyncio(main())
    assert seen == ["cancelled 0 times", "timed out", "failed"]


# -- where it belongs --------------------------------------------------------------------------------------------------


def test_a_consumer_belongs_to_the_loop_that_connected_it(loop: Loop, server: Server, client: Client) -> None:
    """A2: It has tasks, threads and connections there."""
    client.push(Job("work"))

    async def connect() -> Any:
        return await loop.connect(ConsumerBuilder().register("work", print), server.url)

    consumer = loop.run(connect)

    async def use_elsewhere() -> None:
        for call in (consumer.run, consumer.drain, consumer.run_one):
            with pytest.raises(ConfigurationError, match="belongs to the event loop"):
                await call(["default"])
        with pytest.raises(ConfigurationError, match="belongs to the event loop"):
            await consumer.reconnect()
        await consumer.close()

    loop.run(use_elsewhere)
    assert len(server.queue("default")) == 1


# -- what must not happen ----------------------------------------------------------------------------------------------


def test_a_bug_in_reporting_ends_run_with_it_and_not_in_silence(
    loop: Loop, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P13: never alive but not reporting."""

    def broken(state: ConsumerState) -> Any:
        raise RuntimeError("a bug")

    async def main() -> None:
        consumer = await loop.connect(ConsumerBuilder().register("work", print), server.url)
        monkeypatch.setattr(ConsumerState, "take_any", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            await consumer.run(["default"])
        await consumer.close()

    loop.run(main)
    assert "the reporting task ended unexpectedly" in caplog.text


class Ends(Observer):
    """Writes down how jobs end."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def settled(self, job: Job, outcome: Any, seconds: float, waited: float | None, exc: BaseException | None) -> None:
        self.errors.append(type(exc).__name__)


def test_a_job_that_cannot_be_read_is_failed_and_observed(loop: Loop) -> None:
    """H8, H9."""
    odd, observer = OddServer(DEEP, GOOD), Ends()
    told: list[Job] = []

    async def main() -> None:
        builder = ConsumerBuilder().register("work", lambda job: None).observer(observer)
        builder.on_failure(lambda job, error: told.append(job))  # of what no hook can be told
        async with await loop.connect(builder, scripted.url) as consumer:
            summary = await consumer.drain(["default"])
            assert (summary.succeeded, summary.failed) == (1, 1)

    with ScriptedServer(odd.script) as scripted:
        loop.run(main)
    assert sorted(verb for verb, _ in odd.reports) == ["ACK", "FAIL"]
    assert told == []
    assert sorted(observer.errors) == ["NoneType", "ProtocolError"]


def test_a_consumer_works_once_at_a_time_and_a_quiet_one_fetches_nothing(
    loop: Loop, server: Server, client: Client
) -> None:
    async def main() -> None:
        consumer = await loop.connect(ConsumerBuilder().register("work", print), server.url)

        async def meddle() -> None:
            await loop.until(lambda: server.waiting)
            with pytest.raises(ConfigurationError, match="at work already"):
                await consumer.run(["default"])
            consumer.terminate()

        await loop.all(partial(consumer.run, ["default"]), meddle)
        other = await loop.connect(ConsumerBuilder().register("work", print), server.url)
        other.quiet()
        client.push(Job("work"))
        assert not await other.run_one(["default"])
        await other.close()

    loop.run(main)
    assert len(server.queue("default")) == 1
