"""What children print, cut into lines however it comes."""

from __future__ import annotations

import io
import json
import logging

import pytest

from faktory.isolation.child_output import Lines, log_records, print_lines


def test_lines_are_passed_on_whole_and_the_last_at_the_end() -> None:
    found: list[list[bytes]] = []
    lines = Lines(found.append)
    lines(b"one\ntw")
    assert found == [[b"one"]]
    lines(b"o\nthree\nha")
    lines(b"lf")
    assert found == [[b"one"], [b"two", b"three"]]
    lines(b"")
    assert found == [[b"one"], [b"two", b"three"], [b"half"], []]


def test_a_line_without_an_end_is_passed_on_in_pieces() -> None:
    found: list[list[bytes]] = []
    lines = Lines(found.append)
    for _ in range(3):
        lines(b"x" * 60_000)
    assert [len(line) for piece in found for line in piece] == [120_000]


def line(level: int, text: str) -> bytes:
    record = {"name": "tests.child", "levelno": level, "levelname": "X", "msg": text, "args": None}
    return json.dumps(record).encode()


def test_records_are_logged_at_the_level_of_this_process_and_broken_ones_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A child that is killed has written a part of its last."""
    logger = logging.getLogger("tests.child")
    logger.setLevel(logging.WARNING)
    try:
        log_records([line(logging.INFO, "not wanted"), line(logging.ERROR, "wanted"), line(logging.ERROR, "cut")[:-5]])
    finally:
        logger.setLevel(logging.NOTSET)
    assert [record.getMessage() for record in caplog.records] == ["wanted"]


def test_what_cannot_be_printed_is_printed_as_far_as_it_can_or_not_at_all() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_lines(ascii_only, ["ä".encode(), b"\xff"])
    ascii_only.seek(0)
    assert ascii_only.read() == "\\xe4\n\\ufffd\n"
    closed = io.StringIO()
    closed.close()
    print_lines(closed, [b"nobody hears it"])
    print_lines(None, [b"nor that"])
