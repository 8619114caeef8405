"""Managed values on event loops: made before the jobs that want them, beside the loop when they are plain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from faktory import App, ConfigurationError, ConsumerBuilder, Job, JobContext, Summary, managed
from faktory.server import Server
from tests.contract.fronts import AsyncFront, AsyncioFront, TrioFront
from tests.loops import pause


@pytest.fixture
def quick() -> Iterator[Server]:
    with Server(seed=5, fetch_wait=0.02) as server:
        yield server


@pytest.fixture(params=[AsyncioFront, TrioFront], ids=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> AsyncFront:
    return request.param()  # type: ignore[no-any-return]


class Pool:
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def close(self) -> None:
        await pause()
        self.seen.append("closed")


class Entered:
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    async def __aenter__(self) -> Entered:
        await pause()
        self.seen.append("entered")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await pause()
        self.seen.append("left")


class Session:
    pass


def run(loop: AsyncFront, app: App, server: Server) -> Summary:
    return loop.drain(app.consumer().workers(4), server.url, ["default"])


@pytest.mark.parametrize("says", [True, False], ids=["needs", "all"])
def test_what_is_async_is_awaited_entered_and_left(loop: AsyncFront, quick: Server, says: bool) -> None:
    """27.3: for async jobs and for plain ones, whether they say what they need or not."""
    seen: list[str] = []
    app = App(quick.url)

    async def make_pool() -> Pool:
        await pause()
        seen.append("made")
        return Pool(seen)

    @asynccontextmanager
    async def session() -> AsyncIterator[Session]:
        if isinstance(loop, TrioFront):
            async with trio.open_nursery():  # must be left by the task that has entered it
                yield Session()
        else:
            async with asyncio.TaskGroup():
                yield Session()
        seen.append("session left")

    app.manage(Pool, make_pool)
    app.manage(Entered, lambda: Entered(seen))
    app.manage(Session, session)
    got: list[Any] = []
    options: dict[str, Any] = {"needs": (Pool, Entered, Session)} if says else {}

    @app.job(**options)
    async def on_loop(ctx: JobContext) -> None:
        got.append((ctx.get(Pool), ctx.get(Entered), ctx.get(Session)))

    @app.job(**options)
    def in_thread(ctx: JobContext) -> None:
        got.append((ctx.get(Pool), ctx.get(Entered), ctx.get(Session)))

    for _ in range(3):
        on_loop.enqueue()
        in_thread.enqueue()
    assert run(loop, app, quick).succeeded == 6
    assert len(got) == 6
    assert len(set(got)) == 1
    assert [type(value) for value in got[0]] == [Pool, Entered, Session]
    assert seen == ["made", "entered", "session left", "left", "closed"]
    app.close()


def test_a_slow_plain_factory_does_not_stop_the_loop(loop: AsyncFront, quick: Server) -> None:
    app = App(quick.url)
    is_made, ticks = threading.Event(), 0

    def slow() -> Session:
        time.sleep(0.3)
        is_made.set()
        return Session()

    app.manage(Session, slow)

    @app.job
    async def work(ctx: JobContext) -> None:
        assert isinstance(ctx.get(Session), Session)

    async def beat() -> None:
        nonlocal ticks
        while not is_made.is_set():
            ticks += 1
            await pause(0.01)

    @app.job(needs=(Other,))
    async def ticking(ctx: JobContext) -> None:
        await beat()

    app.manage(Other, Other)
    ticking.enqueue()
    work.enqueue()
    assert run(loop, app, quick).succeeded == 2
    assert ticks > 5
    app.close()


@pytest.mark.parametrize("ask", [JobContext.get, lambda _, kind: managed(kind)], ids=["ctx.get", "managed"])
def test_what_a_job_does_not_say_it_needs_is_not_made_on_the_loop(
    loop: AsyncFront, quick: Server, ask: Callable[[JobContext, type[Any]], Any]
) -> None:
    """27.3: the factory would hold up every job of the loop; a plain handler's thread may wait for it."""
    app = App(quick.url)
    made: list[int] = []

    def make() -> Session:
        made.append(threading.get_ident())
        return Session()

    app.manage(Session, make)
    app.manage(Other, Other)

    @app.job(needs=(Other,), retry=0)
    async def on_loop(ctx: JobContext) -> None:
        with pytest.raises(ConfigurationError, match=r"would stop the event loop; .* needs=\(Session,\)"):
            ask(ctx, Session)

    on_loop.enqueue()
    assert run(loop, app, quick).succeeded == 1
    assert made == []

    @app.job(needs=(Other,))
    def in_thread(ctx: JobContext) -> None:
        assert isinstance(ask(ctx, Session), Session)

    in_thread.enqueue()
    assert run(loop, app, quick).succeeded == 1
    assert made != [threading.get_ident()]
    assert isinstance(app.managed.get(Session), Session)  # no loop is left that it could hold up
    app.close()


