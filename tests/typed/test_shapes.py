"""`faktory.typed.shapes`: what the parts of a value do to the whole."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any, Required, TypedDict

import pytest

from faktory.typed.convert import Compiler
from faktory.typed.scalars import BadValue, Converter, served
from faktory.typed.shapes import Unsupported, choice, mapping, record, row, sequence, union


def of(annotation: Any) -> Converter:
    return Compiler().of(annotation)


def trip(annotation: Any, value: Any) -> Any:
    found = of(annotation)
    return found.load(json.loads(json.dumps(found.dump(value))))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Share(enum.Enum):
    WHOLE = 1.0
    HALF = 0.5


class Point(enum.Enum):
    ORIGIN = (0, 0)
    ONE = (1, 1)


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Big(enum.Enum):
    A, B, C, D, E, F, G, H, J, K, L = range(11)


def refused(annotation: Any, value: object, *, loading: bool = False) -> str:
    found = of(annotation)
    with pytest.raises(BadValue) as caught:
        (found.load if loading else found.dump)(value)
    return caught.value.told("x")


# -- containers -----------------------------------------------------------------------------------------------------


def test_a_sequence_of_plain_items_is_a_list_of_them() -> None:
    assert trip(list[int], [1, 2]) == [1, 2]
    assert trip(tuple[str, ...], ("a",)) == ("a",)
    assert refused(list[int], [1, "a"]) == "x[1] must be int, got str"
    assert refused(list[int], (1,)) == "x must be list[int], got tuple"
    assert refused(list[int], {"a": 1}, loading=True) == "x must be list[int] as a list, got dict"
    assert refused(list[Colour], ["red", "no"], loading=True).startswith("x[1] must be Colour")


def test_a_set_travels_in_one_order_and_comes_back_as_a_set() -> None:
    assert of(set[str]).dump({"b", "a"}) == ["a", "b"]
    assert trip(frozenset[int], frozenset((3, 1))) == {1, 3}
    mixed = of(set[int | str])
    assert mixed.dump({1, "a"}) == mixed.dump({"a", 1})
    assert refused(set[Any], [[1]], loading=True) == "x must be set[Any], got items that no set can hold"


def test_a_row_has_its_number_of_items() -> None:
    pair = tuple[int, Colour]
    assert trip(pair, (1, Colour.RED)) == (1, Colour.RED)
    assert trip(tuple[()], ()) == ()
    assert refused(pair, [1, Colour.RED]) == "x must be tuple[int, Colour ('red', 'blue')], got list"
    assert refused(pair, (1,)).endswith("got 1 items")
    assert refused(pair, (1, "red")).startswith("x[1] must be Colour")
    assert refused(pair, [1], loading=True).endswith("got 1 items")
    assert refused(pair, "no", loading=True).endswith("as a list, got str")


def test_keys_are_text_or_numbers() -> None:
    assert trip(dict[str, int], {"a": 1}) == {"a": 1}
    assert of(dict[int, str]).dump({5: "a"}) == {"5": "a"}
    assert trip(dict[int, str], {-5: "a"}) == {-5: "a"}
    assert trip(dict[Level, int], {Level.HIGH: 1}) == {Level.HIGH: 1}
    assert trip(dict[Colour, Colour], {Colour.RED: Colour.BLUE}) == {Colour.RED: Colour.BLUE}
    assert trip(dict[Any, Any], {"a": [1]}) == {"a": [1]}
    with pytest.raises(Unsupported, match="keys are text in JSON"):
        of(dict[float, int])


@pytest.mark.parametrize(
    ("annotation", "value", "loading", "message"),
    [
        (dict[str, int], [], False, "x must be dict[str, int], got list"),
        (dict[str, int], {1: 1}, False, "x must be a dict whose keys are str, got a key of type int"),
        (dict[str, int], {"a b": "1"}, False, "x['a b'] must be int, got str"),
        (dict[Any, int], {1: 1}, False, "x must be a dict whose keys are text, got a key of type int"),
        (dict[str, int], [], True, "x must be dict[str, int], got list"),
        (dict[str, int], {"a": "1"}, True, "x.a must be int, got str"),
        (dict[int, int], {"05": 1}, True, "x must be a dict whose keys are int as text, got a text that is none"),
        (dict[int, int], {"a": 1}, True, "x must be a dict whose keys are int as text, got a text that is none"),
    ],
)
def test_a_bad_mapping_is_refused(annotation: Any, value: object, loading: bool, message: str) -> None:
    assert refused(annotation, value, loading=loading) == message


def test_two_keys_that_would_become_one_are_refused() -> None:
    blunt = Converter("blunt", str, frozenset((str,)), str.lower, str.lower)
    with pytest.raises(BadValue) as caught:
        mapping(blunt, of(int)).dump({"a": 1, "A": 2})
    assert caught.value.told("x").endswith("got two keys that are the same text")


# -- classes --------------------------------------------------------------------------------------------------------


def test_an_enum_travels_as_its_values_or_else_its_names() -> None:
    assert of(Colour).dump(Colour.RED) == "red"
    assert of(Level).dump(Level.LOW) == 1
    assert of(Point).dump(Point.ONE) == "ONE"
    for member in (Colour.BLUE, Level.HIGH, Share.HALF, Point.ORIGIN):
        assert trip(type(member), member) is member
    assert of(Share).load(1) is Share.WHOLE
    assert refused(Colour, "red") == "x must be Colour ('red', 'blue'), got str"
    assert refused(Level, True, loading=True) == "x must be Level (1, 2), got another bool"
    assert refused(Colour, ["red"], loading=True) == "x must be Colour ('red', 'blue'), got list"
    assert refused(Colour, "green", loading=True) == "x must be Colour ('red', 'blue'), got another str"
    assert "9, ...)" in refused(Big, 11, loading=True)


def test_flags_travel_as_their_number() -> None:
    assert trip(Right, Right.READ | Right.WRITE) == Right.READ | Right.WRITE
    assert refused(Right, 1) == "x must be Right, got int"
    assert refused(Right, 64, loading=True) == "x must be Right as its number, got int"
    assert refused(Right, "READ", loading=True) == "x must be Right as its number, got str"


def test_a_choice_of_what_cannot_be_hashed_is_refused() -> None:
    found = choice("one of 1", None, {(int, 1): 1}, {(int, 1): 1})
    with pytest.raises(BadValue):
        found.dump([])


def test_a_record_says_what_its_class_refuses() -> None:
    def build(found: dict[str, Any]) -> Any:
        raise ValueError("the price is negative")

    found = record("Item", dict, [("price", of(int), True)], lambda value, name: value[name], build)
    with pytest.raises(BadValue) as caught:
        found.load({"price": -1})
    assert caught.value.told("x") == "x must be what Item accepts, got ValueError: the price is negative"


@dataclass
class Item:
    name: str
    size: int = 1


class Options(TypedDict, total=False):
    width: Required[int]
    depth: int


def test_a_record_travels_by_its_fields() -> None:
    assert trip(Item, Item("a", 2)) == Item("a", 2)
    assert of(Item).load({"name": "a"}) == Item("a")
    assert trip(Options, {"width": 1}) == {"width": 1}
    assert refused(Item, {"name": "a"}) == "x must be Item, got dict"
    assert refused(Item, Item("a", "b")) == "x.size must be int, got str"  # type: ignore[arg-type]
    assert refused(Item, [], loading=True) == "x must be Item as an object, got list"
    assert refused(Item, {"name": 1}, loading=True) == "x.name must be str, got int"
    assert refused(Item, {}, loading=True) == "x must be Item with the key 'name', got none"
    assert refused(Options, {"width": 1, "height": 2}) == "x must be Options, got the unknown key 'height'"


# -- unions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (int | None, [1, None]),
        (int | str | None, [1, "a", None]),
        (float | int, [1, 1.5, 2.0]),
        (bool | int, [True, 1]),
        (list[int] | list[str], [[1], ["a"], []]),
        (dict[str, int] | list[int], [{"a": 1}, [1]]),
        (Level | None, [Level.LOW]),
        (Any | None, [None, [1]]),
        (int | Any, [1, "a"]),
        (bool | int | None, [False, 0, None]),
    ],
)
def test_a_union_gives_back_what_was_sent(annotation: Any, values: list[object]) -> None:
    for value in values:
        back = trip(annotation, value)
        assert (back, type(back)) == (value, type(value))


def test_a_union_says_which_type_it_wanted() -> None:
    assert refused(int | str, 1.5) == "x must be int | str, got float"
    assert refused(int | list[str], [1]) == "x[0] must be str, got int"
    assert refused(int | list[str], [1], loading=True) == "x[0] must be str, got int"
    assert refused(int | None, "a") == "x must be int, got str"
    assert refused(int | str, None, loading=True) == "x must be int | str, got NoneType"
    assert refused(list[int] | list[str], [None], loading=True) == "x must be list[int] | list[str], got list"
    assert refused(list[int] | list[str], [None]) == "x must be list[int] | list[str], got list"


def test_a_value_that_would_arrive_as_another_members_is_refused_when_sent() -> None:
    two = union([of(dict[str, int]), of(dict[int, int])])
    assert two.load(two.dump({"a": 1})) == {"a": 1}
    with pytest.raises(BadValue) as caught:
        two.dump({1: 1})
    assert caught.value.told("x").endswith("got a dict[int, int] that would arrive as dict[str, int]")


class Mixed(enum.Enum):
    ONE = 1
    TEXT = "text"


def test_a_float_that_the_server_would_make_another_members_is_refused() -> None:
    found = of(Mixed | float)
    assert found.load(found.dump(1.5)) == 1.5
    assert found.load(found.dump(Mixed.ONE)) is Mixed.ONE
    with pytest.raises(BadValue) as caught:
        found.dump(1.0)
    assert "got a float that would arrive as Mixed" in caught.value.told("x")
    assert served({"a": [1.0, 1.5, "x"]}) == {"a": [1, 1.5, "x"]}


@pytest.mark.parametrize(
    ("annotation", "shared"),
    [
        (str | Colour, "text"),
        (list[int] | tuple[int, ...], "a list"),
        (int | Level, "a number"),
    ],
)
def test_members_that_json_cannot_tell_apart_are_refused_at_once(annotation: Any, shared: str) -> None:
    with pytest.raises(Unsupported, match=f"both travel as {shared}"):
        of(annotation)


def test_the_makers_can_be_used_alone() -> None:
    assert sequence("s", (list,), list, of(int)).dump([1]) == [1]
    assert row("r", tuple, [of(int)], 1, tuple).load([1]) == (1,)
