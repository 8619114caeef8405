"""Limits of queues: who may name which queue in a FETCH."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory import ConfigurationError
from faktory.core.limits import Limits
from faktory.options import QueueLimit

NAMES = ("fast", "slow")


def test_a_fetch_holds_a_place_in_each_limited_queue_until_it_is_answered() -> None:
    limits = Limits({"slow": QueueLimit(concurrency=1)}, 0.0)
    first = limits.claim(NAMES, 0.0)
    assert (first.names, first.is_whole) == (NAMES, True)
    second = limits.claim(NAMES, 0.0)
    assert (second.names, second.is_whole) == (("fast",), False)
    first.keep("fast")  # another queue's job: the place is free
    third = limits.claim(NAMES, 0.0)
    assert third.names == NAMES
    third.keep("slow")
    assert limits.claim(NAMES, 0.0).names == ("fast",)
    third.end()
    third.end()
    assert limits.claim(NAMES, 0.0).names == NAMES


def test_a_fetch_that_comes_to_nothing_gives_all_back() -> None:
    limits = Limits({"slow": QueueLimit(concurrency=1, per_second=1.0)}, 0.0)
    claim = limits.claim(("slow",), 0.0)
    assert limits.claim(("slow",), 0.0).names == ()
    seen = limits.releases
    claim.end()
    assert limits.releases > seen
    again = limits.claim(("slow",), 0.0)
    assert again.names == ("slow",)
    again.keep(None)
    assert limits.claim(("slow",), 0.0).names == ("slow",)


def test_a_rate_allows_one_job_after_another() -> None:
    limits = Limits({"slow": QueueLimit(per_second=2.0)}, 0.0)
    assert limits.next_in(NAMES) == 0.0
    claim = limits.claim(("slow",), 0.0)
    claim.keep("slow")
    claim.end()  # the job is done; the rate is used up all the same
    assert limits.claim(("slow",), 0.1).names == ()
    assert limits.next_in(("slow",)) == pytest.approx(0.4, abs=0.01)
    assert limits.claim(("slow",), 0.51).names == ("slow",)


def test_a_high_rate_may_save_up_a_tenth_of_a_second() -> None:
    limits = Limits({"slow": QueueLimit(per_second=100.0)}, 0.0)
    taken = 0
    while limits.claim(("slow",), 60.0).names:
        taken += 1
    assert taken == 10


def test_only_a_jobs_end_helps_a_queue_without_a_place() -> None:
    limits = Limits({"slow": QueueLimit(concurrency=1, per_second=1000.0)}, 0.0)
    limits.claim(("slow",), 0.0)
    assert limits.next_in(("slow",)) == inf
    assert limits.next_in(("fast",)) == inf


@given(
    st.lists(
        st.tuples(st.sampled_from(["claim", "keep slow", "keep fast", "keep none", "end"]), st.integers(0, 9)),
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_a_limit_is_never_exceeded_and_never_lost(steps: list[tuple[str, int]], most: int) -> None:
    limits = Limits({"slow": QueueLimit(concurrency=most)}, 0.0)
    waiting, running = [], []
    for what, which in steps:
        if what == "claim":
            waiting.append(limits.claim(NAMES, 0.0))
        elif what.startswith("keep") and waiting:
            claim = waiting.pop(which % len(waiting))
            queue = what.split()[1]
            if queue == "slow" and "slow" not in claim.names:
                queue = "fast"  # the server gives no job of a queue that was not named
            claim.keep(None if queue == "none" else queue)
            if queue == "slow":
                running.append(claim)
        elif what == "end" and running:
            running.pop(which % len(running)).end()
        assert len(running) + sum("slow" in claim.names for claim in waiting) <= most
    for claim in [*waiting, *running]:
        claim.end()
    assert sum("slow" in limits.claim(NAMES, 0.0).names for _ in range(9)) == most


def test_a_limit_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="got neither"):
        QueueLimit()
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(ConfigurationError, match="concurrency must be"):
            QueueLimit(concurrency=wrong)  # type: ignore[arg-type]
    for rate in (0.0, -1.0, float("nan"), True, "2"):
        with pytest.raises(ConfigurationError, match="per_second must be"):
            QueueLimit(per_second=rate)  # type: ignore[arg-type]
