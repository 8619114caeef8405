"""What children print, cut into lines however it comes."""

from __future__ import annotations

from faktory.isolation.child_output import Lines


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
