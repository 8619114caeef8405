"""`faktory.typed.convert`: every annotation there is, there and back; and what pydantic makes of the same."""

from __future__ import annotations

import collections.abc
import enum
import functools
import json
import operator
import sys
import typing
from dataclasses import InitVar, dataclass, field
from dataclasses import InitVar as Alias
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faktory.typed.convert import Compiler, name_of
from faktory.typed.scalars import BadValue, served
from faktory.typed.shapes import Unsupported
from tests import status_models
from tests.share import share_of

T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Price:
    amount: Decimal
    currency: str = "EUR"


@dataclass
class Item:
    name: str
    price: Price
    tags: list[str] = field(default_factory=list)
    total: int = field(init=False, default=0)
    note: str | None = field(default=None, kw_only=True)


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    content: T
    more: list[T] = field(default_factory=list)


@dataclass
class Secret:
    key: InitVar[str]
    size: int = 0


class Options(TypedDict, total=False):
    width: Required[int]
    colour: Colour


class Limits(TypedDict):
    least: int
    most: NotRequired[int | None]


class Spot(NamedTuple):
    x: int
    y: float = 0.0


class Unknown:
    pass


def dump(annotation: Any, value: object) -> Any:
    return Compiler().of(annotation).dump(value)


def load(annotation: Any, form: object) -> Any:
    return Compiler().of(annotation).load(form)


def trip(annotation: Any, value: object) -> Any:
    found = Compiler().of(annotation)
    return found.load(json.loads(json.dumps(served(found.dump(value)))))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (UserId, 5),
        (Annotated[int, "a number"], 5),
        (typing.Optional[int], None),  # noqa: UP045
        (typing.Union[int, str], "a"),  # noqa: UP007
        (list[int], [1]),
        (dict[str, Colour], {"a": Colour.RED}),
        (Literal["a", 1, True, None, Colour.RED], Colour.RED),
        (Literal[1, True], True),
        (list, [1, "a"]),
        (tuple, (1, "a")),
        (dict, {"a": 1}),
        (set, {1}),
        (collections.abc.Sequence[int], [1]),
        (collections.abc.MutableSequence[int], [1]),
        (collections.abc.Mapping[str, int], {"a": 1}),
        (collections.abc.Set[int], frozenset((1,))),
        (Item, Item("a", Price(Decimal("1.50")), ["b"], note="c")),
        (Node, Node(1, [Node(2, [Node(3)]), Node(4)])),
        (Box[int], Box(1, [2])),
        (Box[Box[Colour]], Box(Box(Colour.RED))),
        (Options, {"width": 1, "colour": Colour.BLUE}),
        (Options, {"width": 1}),
        (Limits, {"least": 1, "most": None}),
        (Spot, Spot(1, 2.0)),
        (list[Spot], [Spot(1), Spot(2)]),
        (date | datetime, datetime(2026, 1, 31, tzinfo=UTC)),
        (date | datetime, date(2026, 1, 31)),
        (Price | Node, Node(1)),
        (Literal["auto"] | str, "auto"),
        (Literal["auto"] | int, 3),
    ],
    ids=str,
)
def test_a_value_comes_back_as_it_was(annotation: Any, value: object) -> None:
    back = trip(annotation, value)
    assert back == value
    assert type(back) is type(value)


def test_an_abstract_sequence_may_be_a_tuple_and_arrives_as_a_list() -> None:
    assert trip(collections.abc.Sequence[int], (1, 2)) == [1, 2]
    with pytest.raises(BadValue) as caught:
        dump(collections.abc.Sequence[str], "ab")
    assert "(a list or tuple)" in caught.value.told("x")


def test_a_dataclass_travels_by_its_fields() -> None:
    assert dump(Item, Item("a", Price(Decimal(1)))) == {
        "name": "a",
        "price": {"amount": "1", "currency": "EUR"},
        "tags": [],
        "note": None,
    }
    assert load(Item, {"name": "a", "price": {"amount": "1"}}) == Item("a", Price(Decimal(1)))


