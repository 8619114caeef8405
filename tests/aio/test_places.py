"""`faktory.aio.places`: who waits longest is next, and no place is lost."""

from __future__ import annotations

from functools import partial
from typing import Any

from faktory.aio.places import Places
from tests.loops import Loop


def backend(loop: Loop) -> Any:
    return loop.Connection._backend


def test_places_are_given_in_the_order_of_coming_and_never_past_who_waits(loop: Loop) -> None:
    """A1."""
    order: list[str] = []
    come_so_far = 0

    async def main() -> None:
        places = Places(backend(loop), 1)
        assert await places.take()

        async def come(number: int) -> None:
            nonlocal come_so_far
            await loop.until(lambda: come_so_far == number - 1)
            come_so_far += 1
            assert await places.take()
            order.append(f"{number}")
            places.give_back()

        async def give_back_and_take_again() -> None:
            await loop.until(lambda: come_so_far == 4)
            places.give_back()
            assert await places.take()
            order.append("again")
            places.give_back()

        await loop.all(give_back_and_take_again, *[partial(come, number) for number in range(1, 5)])

    loop.run(main)
    assert order == ["1", "2", "3", "4", "again"]


def test_a_cancelled_waiter_passes_its_turn_on_at_any_moment(loop: Loop) -> None:
    """P10: also in the moment in which it has been given the place, and has not run yet."""
    taken: list[str] = []
    waiting: list[str] = []

    async def main() -> None:
        places = Places(backend(loop), 1)
        assert await places.take()

        async def first() -> None:
            async def give_back() -> None:
                await loop.until(lambda: waiting)
                places.give_back()

            if not await loop.cancelling(places.take, give_back):
                places.give_back()  # trio's way: what has happened is not cancelled

        async def second() -> None:
            await loop.sleep(0.01)
            waiting.append("second")
            assert await places.take()
            taken.append("second")
            places.give_back()

        await loop.all(first, second)
        assert await places.take(0.0)

    loop.run(main)
    assert taken == ["second"]


def test_a_waiter_that_is_cancelled_early_leaves_the_line(loop: Loop) -> None:
    async def main() -> None:
        places = Places(backend(loop), 1)
        assert await places.take()
        assert await loop.cancelling(places.take, lambda: loop.sleep(0.01))
        places.give_back()
        assert await places.take(0.0)

    loop.run(main)


def test_who_waits_too_long_leaves_the_line(loop: Loop) -> None:
    async def main() -> None:
        places = Places(backend(loop), 1)
        assert await places.take()
        assert not await places.take(0.01)
        places.give_back()
        assert await places.take(0.0)

    loop.run(main)


def test_closing_sends_everybody_away(loop: Loop) -> None:
    got: list[bool] = []

    async def main() -> None:
        places = Places(backend(loop), 1)
        assert await places.take()

        async def wait() -> None:
            got.append(await places.take())

        async def close() -> None:
            await loop.sleep(0.01)
            places.close()

        await loop.all(wait, wait, close)
        assert not await places.take()

    loop.run(main)
    assert got == [False, False]
