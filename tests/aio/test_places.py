"""`faktory.aio.places`: who waits longest is next, and no place is lost."""

from __future__ import annotations

from typing import Any

from faktory.aio.places import Places
from tests.loops import Loop


def kit(loop: Loop) -> Any:
    return loop.Connection._kit


def test_places_are_given_in_the_order_of_coming_and_never_past_who_waits(loop: Loop) -> None:
    order: list[str] = []

    async def main() -> None:
        places = Places(kit(loop), 1)
        assert await places.take()

        async def come(name: str, after: float) -> None:
            await loop.sleep(after)
            assert await places.take()
            order.append(name)
            places.give_back()

        async def give_back_and_take_again() -> None:
            await loop.sleep(0.1)
            places.give_back()
            assert await places.take()
            order.append("again")
            places.give_back()

        await loop.all(give_back_and_take_again, *[lambda n=n: come(f"{n}", 0.01 * n) for n in range(1, 5)])

    loop.run(main)
    assert order == ["1", "2", "3", "4", "again"]


def test_a_cancelled_waiter_passes_its_turn_on_at_any_moment(loop: Loop) -> None:
    """P10: also in the moment in which it has been given the place, and has not run yet."""
    taken: list[str] = []

    async def main() -> None:
        places = Places(kit(loop), 1)
        assert await places.take()

        async def first() -> None:
            async def give_back() -> None:
                await loop.sleep(0.02)
                places.give_back()

            if not await loop.cancelling(places.take, give_back):
                places.give_back()  # trio's way: what has happened is not cancelled

        async def second() -> None:
            await loop.sleep(0.01)
            assert await places.take()
            taken.append("second")
            places.give_back()

        await loop.all(first, second)
        assert await places.take(0.0)

    loop.run(main)
    assert taken == ["second"]


def test_a_waiter_that_is_cancelled_early_leaves_the_line(loop: Loop) -> None:
    async def main() -> None:
        places = Places(kit(loop), 1)
        assert await places.take()
        assert await loop.cancelling(places.take, lambda: loop.sleep(0.01))
        places.give_back()
        assert await places.take(0.0)

    loop.run(main)


def test_who_waits_too_long_leaves_the_line(loop: Loop) -> None:
    async def main() -> None:
        places = Places(kit(loop), 1)
        assert await places.take()
        assert not await places.take(0.01)
        places.give_back()
        assert await places.take(0.0)

    loop.run(main)


def test_closing_sends_everybody_away(loop: Loop) -> None:
    got: list[bool] = []

    async def main() -> None:
        places = Places(kit(loop), 1)
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
