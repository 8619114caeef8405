"""`faktory.core.overdue`: a FETCH is late by its own clock, and only twice late is it cut."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.core.overdue import FetchWatch


def watch() -> FetchWatch[int]:
    return FetchWatch(30.0, 1.0)


def test_a_fetch_that_was_just_sent_is_not_overdue_whenever_one_was_answered() -> None:
    """P13: every worker was busy for a minute, and nothing was answered all the while."""
    late = watch()
    assert late.overdue({}, 100.0) == []
    assert late.overdue({0: 160.0}, 160.1) == []
    assert late.overdue({0: 160.0}, 162.0) == []


def test_a_fetch_that_hangs_is_cut_at_the_second_look() -> None:
    """P13."""
    late = watch()
    assert late.overdue({3: 100.0, 4: 125.0}, 130.0) == []
    assert late.overdue({3: 100.0, 4: 125.0}, 130.9) == []
    assert late.overdue({3: 100.0, 4: 125.0}, 131.0) == [3]
    assert late.next_look({3: 100.0}) == 132.0
    assert late.overdue({3: 100.0, 4: 125.0}, 131.1) == []  # one cut at a time
    assert late.overdue({3: 100.0, 4: 125.0}, 132.1) == [3]


def test_a_frozen_process_reads_what_has_come_before_it_judges() -> None:
    """The FETCH was answered in the freeze; between the two looks its thread reads the answer and sends the next."""
    late = watch()
    assert late.overdue({0: 100.0}, 101.0) == []
    assert late.overdue({0: 100.0}, 500.0) == []
    assert late.overdue({0: 500.5}, 501.5) == []
    assert late.overdue({0: 500.5}, 530.5) == []  # a later one that hangs has its own two looks
    assert late.overdue({0: 500.5}, 531.5) == [0]


def test_looks_come_in_time_for_both() -> None:
    late = watch()
    assert late.next_look({}) == inf
    assert late.next_look({0: 100.0, 1: 90.0}) == 120.0
    late.overdue({0: 100.0, 1: 90.0}, 120.0)
    assert late.next_look({0: 100.0, 1: 90.0}) == 121.0
    assert late.next_look({1: 119.0}) == 149.0  # another FETCH of the same worker


def test_idle_workers_are_woken_when_nothing_was_under_way_for_long() -> None:
    """P13: what a lost wake-up would look like."""
    late = watch()
    assert not late.is_neglected(100.0, is_idle=True)
    assert late.next_look({}) == 130.0
    assert not late.is_neglected(129.9, is_idle=True)
    assert late.is_neglected(130.0, is_idle=True)
    assert not late.is_neglected(131.0, is_idle=True)
    assert late.is_neglected(160.0, is_idle=True)


def test_a_moment_between_two_fetches_is_no_neglect() -> None:
    late = watch()
    late.is_neglected(100.0, is_idle=True)
    assert not late.is_neglected(115.0, is_idle=False)
    assert not late.is_neglected(131.0, is_idle=True)


@pytest.mark.parametrize(
    ("sent", "is_anyone_free", "answered_at", "is_consuming"),
    [
        ({0: 99.0}, True, 10.0, True),  # after a long job
        ({}, False, 10.0, True),  # all busy
        ({}, True, 99.0, True),  # between two FETCHes
        ({}, True, 10.0, False),
        ({}, True, None, False),
        ({0: 50.0}, True, 50.0, False),  # it hangs
        ({0: 50.0, 1: 99.0}, True, 50.0, True),
    ],
)
def test_a_consumer_takes_jobs_while_a_fetch_is_under_way_or_all_are_busy(
    sent: dict[int, float], is_anyone_free: bool, answered_at: float | None, is_consuming: bool
) -> None:
    """P13."""
    late = watch()
    assert late.is_consuming(sent, is_anyone_free=is_anyone_free, answered_at=answered_at, now=100.0) is is_consuming


@given(st.lists(st.tuples(st.floats(0.001, 40.0), st.floats(0.0, 2.1)), max_size=30), st.floats(0.05, 20.0))
def test_no_fetch_that_is_answered_within_two_seconds_is_ever_cut(
    rounds: list[tuple[float, float]], interval: float
) -> None:
    """P13: jobs of any length, beats at any phase."""
    late = watch()
    now, beat = 0.0, interval
    for busy, wait in rounds:
        now += busy
        while beat <= now:
            assert late.overdue({}, beat) == []
            beat += interval
        sent, now = now, now + wait
        while beat <= now:
            assert late.overdue({0: sent}, beat) == []
            beat += interval
