"""What a job had in hand is let go when it is reported, without the help of the cyclic collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server
from tests.loops import Loop


class Large:
    """Stands for megabytes, or for an open file."""


@pytest.fixture
def server() -> Iterator[Server]:
    """One whose FETCHes do not wait for long."""
    with Server(seed=7, fetch_wait=0.1) as server:
        yield server


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("has_hooks", [True, False], ids=["hooks", "bare"])
@pytest.mark.parametrize("how", ["succeeds", "fails", "chained", "limit", "swallowed", "plain_fails", "plain_chained"])
def test_values_are_let_go_with_the_report(
    loop: Loop, server: Server, client: Client, how: str, has_hooks: bool
) -> None:
    """A9."""
    kept: list[weakref.ref[Large]] = []
    told: list[str] = []

    async def succeeds(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        await loop.sleep(0)

    async def fails(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        raise ValueError(large)

    async def chained(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        try:
            raise KeyError(large)
        except KeyError as exc:
            raise ValueError("no good") from exc

    async def limit(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        await loop.sleep(5)

    async def swallowed(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        with suppress(loop.Cancelled):
            await loop.sleep(5)

    def plain_fails(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        raise ValueError(large)

    def plain_chained(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        try:
            raise KeyError(large)
        except KeyError as exc:
            raise ValueError("no good") from exc

    handlers: dict[str, Any] = dict(locals())
    client.push(Job("work", retry=2))

    async def main() -> None:
        timeout = 0.05 if how in ("limit", "swallowed") else None
        builder = ConsumerBuilder().register("work", handlers[how], timeout=timeout)
        if has_hooks:
            builder.on_failure(lambda job, error: told.append(type(error).__name__))
        consumer = await loop.connect(builder, server.url)

        async def look() -> None:
            await loop.until(lambda: kept)
            await loop.until(lambda: not server.working)
            await loop.until(lambda: kept[0]() is None)
            await consumer.terminate()

        await loop.all(lambda: consumer.run(["default"]), look)

    loop.run(main)
    assert len(told) == (1 if has_hooks and how != "succeeds" else 0)


@pytest.mark.parametrize("is_plain", [False, True], ids=["coroutine", "plain"])
def test_the_values_of_a_job_that_was_cut_off_are_let_go(
    loop: Loop, server: Server, client: Client, is_plain: bool
) -> None:
    kept: list[weakref.ref[Large]] = []

    async def work(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        await loop.sleep(30)

    def plain(job: Job) -> None:
        large = Large()
        kept.append(weakref.ref(large))
        raise ValueError(large)

    client.push(Job("work", retry=2))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", plain if is_plain else work).shutdown_timeout(0)
        consumer = await loop.connect(builder, server.url)

        async def stop() -> None:
            await loop.until(lambda: kept)
            await consumer.terminate()

        await loop.all(lambda: consumer.run(["default"]), stop)
        await loop.until(lambda: kept[0]() is None)

    loop.run(main)
