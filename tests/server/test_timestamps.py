from __future__ import annotations

import pytest

from faktory.server.timestamps import parse_timestamp, timestamp


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_000_000_000.5, "2001-09-09T01:46:40.5Z"),
        (1_000_000_000.25, "2001-09-09T01:46:40.25Z"),
        (1_000_000_010.0, "2001-09-09T01:46:50Z"),
    ],
)
def test_times_are_written_in_utc_without_needless_zeros_and_read_back(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text
    assert parse_timestamp(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-01T00:00:00-00:30", 1_800.0),
        ("1970-01-01T0:00:00,5Z", 0.5),
        ("1970-01-02T00:00:00.123456789Z", 86_400.123456789),
        ("0000-03-01T00:00:00Z", -62_162_035_200.0),
        ("9999-12-31T23:59:59Z", 253_402_300_799.0),
    ],
)
def test_what_go_reads_is_read(text: str, seconds: float) -> None:
    assert parse_timestamp(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "tomorrow", "2001-01-01", "2001-01-01 00:00:00Z", "2001-01-01T00:00:00", "2001-01-01t00:00:00z"),
        *("2001-02-29T00:00:00Z", "2001-13-01T00:00:00Z", "2001-01-01T24:00:00Z", "2001-01-01T00:00:60Z"),
        *("2001-01-01T00:60:00Z", "2001-01-01T00:00:00+25:00", "2001-01-01T00:00:00+0100", "2001-01-01T00:00:00Z "),
    ],
)
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="parsing time"):
        parse_timestamp(text)
