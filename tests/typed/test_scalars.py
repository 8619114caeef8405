"""`faktory.typed.scalars`: single values, there and back, and nothing guessed."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from faktory.typed.scalars import BadValue, Converter, may_share_a_text, part, scalar, served

ANY_UUID = UUID("6f2c7e9a-8e0b-4b52-9d7f-0e6d5d6f7a11")


def converter(annotation: Any) -> Converter:
    found = scalar(annotation)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("annotation", "value", "form"),
    [
        (bool, True, True),
        (int, 3, 3),
        (str, "é", "é"),
        (None, None, None),
        (type(None), None, None),
        (float, 1.5, 1.5),
        (float, 3, 3),
        (bytes, b"\x00\xff", "AP8="),
        (bytes, b"", ""),
        (date, date(2026, 1, 31), "2026-01-31"),
        (datetime, datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00+00:00"),
        (
            datetime,
            datetime(2026, 1, 31, 12, 0, 0, 5),  # noqa: DTZ001
            "2026-01-31T12:00:00.000005",
        ),
        (time, time(12, 30), "12:30:00"),
        (time, time(12, 30, tzinfo=timezone(timedelta(hours=1))), "12:30:00+01:00"),
        (timedelta, timedelta(minutes=1), 60),
        (timedelta, timedelta(milliseconds=-1500), -1.5),
        (UUID, ANY_UUID, str(ANY_UUID)),
        (Decimal, Decimal("19.90"), "19.90"),
        (Path, Path("/a b"), "/a b"),
        (PurePosixPath, PurePosixPath("a"), "a"),
        (Any, {"a": [1, None, {"b": 1.5}]}, {"a": [1, None, {"b": 1.5}]}),
        (object, "x", "x"),
    ],
)
def test_a_value_travels_and_comes_back(annotation: Any, value: object, form: object) -> None:
    found = converter(annotation)
    assert found.dump(value) == form
    assert type(form) in found.forms
    back = found.load(json.loads(json.dumps(form)))
    assert back == value
    assert type(back) is (float if annotation is float else type(value))


class Stamp(datetime):
    """A subclass that holds more than its text: nanoseconds."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.__hash__


class Today(date):
    """A subclass that holds no more."""


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, True, "x must be int, got bool"),
        (int, 1.0, "x must be int, got float"),
        (bool, 1, "x must be bool, got int"),
        (str, b"a", "x must be str, got bytes"),
        (None, 0, "x must be None, got int"),
        (float, True, "x must be float, got bool"),
        (float, "1", "x must be float, got str"),
        (bytes, bytearray(b"a"), "x must be bytes, got bytearray"),
        (
            date,
            datetime(2026, 1, 31, tzinfo=UTC),
            "x must be a date that a text can carry, got one that would not arrive unchanged",
        ),
        (datetime, date(2026, 1, 31), "x must be datetime, got date"),
        (datetime, Stamp(2026, 1, 31), "x must be a datetime that a text can carry"),
        (time, time(12, tzinfo=ZoneInfo("Europe/Berlin")), "x must be a time that a text can carry"),
        (timedelta, 5, "x must be timedelta, got int"),
        (timedelta, timedelta.max, "x must be a timedelta that a number of seconds can carry"),
        (UUID, str(ANY_UUID), "x must be UUID, got str"),
        (Decimal, Decimal("NaN"), "x must be a Decimal that a text can carry"),
        (Path, "a", "x must be Path, got str"),
        (Any, (1, 2), "x must be what JSON gives back as it is"),
        (Any, {"a": [1, {"b c": {1}}]}, "x.a[1]['b c'] must be what JSON gives back as it is"),
        (Any, {1: 2}, "x must be a dict whose keys are text, got the key 1"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_path(annotation: Any, value: object, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        converter(annotation).dump(value)
    assert caught.value.told("x").startswith(message)


@pytest.mark.parametrize(
    ("annotation", "form"),
    [
        (int, True),
        (float, "1"),
        (float, 10**400),
        (bytes, "A"),
        (bytes, "é"),
        (bytes, 5),
        (date, "20260131"),
        (date, "2026-13-01"),
        (datetime, "2026-02-01"),
        (time, "13"),
        (timedelta, True),
        (timedelta, 1e300),
        (UUID, "{6f2c7e9a-8e0b-4b52-9d7f-0e6d5d6f7a11}"),
        (Decimal, "Infinity"),
        (Decimal, "seven"),
        (Decimal, 1.5),
        (Path, 5),
    ],
)
def test_a_form_of_another_type_is_refused_and_not_shown(annotation: Any, form: object) -> None:
    with pytest.raises(BadValue) as caught:
        converter(annotation).load(form)
    assert str(form) not in caught.value.told("x")


def test_the_server_may_write_a_whole_float_as_an_int() -> None:
    found = converter(float).load(3)
    assert found == 3.0
    assert type(found) is float


def test_a_subclass_that_holds_no_more_arrives_as_its_base() -> None:
    found = converter(date)
    assert type(found.load(found.dump(Today(2026, 1, 31)))) is date


def test_other_annotations_are_no_scalars() -> None:
    assert scalar(list[int]) is None
    assert scalar(complex) is None


def test_a_part_of_a_path_is_quoted_where_it_is_no_name() -> None:
    assert (part("a"), part("a b")) == (".a", "['a b']")
    assert len(part("x y" * 100)) < 90


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [(date, datetime, False), (UUID, Decimal, False), (str, UUID, True), (bytes, Decimal, True), (Path, str, True)],
)
def test_texts_that_could_be_another_types_are_known(one: Any, other: Any, shared: bool) -> None:
    assert may_share_a_text(converter(one), converter(other)) is shared


def test_a_few_texts_are_tried_on_the_other_type() -> None:
    few = Converter("few", None, frozenset((str,)), str, str, texts=frozenset(("2026-01-31", "a")))
    assert may_share_a_text(few, converter(date))
    assert not may_share_a_text(converter(UUID), few)
    assert not may_share_a_text(few, converter(str))  # the same text means the same value


def test_nan_is_left_to_the_job_to_refuse() -> None:
    assert math.isnan(converter(float).dump(math.nan))


def test_the_server_hands_out_whole_floats_as_ints() -> None:
    form = served({"a": [1.0, 2.5, "1.0", True, None], "b": {"c": -3.0}, "d": 1e300})
    assert form == {"a": [1, 2.5, "1.0", True, None], "b": {"c": -3}, "d": int(1e300)}
    assert [type(item) for item in form["a"]] == [int, float, str, bool, type(None)]