class Other:
    pass


def test_only_what_a_job_says_it_needs_may_fail_it(loop: AsyncFront, quick: Server) -> None:
    app = App(quick.url)

    async def broken() -> Session:
        raise OSError("no database")

    app.manage(Session, broken)

    @app.job(needs=(Session,))
    async def needing() -> None: ...

    @app.job
    async def asking(ctx: JobContext) -> None:
        ctx.get(Session)

    @app.job
    async def other() -> None: ...

    for job in (needing, asking, other):
        job.enqueue()
    summary = run(loop, app, quick)
    assert (summary.succeeded, summary.failed) == (1, 2)
    told = {job.jobtype: (job.failure.errtype, job.failure.message) for job in quick.retries if job.failure}
    assert told["needing"] == ("OSError", "no database")
    assert told["asking"][0] == "ConfigurationError"
    app.close()


def test_a_value_of_the_wrong_type_fails_the_job_that_needs_it(loop: AsyncFront, quick: Server) -> None:
    app = App(quick.url)

    @asynccontextmanager
    async def wrong() -> AsyncIterator[Any]:
        yield None

    async def nothing() -> Any: ...

    app.manage(Session, wrong)
    app.manage(Pool, nothing)

    @app.job(needs=(Session,))
    async def one() -> None: ...

    @app.job(needs=(Pool,))
    async def two() -> None: ...

    one.enqueue()
    two.enqueue()
    assert run(loop, app, quick).failed == 2
    assert all("gave a NoneType" in (job.failure.message if job.failure else "") for job in quick.retries)
    app.close()


def test_a_builders_own_values_are_made_for_plain_handlers(loop: AsyncFront, quick: Server) -> None:
    seen: list[str] = []
    got: list[Any] = []

    async def make() -> Pool:
        return Pool(seen)

    async def main() -> None:
        builder = ConsumerBuilder().manage(Pool, make)

        async def work(job: Job) -> None:
            got.append(consumer.get(Pool))

        consumer = await loop.connect(builder.register("work", work), quick.url)
        async with consumer:
            await consumer.drain(["default"])

    from faktory import Client

    with Client(quick.url) as client:
        client.push(Job("work"))
    loop.run(main)
    assert [type(value) for value in got] == [Pool]
    assert seen == ["closed"]


def test_threads_and_children_refuse_async_factories(quick: Server) -> None:
    app = App(quick.url)

    async def make() -> Session:
        return Session()

    app.manage(Session, make)
    app.job(name="work")(lambda: None)
    with pytest.raises(ConfigurationError, match="is async, which threads cannot run"):
        app.consumer().connect()

    async def main(connect: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(ConfigurationError, match="is async, which child processes cannot run"):
            await connect()

    asyncio.run(main(lambda: app.consumer().processes(1).connect_asyncio()))


@pytest.mark.parametrize("how", ["closed", "left"])
def test_a_value_that_does_not_close_is_told_and_keeps_no_other_open(
    loop: AsyncFront, quick: Server, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    app = App(quick.url)

    class Broken:
        async def close(self) -> None:
            raise OSError("no way out")

    @asynccontextmanager
    async def entered() -> AsyncIterator[Session]:
        yield Session()
        raise OSError("no way out")

    async def make() -> Pool:
        return Pool(seen)

    kind: type[Any] = Broken if how == "closed" else Session
    app.manage(Pool, make)
    app.manage(kind, Broken if how == "closed" else entered)

    @app.job(needs=(Pool, kind))
    async def work() -> None: ...

    work.enqueue()
    assert run(loop, app, quick).succeeded == 1
    assert seen == ["closed"]
    assert "no way out" in caplog.text
    assert kind.__name__ in caplog.text
    app.close()
