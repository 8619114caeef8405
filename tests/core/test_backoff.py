"""`faktory.core.backoff`: delays that grow, stay in bounds, and differ between clients (N1)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.core.backoff import Backoff

CHANCES = st.floats(0, 1, exclude_max=True)


def most() -> float:
    return 1.0


def least() -> float:
    return 0.0


def test_delays_double_up_to_the_limit() -> None:
    """N1: from 0.1 s to 30 s."""
    backoff = Backoff(chance=most)
    delays = [backoff.next_delay() for _ in range(11)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])


def test_chance_takes_up_to_nine_tenths_off() -> None:
    backoff = Backoff(first=1.0, limit=8.0, chance=least)
    assert [backoff.next_delay() for _ in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 0.8])


def test_each_delay_is_drawn_anew() -> None:
    draws = iter([0.0, 0.5, 1.0])
    backoff = Backoff(first=4.0, limit=4.0, chance=lambda: next(draws))
    assert [backoff.next_delay() for _ in range(3)] == pytest.approx([0.4, 2.2, 4.0])


def test_reset_begins_again_with_the_first_delay() -> None:
    backoff = Backoff(chance=most)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == pytest.approx(0.1)
    assert backoff.next_delay() == pytest.approx(0.2)


def test_a_least_delay_is_kept_and_counts_as_an_attempt() -> None:
    """N9: 5 s after a refusal that will not heal by itself."""
    backoff = Backoff(chance=most)
    assert backoff.next_delay(at_least=5.0) == 5.0
    assert backoff.next_delay() == pytest.approx(0.2)


def test_a_least_delay_below_the_drawn_one_changes_nothing() -> None:
    backoff = Backoff(first=10.0, chance=most)
    assert backoff.next_delay(at_least=5.0) == pytest.approx(10.0)


def test_an_outage_of_weeks_does_not_overflow() -> None:
    backoff = Backoff(chance=most)
    assert [backoff.next_delay() for _ in range(3_000)][-1] == 30.0


def test_delays_differ_by_default() -> None:
    """Or all workers would come back to a restarted server at the same instant."""
    backoff = Backoff(first=1.0, limit=1.0)
    delays = [backoff.next_delay() for _ in range(50)]
    assert len(set(delays)) > 40
    assert all(0.1 <= delay <= 1.0 for delay in delays)


@given(st.floats(0.001, 100), st.floats(0.001, 1000), st.lists(st.tuples(CHANCES, st.floats(0, 10)), max_size=30))
def test_every_delay_is_within_its_bounds(first: float, limit: float, draws: list[tuple[float, float]]) -> None:
    chances = iter([chance for chance, _ in draws])
    backoff = Backoff(first, limit, chance=lambda: next(chances))
    for attempt, (_, at_least) in enumerate(draws):
        ceiling = min(limit, first * 2.0**attempt)
        delay = backoff.next_delay(at_least)
        assert delay >= at_least
        assert delay >= 0.0999 * ceiling
        assert delay <= max(at_least, ceiling * 1.0001)


def test_the_mean_delay_is_about_half_of_the_most() -> None:
    backoff = Backoff(first=1.0, limit=1.0, chance=random.Random(7).random)
    mean = sum(backoff.next_delay() for _ in range(5_000)) / 5_000
    assert mean == pytest.approx(0.55, abs=0.02)
