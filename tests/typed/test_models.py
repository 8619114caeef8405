"""`faktory.typed.models`: what a class makes of itself is read back before it is sent, and must be equal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from faktory.typed.convert import Compiler
from faktory.typed.models import check_arrives, model
from faktory.typed.scalars import BadValue


def trip(annotation: Any, value: Any) -> Any:
    found = Compiler().of(annotation)
    return found.load(json.loads(json.dumps(found.dump(value))))


def refused(annotation: Any, value: object, *, loading: bool = False) -> str:
    found = Compiler().of(annotation)
    with pytest.raises(BadValue) as caught:
        (found.load if loading else found.dump)(value)
    return caught.value.told("x")


def differs(found: object, value: object) -> str:
    with pytest.raises(BadValue) as caught:
        check_arrives(found, value)
    return caught.value.told("x")


class Model:
    """Has the shape of a model, and no more."""

    def __init__(self, size: object) -> None:
        self.size = size

    def model_dump(self) -> dict[str, Any]:
        return {"size": self.size}

    @classmethod
    def model_validate(cls, found: dict[str, Any]) -> Model:
        return cls(int(found["size"]))


class BigModel(Model):
    pass


def test_a_model_is_told_by_its_methods() -> None:
    assert trip(Model, Model(5)).size == 5
    assert refused(Model, BigModel(5)) == "x must be Model, got BigModel"
    assert refused(Model, Model({1})).startswith("x.size must be what JSON gives back")
    assert refused(Model, {"size": "a"}, loading=True) == "x must be what Model accepts, got ValueError"


class Complaint(ValueError):
    def errors(self) -> list[dict[str, Any]]:
        return [{"loc": ("items", 3, "price"), "msg": "too low"}]


class JsonModel(Model):
    @classmethod
    def model_validate_json(cls, text: str) -> Model:
        raise Complaint


def test_a_models_complaint_leads_to_the_bad_value() -> None:
    with pytest.raises(BadValue) as caught:
        model("JsonModel", JsonModel).load({"size": 1})
    assert caught.value.told("x") == "x.items[3].price must be what JsonModel accepts, got too low"


def test_a_model_may_stand_beside_a_number() -> None:
    found = Compiler().of(Model | int)
    assert found.dump(5) == 5
    assert found.load(5) == 5
    assert found.load({"size": 3}).size == 3


class Masked(Model):
    def model_dump(self) -> dict[str, Any]:
        return {"size": 0}


class Renamed(Model):
    def model_dump(self) -> dict[str, Any]:
        return {"length": 1}


def test_a_model_that_does_not_arrive_equal_is_refused_when_sent() -> None:
    assert refused(Masked, Masked(5)) == (
        "x.size must be what arrives as it was sent, got a value of type int that would arrive changed"
    )
    assert refused(Renamed, Renamed(5)) == (
        "x must be what Renamed accepts, got KeyError: its model_dump writes what its model_validate does not read"
    )


# -- equality -------------------------------------------------------------------------------------------------------


class Bare:
    """Cannot be compared."""

    def __init__(self, **parts: object) -> None:
        self.__dict__.update(parts)


class Slotted:
    __slots__ = ()


class Own:
    """Has a word of its own about equality, and parts that are equal."""

    def __init__(self) -> None:
        self.part = 1

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


class Extra(Bare):
    model_extra: Any = None

    def model_dump(self) -> None: ...


@dataclass(slots=True)
class Row:
    size: int
    note: str = field(default="", compare=False)


BERLIN = ZoneInfo("Europe/Berlin")


def test_equal_values_arrive() -> None:
    put_back = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    back = datetime.fromisoformat(put_back.isoformat())
    assert put_back != back  # as Python has it
    for found, value in [
        (1, 1.0),
        (float("nan"), float("nan")),
        (back, put_back),
        ([{"a": (back,)}], [{"a": (put_back,)}]),
        (Bare(at=back), Bare(at=put_back)),
        (Extra(at=back, model_extra={"n": 1}), Extra(at=put_back, model_extra={"n": 1})),
        (Extra(at=back), Extra(at=put_back)),
        (Row(1, "a"), Row(1, "b")),
    ]:
        check_arrives(found, value)


@pytest.mark.parametrize(
    ("found", "value", "told"),
    [
        (1, "a", "x must be what arrives as it was sent, got a value of type str that would arrive as int"),
        ([1], [2], "x[0] must be what arrives as it was sent, got a value of type int that would arrive changed"),
        ([1], [1, 2], "x must be what arrives as it was sent, got a value of type list that would arrive changed"),
        ((1,), [1], "x must be what arrives as it was sent, got a value of type list that would arrive as tuple"),
        ({"a b": 1}, {"a b": None}, "x['a b'] must be what arrives as it was sent, got a value of type NoneType that "),
        ({"a": 1}, {}, "x must be what arrives as it was sent, got a value of type dict that would arrive changed"),
        (Bare(a=Bare(b=1)), Bare(a=Bare(b=2)), "x.a.b must be "),
        (Bare(), Bare(a=1), "x.a must be what arrives as it was sent, got a value of type int that would arrive as "),
        (Slotted(), Slotted(), "x must be what arrives as it was sent, got a value of type Slotted that would arrive"),
        (Own(), Own(), "x must be what arrives as it was sent, got a value of type Own that would arrive changed"),
        (Row(1), Row(2), "x.size must be "),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "x must be what arrives as it was sent"),
        (Extra(model_extra={"n": [1]}), Extra(model_extra={"n": (1,)}), "x.model_extra"),
    ],
)
def test_the_first_difference_is_told(found: object, value: object, told: str) -> None:
    assert differs(found, value).startswith(told)


# -- dataclasses ----------------------------------------------------------------------------------------------------


@dataclass
class Doubled:
    size: int

    def __post_init__(self) -> None:
        self.size *= 2


@dataclass
class Lower:
    name: str
    length: int = field(init=False)
    cache: object = field(init=False, default=None, compare=False)

    def __post_init__(self) -> None:
        self.name = self.name.lower()
        self.length = len(self.name)
        self.cache = object()


@dataclass
class Plain:
    size: int


class Taught(Plain):
    def __init__(self, size: int) -> None:
        self.size = size + 1


@dataclass(init=False)
class ByHand:
    size: int

    def __init__(self, size: int) -> None:
        self.size = size


@dataclass
class Watched:
    size: int

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, abs(value))


@dataclass(frozen=True)
class Cold:
    size: int


def test_dataclasses_that_make_themselves_anew_arrive() -> None:
    for kind, value in [(Lower, Lower("ABC")), (ByHand, ByHand(1)), (Watched, Watched(-1)), (Cold, Cold(1))]:
        assert trip(kind, value) == value


def test_a_dataclass_that_makes_another_value_of_the_same_is_refused() -> None:
    assert refused(Doubled, Doubled(1)).startswith("x.size must be what arrives as it was sent")
    assert refused(Taught, Taught(1)).startswith("x.size must be what arrives as it was sent")
    changed = Lower("a")
    changed.length = 5
    assert refused(Lower, changed) == (
        "x.length must be what arrives as it was sent, or have compare=False, got a value of type int that would "
        "arrive changed"
    )


# -- pydantic's -----------------------------------------------------------------------------------------------------


def test_what_a_model_of_pydantic_leaves_out_or_masks_is_refused() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Base(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        name: str = "a"

    class Sub(Base):
        more: int = 1

    class Holder(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        model_config = pydantic.ConfigDict(extra="allow")
        inner: Base = Base()
        password: pydantic.SecretStr = pydantic.SecretStr("")  # type: ignore[name-defined]
        hidden: int = pydantic.Field(default=0, exclude=True)
        at: datetime | None = None
        anything: Any = None
        _seen: int = pydantic.PrivateAttr(default=0)

    class Written(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        name: str = pydantic.Field(serialization_alias="label")

    def of(**fields: Any) -> Any:
        return Holder(**fields)

    assert refused(Holder, of(password="hunter2")) == (
        "x.password must be what arrives as it was sent, got a value of type SecretStr that would arrive changed"
    )
    assert refused(list[Holder], [of(hidden=1)]).startswith("x[0].hidden must be what arrives")
    assert refused(Holder, of(inner=Sub())) == (
        "x.inner must be what arrives as it was sent, got a value of type Sub that would arrive as Base"
    )
    assert refused(Holder, of(anything=(1,))).startswith("x.anything must be what arrives")
    assert refused(Holder, of(other=(1,))).startswith("x.other must be what arrives")
    assert refused(Written, Written(name="a")) == (
        "x.name must be what Written accepts, got Field required: its model_dump writes what its model_validate does "
        "not read"
    )
    private = of(at=datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), other=1)
    private._seen = 5
    assert trip(Holder, private).other == 1
