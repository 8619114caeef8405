"""The end of an async worker, whatever its handlers do: block the loop, or go on though they were cancelled."""

from __future__ import annotations

import signal
import time

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server
from tests.loops import Loop
from tests.program import Program
from tests.waiting import until

WORKER = "tests.programs.async_worker"


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def library(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return request.param  # type: ignore[no-any-return]


def failures(server: Server) -> list[tuple[str, str]]:
    found = [job.failure for job in server.retries]
    return [(each.errtype, each.message) for each in found if each is not None]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["block", "block_in_c"])
def test_a_second_signal_ends_at_once_though_the_loop_is_blocked(
    server: Server, client: Client, library: str, how: str
) -> None:
    """A5, P2: Whether it waits in Python or in C."""
    with Program(WORKER, library, server.url, "default", 20) as worker:
        until(lambda: server.waiting)
        client.push(Job(how, [60], retry=5))
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        time.sleep(1.1)  # another one within a second would be the same
        started = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 128 + signal.SIGTERM, worker.errors
        assert time.monotonic() - started < 4
    assert failures(server) == [("JobCancelled", "the worker had to stop before the job was done")]
    assert len(server.working) == 0
    assert "the event loop is blocked" in worker.errors


@pytest.mark.slow
@pytest.mark.usefixtures("brief_wind_down")
def test_a_blocked_loop_outlasts_no_shutdown(server: Server, client: Client, library: str) -> None:
    """A5, P6: The jobs have had their time when it is over."""
    client.push(Job("block", [60], retry=5))
    with Program(WORKER, library, server.url, "default", 0.2) as worker:
        worker.expect("start")
        started = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 1, worker.errors
        assert time.monotonic() - started < 6
    assert failures(server) == [("JobCancelled", "the worker had to stop before the job was done")]
    assert "shutdown" not in worker.lines


@pytest.mark.slow
def test_a_handler_that_blocks_the_loop_knows_of_the_end(server: Server, client: Client, library: str) -> None:
    """`stopping` is true at once."""
    client.push(Job("block_until_told", [], retry=5))
    with Program(WORKER, library, server.url, "default", 20) as worker:
        worker.expect("start")
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) == 0, worker.errors
    assert worker.lines[-2].startswith("done")
    assert worker.lines[-1] == "shutdown"
    assert not failures(server)


@pytest.mark.slow
@pytest.mark.usefixtures("brief_wind_down")
@pytest.mark.parametrize("how", ["terminate", "cancel", "close"])
def test_a_job_that_goes_on_for_ever_is_left_behind(
    loop: Loop, server: Server, client: Client, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A6, P7: As threads leave theirs."""
    is_over = False
    started: list[str] = []
    ended: list[str] = []
    results: list[int] = []

    async def stubborn(job: Job) -> None:
        started.append(job.jid)
        while not is_over:
            try:
                await loop.sleep(0.02)
            except loop.Cancelled:
                time.sleep(0.001)
        ended.append(job.jid)

    jid = client.push(Job("work", retry=3))

    async def main() -> None:
        nonlocal is_over
        builder = ConsumerBuilder().register("work", stubborn).shutdown_timeout(0.05)
        consumer = await loop.connect(builder, server.url)

        async def run() -> None:
            results.append(await consumer.run(["default"]))

        async def begun() -> None:
            await loop.until(lambda: started)

        async def stop() -> None:
            await begun()
            if how == "close":
                await consumer.close()
                assert consumer.state == "terminated"
            else:
                await consumer.terminate()

        if how == "cancel":
            assert await loop.cancelling(lambda: consumer.run(["default"]), begun)
        else:
            await loop.all(run, stop)
            assert results == [1]
        assert consumer.health().busy == 1
        assert not ended
        is_over = True
        await loop.until(lambda: ended)
        await loop.until(lambda: consumer.health().busy == 0)

    loop.run(main)
    assert ended == [jid]
    assert failures(server) == [("JobCancelled", "the worker had to stop before the job was done")]
    assert "goes on though it was cancelled" in caplog.text


def test_a_job_that_ends_with_the_wind_down_is_reported(
    loop: Loop, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: Its outcome came last of all, when nobody waited for reports any more."""
    monkeypatch.setattr("faktory.core.ending.WIND_DOWN", 0.05)
    started: list[str] = []

    async def clean_up_slowly(job: Job) -> None:
        started.append(job.jid)
        try:
            await loop.sleep(60)
        finally:
            time.sleep(0.1)  # blocks the loop, until after the wind-down

    client.push(Job("slow", retry=5))

    async def main() -> None:
        builder = ConsumerBuilder().register("slow", clean_up_slowly).shutdown_timeout(0)
        consumer = await loop.connect(builder, server.url)

        async def stop() -> None:
            await loop.until(lambda: started)
            await consumer.terminate()

        await loop.all(lambda: consumer.run(["default"]), stop)

    loop.run(main)
    assert failures(server) == [("JobCancelled", "the worker had to stop before the job was done")]
    assert len(server.working) == 0
