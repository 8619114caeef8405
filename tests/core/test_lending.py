"""Which connections of a pool may be lent: pure decisions."""

from __future__ import annotations

import pytest

from faktory import ConfigurationError
from faktory.core.lending import LendingPolicy


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "5", 1001])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(ConfigurationError, match="pool_size must be an integer from 1 to 1,000"):
        LendingPolicy(size)  # type: ignore[arg-type]


def test_without_a_loss_every_connection_is_trusted() -> None:
    policy = LendingPolicy(2)
    assert policy.size == 2
    assert policy.may_lend(0.0)


def test_after_a_loss_those_that_were_idle_before_are_suspects() -> None:
    policy = LendingPolicy(5)
    policy.note_loss(100.0)
    assert not policy.may_lend(99.9)
    assert policy.may_lend(100.1), "it has carried an exchange since then"
    policy.note_loss(200.0)
    assert not policy.may_lend(100.1)