def test_a_named_tuple_may_lack_what_has_a_default() -> None:
    assert load(Spot, [1]) == Spot(1)


@dataclass
class Sale(Item):
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (list[Item], [Item("a", Price(1))], "x[0].price.amount must be Decimal, got int"),  # type: ignore[arg-type]
        (Item, Sale("a", Price(Decimal(1))), "x must be Item, got Sale"),
        (Options, {"colour": Colour.RED}, "x must be Options with the key 'width', got none"),
        (Options, {"width": 1, "depth": 2}, "x must be Options, got the unknown key 'depth'"),
        (Options, {"width": 1, "colour": "red"}, "x.colour must be Colour ('red', 'blue'), got str"),
        (Spot, (1, 2.0), "x must be Spot, got tuple"),
        (Literal["a", 1], True, "x must be one of 'a', 1, got bool"),
    ],
)
def test_a_bad_value_is_refused_with_its_path(annotation: Any, value: object, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        dump(annotation, value)
    assert caught.value.told("x") == message


@pytest.mark.parametrize(
    ("annotation", "form", "message"),
    [
        (Item, [], "x must be Item as an object, got list"),
        (Item, {"name": "a", "price": {}}, "x.price must be Price with the key 'amount', got none"),
        (Item, {"name": "a", "price": {"amount": "1"}, "size": 1}, "x must be Item, got the unknown key 'size'"),
        (Node, {"value": 1, "children": [{"value": "a"}]}, "x.children[0].value must be int, got str"),
        (Literal["a", 1], 1.5, "x must be one of 'a', 1, got another float"),
    ],
)
def test_a_bad_form_is_refused_with_its_path(annotation: Any, form: object, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        load(annotation, form)
    assert caught.value.told("x") == message


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Unknown, "Unknown, which cannot travel as JSON"),
        (list[Unknown], "Unknown, which cannot travel as JSON"),
        (complex, "complex, which cannot travel"),
        (collections.abc.Callable[[], int], "which cannot travel"),
        (Secret, "Secret, whose InitVar 'key' could not be sent"),
        (Box, "the type variable ~T"),
        (T, "~T"),
        (str | UUID, "str | UUID, in which str and UUID both travel as text"),
        (Literal[Colour.RED, "red"], "a Literal in which"),
        (dict[float, int], "keys are text in JSON"),
        (Annotated[Unknown, []], "Unknown, which cannot travel"),
    ],
    ids=str,
)
def test_what_cannot_travel_is_refused(annotation: Any, message: str) -> None:
    with pytest.raises(Unsupported) as caught:
        Compiler().of(annotation)
    assert message in str(caught.value)


def test_a_type_that_failed_can_be_asked_for_again() -> None:
    compiler = Compiler()
    for _ in range(2):
        with pytest.raises(Unsupported):
            compiler.of(Box)


def test_a_type_is_made_once() -> None:
    compiler = Compiler()
    assert compiler.of(Node) is compiler.of(Node)


def test_local_names_can_be_told() -> None:
    @dataclass
    class Part:
        size: int

    @dataclass
    class Whole:
        parts: list[Part]

    with pytest.raises(NameError):
        Compiler().of(Whole)
    found = Compiler(locals(), __name__).of(Whole)
    assert found.load(found.dump(Whole([Part(1)]))) == Whole([Part(1)])


def test_an_alias_may_contain_itself() -> None:
    if sys.version_info >= (3, 12):
        names: dict[str, Any] = {}
        exec("type Tree = int | list[Tree]", names)
        assert trip(names["Tree"], [1, [2, [3]]]) == [1, [2, [3]]]


