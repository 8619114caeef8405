"""`faktory.core.queues`: strict and weighted orders."""

from __future__ import annotations

import random
from collections import Counter
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.core.queues import StrictOrder, WeightedOrder, order_of, unserved
from faktory.errors import ConfigurationError


def shares_of_first(weights: dict[str, float], draws: int = 20_000) -> dict[str, float]:
    order = WeightedOrder(weights, chance=random.Random(1).random)
    firsts = Counter(order.next_names()[0] for _ in range(draws))
    return {name: firsts[name] / draws for name in weights}


# -- strict ---------------------------------------------------------------------------------------------------------


def test_a_list_is_the_same_order_every_time() -> None:
    order = order_of(["critical", "default", "low"])
    assert isinstance(order, StrictOrder)
    assert [order.next_names() for _ in range(3)] == [("critical", "default", "low")] * 3


def test_a_tuple_is_a_strict_order_too() -> None:
    assert order_of(("b", "a")).next_names() == ("b", "a")


def test_a_list_changed_later_does_not_change_the_order() -> None:
    names = ["a", "b"]
    order = order_of(names)
    names.append("c")
    assert order.next_names() == ("a", "b")


# -- weighted -------------------------------------------------------------------------------------------------------


def test_a_mapping_is_a_weighted_order() -> None:
    order = order_of(MappingProxyType({"critical": 3, "default": 1}))
    assert isinstance(order, WeightedOrder)
    assert {order.next_names() for _ in range(200)} == {("critical", "default"), ("default", "critical")}


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 3, "b": 1},
        {"a": 1, "b": 1, "c": 1},
        {"a": 5, "b": 3, "c": 2},
        {"a": 0.5, "b": 0.25},
        {"a": 0.0001, "b": 0.0003},
        {"b": 0.00000001, "a": 0.00000003},
        {"a": 300_000, "b": 100_000},
    ],
)
def test_a_queue_comes_first_in_proportion_to_its_weight(weights: dict[str, float]) -> None:
    total = sum(weights.values())
    shares = shares_of_first(weights)
    for name, weight in weights.items():
        assert shares[name] == pytest.approx(weight / total, abs=0.015)


def test_later_places_are_drawn_by_weight_too() -> None:
    order = WeightedOrder({"a": 5, "b": 3, "c": 2}, chance=random.Random(2).random)
    seen = Counter(order.next_names() for _ in range(20_000))
    assert seen["a", "b", "c"] / 20_000 == pytest.approx(5 / 10 * 3 / 5, abs=0.015)
    assert seen["c", "b", "a"] / 20_000 == pytest.approx(2 / 10 * 3 / 8, abs=0.015)


@given(
    st.dictionaries(st.text(min_size=1), st.floats(0, 1e6, exclude_min=True), min_size=1, max_size=8),
    st.integers(0, 2**32),
)
def test_every_order_names_every_queue_once(weights: dict[str, float], seed: int) -> None:
    order = WeightedOrder(weights, chance=random.Random(seed).random)
    for _ in range(5):
        assert sorted(order.next_names()) == sorted(weights)


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
def test_no_draw_is_too_extreme(drawn: float) -> None:
    order = WeightedOrder({"a": 5e-324, "b": 1e6, "c": 1}, chance=lambda: drawn)
    assert sorted(order.next_names()) == ["a", "b", "c"]


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0, -1, 1_000_001, float("nan"), float("inf"), True, "3", None, 1j])
def test_a_weight_that_is_no_share_is_refused(weight: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        order_of({"default": 1, "images": weight})
    assert str(refused.value) == f"the weight of queue 'images' must be above 0, at most 1e6, got {weight!a}"


@pytest.mark.parametrize("weight", [1e-9, 1e6, 1])
def test_the_ends_of_the_range_of_weights_are_taken(weight: float) -> None:
    assert order_of({"images": weight}).next_names() == ("images",)


def test_a_queue_named_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        order_of(["a", "b", "a"])
    assert str(refused.value) == "expected each queue once, got ['a', 'b', 'a']"


@pytest.mark.parametrize("queues", [[], (), {}])
def test_no_queue_is_refused(queues: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        order_of(queues)
    assert str(refused.value) == 'expected at least one queue, got none; pass ["default"]'


@pytest.mark.parametrize("queues", ["default", b"default", {"a"}, None, 7, iter(["a"])])
def test_what_is_neither_a_list_nor_a_mapping_is_refused(queues: Any) -> None:
    """A text is a sequence of one-letter queues: certainly not what was meant."""
    with pytest.raises(ConfigurationError) as refused:
        order_of(queues)
    assert str(refused.value).startswith('expected queues as a list (["critical", "default"]) or a mapping of weights')
    assert ascii(queues)[:20] in str(refused.value)


@pytest.mark.parametrize("name", [7, None, b"default", ["default"], {"default": 1}])
def test_a_queue_name_that_is_no_text_is_refused(name: Any) -> None:
    """Also one that cannot be hashed, such as the list of a list."""
    with pytest.raises(ConfigurationError) as refused:
        order_of(["critical", name])
    assert str(refused.value) == f"expected queue names as text, got {name!a}"


def test_a_weighted_queue_name_that_is_no_text_is_refused() -> None:
    numbers: Any = {7: 1}
    with pytest.raises(ConfigurationError, match="expected queue names as text, got 7"):
        order_of(numbers)


def test_a_long_refused_value_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigurationError) as refused:
        order_of("x" * 10_000)
    assert len(str(refused.value)) < 200


def test_without_queues_those_of_the_app_are_meant() -> None:
    assert order_of(None, ("mail", "default")).next_names() == ("mail", "default")


def test_queues_that_are_not_served_are_told_with_their_jobs() -> None:
    homes = [("default", "a"), ("mail", "b"), ("low", "c"), ("mail", "d")]
    assert unserved(homes, ["low", "mail", "default"]) is None
    assert unserved([], ["low"]) is None
    told = "this worker does not fetch from queues that its app's jobs go to, so that others have to: "
    assert unserved(homes, ["default"]) == told + "mail, with 'b', 'd'; low, with 'c'"
