"""What the async shell asks of a scheduler: groups of tasks, and scopes that cancel one of them."""

from __future__ import annotations

from typing import Any

import pytest

from faktory.aio.backend import Cut
from tests.loops import Loop


def backend_of(loop: Loop) -> Any:
    return loop.Connection._backend


class Sleeper:
    """A task that notes when it is cancelled."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.has_begun = loop.event()
        self.seen: list[str] = []

    async def __call__(self) -> None:
        self.has_begun.set()
        try:
            await self._loop.sleep(10)
        except self._loop.Cancelled:
            self.seen.append("cancelled")
            raise


def test_a_group_raises_what_a_task_raised_after_the_others_have_ended(loop: Loop) -> None:
    seen: list[str] = []

    async def fail() -> None:
        raise ValueError("no good")

    async def other() -> None:
        await loop.sleep(0.01)
        seen.append("other")

    async def main() -> None:
        async with backend_of(loop).group() as group:
            group.start(fail)
            group.start(other)

    with pytest.raises(ValueError, match="no good"):
        loop.run(main)
    assert seen == ["other"]


def test_a_group_whose_block_raises_ends_its_tasks_and_raises_that(loop: Loop) -> None:
    async def main() -> None:
        sleeper = Sleeper(loop)
        with pytest.raises(ValueError, match="of the block"):
            async with backend_of(loop).group() as group:
                group.start(sleeper)
                await sleeper.has_begun.wait()
                raise ValueError("of the block")
        assert sleeper.seen == ["cancelled"]

    loop.run(main)


def test_who_is_cancelled_while_a_group_ends_takes_its_tasks_along(loop: Loop) -> None:
    sleeper: list[Sleeper] = []

    async def wait_for_it() -> None:
        sleeper.append(Sleeper(loop))
        async with backend_of(loop).group() as group:
            group.start(sleeper[0])

    async def begun() -> None:
        await loop.until(lambda: sleeper)
        await sleeper[0].has_begun.wait()

    async def main() -> None:
        assert await loop.cancelling(wait_for_it, begun)
        assert sleeper[0].seen == ["cancelled"]

    loop.run(main)


def test_a_scope_that_is_cancelled_beforehand_cuts_at_the_first_wait(loop: Loop) -> None:
    seen: list[str] = []

    async def call() -> None:
        await loop.sleep(0)
        seen.append("went on")

    async def main() -> None:
        scope = backend_of(loop).scope()
        scope.cancel()
        scope.cancel()
        with pytest.raises(Cut):
            await scope.run(call)
        await loop.sleep(0)  # nothing is left of the cancellation

    loop.run(main)
    assert seen == []


def test_what_is_shielded_ends_before_the_cancellation_is_raised(loop: Loop) -> None:
    seen: list[str] = []
    gate: list[Any] = []

    async def call() -> None:
        await gate[0].wait()
        seen.append("call")

    def on_cancel() -> None:
        seen.append("cancelled")
        gate[0].set()

    async def main() -> None:
        gate.append(loop.event())
        assert await loop.cancelling(
            lambda: backend_of(loop).shielded(call, on_cancel=on_cancel), lambda: loop.sleep(0.01)
        )

    loop.run(main)
    assert seen == ["cancelled", "call"]
