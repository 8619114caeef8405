"""`faktory.protocol.moments`: times, in and out, and values as messages show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from faktory.errors import InvalidJob
from faktory.protocol.moments import aware, moment, rfc3339, shown, time_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("value", [60, 60.0, timedelta(minutes=1)])
def test_what_is_counted_from_now(value: Any) -> None:
    assert 59 < (moment(value) - datetime.now(UTC)).total_seconds() <= 60


def test_a_time_is_kept_in_utc() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=5)))
    assert moment(east) == NOON
    assert aware("at", east).tzinfo is UTC
    assert rfc3339(east) == "2026-11-22T12:00:00.000000Z"
    assert time_of("2026-11-22T12:00:00.000000123Z") == NOON


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "due must be an aware datetime, a timedelta or seconds from now, got bool True"),
        ("soon", "due must be an aware datetime"),
        (1_800_000_000, "over 10 years; for a time stamp write"),
        (float("nan"), "due is out of range"),
        (-1e300, "due is out of range"),
        (timedelta.max, "due is out of range"),
        (datetime(2030, 1, 1), "due must be a datetime with a time zone"),  # noqa: DTZ001
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "due is out of range"),
    ],
)
def test_what_is_no_moment_is_refused_by_its_name(value: Any, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        moment(value, "due")


@pytest.mark.parametrize("text", [None, 5, "", "noon", "2026-11-22T12:00:00"])
def test_what_is_no_time_of_the_servers_is_none(text: Any) -> None:
    assert time_of(text) is None


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_values_are_shown_short_and_escaped() -> None:
    assert shown("a\nb") == "str 'a\\nb'"
    assert shown([1] * 100).endswith("...")
    assert shown(Mute()) == "Mute ..."
    assert len(shown("x" * 10_000_000)) < 100
