"""Typed jobs against both servers: what is sent is what arrives."""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from faktory import App, JobContext, Retry, current_job
from tests.contract.conftest import Backend

ANY_UUID = UUID(int=1)


class Colour(enum.Enum):
    RED = "red"


class Share(enum.Enum):
    WHOLE = 1.0


class Spot(NamedTuple):
    x: float
    y: float


@dataclass
class Everything:
    whole: float = 2.0
    tiny: float = 5e-324
    huge: float = 1.7976931348623157e308
    long: float = 123456789012345680000.0
    third: float = 1 / 3
    count: int = 2**53
    text: str = "<é\u2028\U0001f600>&\x00"
    raw: bytes = bytes(range(256))
    day: date = date(2026, 2, 28)
    moment: datetime = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
    clock: time = time(23, 59, 59, 999999)
    span: timedelta = timedelta(days=-1, microseconds=1)
    uuid: UUID = ANY_UUID
    price: Decimal = Decimal("0.10")
    path: Path = Path("/a b")
    colour: Colour = Colour.RED
    share: Share = Share.WHOLE
    spots: tuple[Spot, ...] = (Spot(1.0, -0.5),)
    by_number: dict[int, set[str]] = field(default_factory=lambda: {5: {"a", "b"}})
    maybe: int | str | None = None


def test_every_value_arrives_as_it_was_sent(backend: Backend) -> None:
    app = App(client=backend.client)
    seen: list[tuple[Everything, Any]] = []

    @app.job(queue=backend.queue)
    def work(ctx: JobContext, everything: Everything, rest: Any) -> None:
        seen.append((everything, rest))

    rest: dict[str, Any] = {"a": [1, 1.5, None, True, "x", {"b": []}]}
    work.enqueue(Everything(), rest)
    with app.consumer().connect() as consumer:
        assert consumer.run_one([backend.queue])
    assert seen == [(Everything(), rest)]
    found = seen[0][0]
    assert {name: type(value) for name, value in vars(found).items()} == {
        name: type(value) for name, value in vars(Everything()).items()
    }
    assert math.copysign(1, found.spots[0].y) == -1


def test_a_job_that_does_not_fit_is_failed_with_the_path(backend: Backend) -> None:
    app = App(client=backend.client)

    @app.job(queue=backend.queue)
    def work(spots: list[Spot]) -> None: ...

    errors: list[str] = []
    backend.push("work", [[1, 2], [1, "two"]], retry=0)
    with app.consumer().on_failure(lambda job, exc: errors.append(str(exc))).connect() as consumer:
        assert consumer.run_one([backend.queue])
    assert errors == ["args[0][1][1] must be float, got str; it is the argument 'spots' of 'work'"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_async_jobs_run_on_either_loop_and_push_others(backend: Backend, loop: str) -> None:
    app = App(client=backend.client)
    seen: list[object] = []

    @app.use
    async def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        seen.append("around")
        return await call_next()

    @app.job(queue=backend.queue)
    async def first(ctx: JobContext, spot: Spot) -> None:
        job = current_job()
        seen.append((spot, job is not None and job.jid == ctx.jid))
        await second.aenqueue(2)

    @app.job(queue=backend.queue)
    async def second(n: int) -> None:
        seen.append(n)
        raise Retry(in_=3600)

    async def main() -> None:
        builder = app.consumer()
        connected = builder.connect_asyncio() if loop == "asyncio" else builder.connect_trio()
        async with await connected as consumer:
            assert await consumer.run_one([backend.queue])
            assert await consumer.run_one([backend.queue])

    first.enqueue(Spot(1.0, 2.0))
    if loop == "asyncio":
        asyncio.run(main())
    else:
        pytest.importorskip("trio").run(main)
    assert seen == ["around", (Spot(1.0, 2.0), True), "around", 2]
    assert backend.sets()["scheduled"] == 1


def test_a_retry_leaves_one_copy_for_later_and_no_failure(backend: Backend) -> None:
    app = App(client=backend.client)
    before = backend.sets()

    @app.job(queue=backend.queue)
    def work(ctx: JobContext) -> None:
        raise Retry(in_=3600)

    work.enqueue()
    with app.consumer().connect() as consumer:
        assert consumer.run_one([backend.queue])
    after = backend.sets()
    assert (after["scheduled"], after["retries"]) == (before["scheduled"] + 1, before["retries"])


def test_two_consumers_of_an_app_share_its_values(backend: Backend) -> None:
    """27.3a: the first to end takes nothing from under the other's jobs."""
    app = App(client=backend.client)
    states: list[bool] = []

    class Database:
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    app.manage(Database, Database)

    @app.job(queue=backend.queue)
    def work(ctx: JobContext) -> None:
        states.append(ctx.get(Database).is_closed)

    with app.consumer().connect() as one:
        work.enqueue()
        assert one.run_one([backend.queue])
        with app.consumer().connect() as other:
            work.enqueue()
            assert other.run_one([backend.queue])
        value = app.managed.get(Database)
        assert not value.is_closed
        work.enqueue()
        assert one.run_one([backend.queue])
    assert states == [False] * 3
    assert value.is_closed