def test_an_alias_stands_for_its_type() -> None:
    extensions = pytest.importorskip("typing_extensions")
    assert trip(extensions.TypeAliasType("Many", list[int]), [1]) == [1]
    variable: Any = T
    pair = extensions.TypeAliasType("Pair", tuple.__class_getitem__((variable, variable)), type_params=(T,))
    assert trip(pair[Colour], (Colour.RED, Colour.BLUE)) == (Colour.RED, Colour.BLUE)


def test_a_model_of_pydantic_is_known_by_its_methods() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        model_config = pydantic.ConfigDict(strict=True)
        number: int = pydantic.Field(alias="no", ge=1)
        at: datetime
        parts: list[Price] = pydantic.Field(default_factory=list)

    order = Order(no=5, at=datetime(2026, 1, 31, tzinfo=UTC), parts=[Price(Decimal(1))])
    assert dump(Order, order)["no"] == 5
    assert trip(list[Order], [order]) == [order]
    with pytest.raises(BadValue) as caught:
        load(list[Order], [{"no": 0, "at": "2026-01-31T00:00:00Z"}])
    assert caught.value.told("x") == (
        "x[0].no must be what Order accepts, got Input should be greater than or equal to 1"
    )


def test_names_are_short() -> None:
    assert name_of(Unknown) == "Unknown"
    assert name_of(list[int]) == "list[int]"


# -- against pydantic -----------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(timezones=st.none() | st.just(UTC))
EXACT = st.integers(-(2**53), 2**53)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: EXACT,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(st.characters(codec="utf-8")),
    bytes: st.binary(),
    date: st.dates(),
    datetime: MOMENTS,
    time: st.times(),
    timedelta: st.timedeltas(timedelta(days=-90_000), timedelta(days=90_000)),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Path: st.just(Path("a/b")),
    Colour: st.sampled_from(Colour),
    Literal["a", 2]: st.sampled_from(["a", 2]),
    Price: st.builds(Price, st.decimals(allow_nan=False, allow_infinity=False), st.just("USD")),
    Spot: st.builds(Spot, EXACT, st.floats(allow_nan=False, allow_infinity=False)),
}
if sys.version_info >= (3, 12):  # pydantic wants it so
    VALUES[Limits] = st.fixed_dictionaries({"least": EXACT}, optional={"most": st.none() | EXACT})


def _hashable(annotation: Any) -> bool:
    return annotation not in (Price, Limits) and annotation is not Spot


SIMPLE = st.sampled_from(list(VALUES)).map(lambda annotation: (annotation, VALUES[annotation]))


def _wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists: Any = list  # made at run time, which is no annotation to a type checker
    tuples: Any = tuple
    sets: Any = set
    dicts: Any = dict
    plain = SIMPLE.filter(lambda pair: _hashable(pair[0]))
    keys = st.sampled_from([str, int, UUID, date, Colour]).map(lambda annotation: (annotation, VALUES[annotation]))
    return st.one_of(
        inner.map(lambda pair: (lists[pair[0]], st.lists(pair[1], max_size=3))),
        inner.map(lambda pair: (tuples[pair[0], ...], st.lists(pair[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(lambda two: (tuples[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))),
        plain.map(lambda pair: (sets[pair[0]], st.sets(pair[1], max_size=3))),
        inner.map(lambda pair: (pair[0] | None, st.none() | pair[1])),
        st.tuples(keys, inner).map(
            lambda two: (dicts[two[0][0], two[1][0]], st.dictionaries(two[0][1], two[1][1], max_size=3))
        ),
    )


TYPES = st.recursive(SIMPLE, _wider, max_leaves=4)


def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # base64 by pydantic's own setting: its default for bytes is UTF-8.
    try:
        return TypeAdapter(annotation, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
    except Exception:  # a class takes no config from outside
        return TypeAdapter(annotation)


@settings(max_examples=share_of(150), deadline=None)
@given(st.data())
def test_pydantic_gives_back_the_same_values(data: st.DataObject) -> None:
    """What we send and get back is what pydantic sends and gets back, whatever the text between."""
    pytest.importorskip("pydantic")
    annotation, values = data.draw(TYPES)
    value = data.draw(values)
    back = trip(annotation, value)
    assert back == value
    adapter = _adapter(annotation)
    assert adapter.validate_json(adapter.dump_json(value)) == back


@settings(max_examples=share_of(150), deadline=None)
@given(st.lists(TYPES, min_size=2, max_size=3), st.data())
def test_a_union_gives_back_what_was_sent_or_refuses_it(pairs: list[tuple[Any, Any]], data: st.DataObject) -> None:
    try:
        found = Compiler().of(functools.reduce(operator.or_, (annotation for annotation, _ in pairs)))
    except Unsupported:
        return
    value = data.draw(data.draw(st.sampled_from(pairs))[1])
    try:
        form = found.dump(value)
    except BadValue as exc:
        refusal = exc.told("x")
    else:
        refusal = "would arrive as" if found.load(json.loads(json.dumps(served(form)))) == value else "changed"
    assert "would arrive as" in refusal


# What the two make of the same JSON, where they differ, and why.
DIFFERENCES: dict[str, tuple[Any, object, object]] = {
    "a text is no number": (int, "5", 5),
    "a whole float is no int: the server writes those as ints anyway": (int, 5.0, 5),
    "a number is no bool": (bool, 1, True),
    "a bool is no int": (int, True, 1),
    "a text is no bool": (bool, "yes", True),
    "a text is no float": (float, "1.5", 1.5),
    "a day is no moment": (datetime, "2026-01-31", datetime(2026, 1, 31)),  # noqa: DTZ001
    "a number is no moment: of seconds, or of milliseconds?": (datetime, 0, datetime(1970, 1, 1, tzinfo=UTC)),
    "midnight is no day": (date, "2026-01-31T00:00:00", date(2026, 1, 31)),
    "a number is no Decimal: it was rounded on its way": (Decimal, 1.5, Decimal("1.5")),
    "a key nobody knows is not dropped": (Price, {"amount": "1", "size": 1}, Price(Decimal(1))),
    "a named tuple is a list": (Spot, {"x": 1}, Spot(1)),
    "a timedelta is seconds, which every language has, not ISO 8601": (timedelta, "PT1M", timedelta(minutes=1)),
    "a UUID has one spelling": (UUID, "6f2c7e9a8e0b4b529d7f0e6d5d6f7a11", UUID("6f2c7e9a8e0b4b529d7f0e6d5d6f7a11")),
}


@pytest.mark.parametrize("why", DIFFERENCES)
def test_pydantic_takes_more_for_a_reason(why: str) -> None:
    pytest.importorskip("pydantic")
    annotation, form, theirs = DIFFERENCES[why]
    assert _adapter(annotation).validate_json(json.dumps(form)) == theirs
    with pytest.raises(BadValue):
        load(annotation, form)


JSON = st.recursive(
    st.none() | st.booleans() | EXACT | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
    | st.sampled_from(["red", "2026-01-31", "2026-01-31T12:00:00Z", "12:00:00", "1.5", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=share_of(200), deadline=None)
@given(TYPES, JSON)
def test_what_we_take_pydantic_takes_too(pair: tuple[Any, Any], form: object) -> None:
    """Except for base64, which it reads more strictly in places, and numbers beyond its range."""
    pytest.importorskip("pydantic")
    annotation, _ = pair
    try:
        found = load(annotation, form)
    except BadValue:
        return
    if "bytes" in str(annotation) or "timedelta" in str(annotation):
        return
    assert _adapter(annotation).validate_json(json.dumps(form)) == found


# -- types that contain themselves, and where names are looked up ----------------------------------------------------


@dataclass
class Branch:
    value: int
    next: Branch | None = None
    children: list[Branch] = field(default_factory=list)


class Linked(NamedTuple):
    value: int
    next: Linked | None = None


class Comment(TypedDict):
    text: str
    answer: Comment | None


@dataclass
class Parent:
    child: Child | None = None


@dataclass
class Child:
    parent: Parent | int | None = None
    by_name: dict[str, Parent | None] = field(default_factory=dict)


@dataclass
class Either:
    other: Either | str | None = None


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        (Branch, Branch(1), {"value": 1, "next": None, "children": []}),
        (
            Branch,
            Branch(1, Branch(2), [Branch(3)]),
            {
                "value": 1,
                "next": {"value": 2, "next": None, "children": []},
                "children": [{"value": 3, "next": None, "children": []}],
            },
        ),
        (Linked, Linked(1, Linked(2)), [1, [2, None]]),
        (
            Comment,
            {"text": "a", "answer": {"text": "b", "answer": None}},
            {"text": "a", "answer": {"text": "b", "answer": None}},
        ),
        (Parent, Parent(Child(Parent())), {"child": {"parent": {"child": None}, "by_name": {}}}),
        (
            Parent,
            Parent(Child(7, {"a": None, "b": Parent()})),
            {"child": {"parent": 7, "by_name": {"a": None, "b": {"child": None}}}},
        ),
        (Either, Either(Either("x")), {"other": {"other": "x"}}),
    ],
)
def test_types_may_contain_themselves(kind: Any, value: Any, form: Any) -> None:
    converter = Compiler().of(kind)
    assert converter.dump(value) == form
    assert converter.load(form) == value


@dataclass
class AliasedInit:
    key: Alias[str]
    size: int = 0
    kept: ClassVar[int] = 5


def test_what_only_the_constructor_takes_is_refused_whatever_it_is_called() -> None:
    with pytest.raises(Unsupported, match="AliasedInit, whose InitVar 'key' could not be sent"):
        Compiler().of(AliasedInit)


def test_a_class_is_read_in_its_own_module() -> None:
    class Status(enum.Enum):
        OTHER = "other"

    @dataclass
    class Own:
        status: Status

    @dataclass
    class Heir(status_models.Base):
        own: Status

    compiler = Compiler(locals(), __name__)
    for kind, value, form in (
        (status_models.Ticket, status_models.Ticket(status_models.Status.OPEN), {"status": "open"}),
        (status_models.Row, status_models.Row(status_models.Status.OPEN), ["open"]),
        (status_models.Longer, {"status": status_models.Status.OPEN, "name": "a"}, {"status": "open", "name": "a"}),
        (Own, Own(Status.OTHER), {"status": "other"}),
        (Heir, Heir(status_models.Status.OPEN, Status.OTHER), {"status": "open", "own": "other"}),
    ):
        converter = compiler.of(kind)
        assert converter.dump(value) == form
        assert converter.load(form) == value


@dataclass
class Constant:
    size: int
    kept: ClassVar[int] = 5


def test_what_belongs_to_the_class_alone_does_not_travel() -> None:
    assert Compiler().of(Constant).dump(Constant(1)) == {"size": 1}


@dataclass
class HalfMade:
    other: status_models.NotYet  # type: ignore[name-defined]


def test_a_name_that_a_module_has_not_got_yet_is_one_that_is_not_there_yet() -> None:
    with pytest.raises(NameError, match="NotYet"):
        Compiler().of(HalfMade)


@dataclass
class Rounded:
    amount: float

    def __post_init__(self) -> None:
        self.amount = round(self.amount, 2)


def test_a_dataclass_that_does_more_than_to_store_is_read_back() -> None:
    """What it makes of its own form must be equal to what was sent."""
    converter = Compiler().of(Rounded)
    assert converter.load(converter.dump(Rounded(1.234))) == Rounded(1.23)
    changed = Rounded(1.0)
    changed.amount = 1.234
    with pytest.raises(BadValue, match="arrives as it was sent"):
        converter.dump(changed)
