from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from faktory.cli.frames import History, Sample, View, frame, once, rates, sparkline

PLACE = "tcp://prod:7419"


def sample(at: float, processed: int = 0, failed: int = 0, **queues: int) -> Sample:
    info: dict[str, Any] = {
        "faktory": {
            "queues": queues,
            "sets": {"dead": 3, "retries": 2, "scheduled": 1, "working": 4, "other": 9},
            "total_processed": processed,
            "total_failures": failed,
        },
        "server": {
            "description": "Faktory",
            "faktory_version": "1.10.0",
            "uptime": 7_200,
            "connections": 12,
            "used_memory_mb": 20,
        },
    }
    return Sample(at, info, dict.fromkeys(queues, 7.4))


def shown(lines: list[str]) -> list[str]:
    """What a terminal shows of them."""
    return [re.sub(r"\x1b\[\d*m", "", line) for line in lines]


BEFORE = sample(10, 1_000, 10, default=100, low=5)
LAST = sample(15, 1_500, 20, default=50, low=30)
HISTORY = History().after(BEFORE, None).after(LAST, BEFORE)


def test_a_frame_says_what_there_is_and_how_fast() -> None:
    lines = shown(frame(LAST, BEFORE, HISTORY, PLACE, View()))
    assert lines[0] == "tcp://prod:7419  Faktory 1.10.0  up 2 h  12 connections  20 MB"
    assert lines[2] == "processed          1,500  100.0/s  █"
    assert lines[3] == "failed                20    2.0/s  █"
    assert lines[4] == "working 4   retries 2   scheduled 1   dead 3   other 9"
    assert lines[6].split() == ["queue", "jobs", "change/s", "oldest"]
    assert lines[7].split() == ["default", "50", "-10.0", "7", "s", "█▅"]
    assert lines[8].split() == ["low", "30", "+5.0", "7", "s", "▂█"]
    assert lines[-1].startswith(" q quit   space pause   s sort: name")


def test_the_first_frame_has_no_rates() -> None:
    lines = shown(frame(BEFORE, None, History().after(BEFORE, None), PLACE, View()))
    assert lines[2] == "processed          1,000      -/s"
    assert lines[7].split() == ["default", "100", "-", "7", "s", "█"]
    assert rates(BEFORE, None) == rates(BEFORE, BEFORE) == (0.0, 0.0)


@pytest.mark.parametrize("width", [0, 1, 10, 40, 80, 81, 200, 400])
@pytest.mark.parametrize("height", [0, 1, 2, 5, 8, 24, 100])
def test_a_frame_fits_every_screen(width: int, height: int) -> None:
    queues = {f"queue-{number:03d}-{'x' * number}": number for number in range(60)}
    last = sample(15, **queues)
    history = HISTORY
    for at in range(200):
        history = history.after(sample(at, at * 7, **queues), sample(at - 1, **queues))
    lines = shown(frame(last, BEFORE, history, PLACE, View(width, height, notice="n" * 300)))
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    if width >= 40 and height == 24:
        assert "and 45 more; s sorts" in lines


def test_the_queues_are_sorted_as_wanted() -> None:
    orders = {}
    for sort in ("name", "jobs", "growth"):
        lines = shown(frame(sample(15, a=5, b=50, c=50), sample(10, a=0, b=99, c=50), HISTORY, PLACE, View(sort=sort)))
        orders[sort] = [line.split()[0] for line in lines[7:10]]
        assert f"sort: {sort}" in lines[-1]
    assert orders == {"name": ["a", "b", "c"], "jobs": ["b", "c", "a"], "growth": ["a", "c", "b"]}


def test_only_bold_and_reverse_are_used_and_none_without_style() -> None:
    text = "\n".join(frame(LAST, BEFORE, HISTORY, PLACE, View()))
    assert set(re.findall(r"\x1b\[[^m]*m", text)) == {"\x1b[1m", "\x1b[7m", "\x1b[0m"}
    assert "\x1b" not in "\n".join(frame(LAST, BEFORE, HISTORY, PLACE, View(has_style=False)))


def test_in_ascii_all_is_ascii() -> None:
    lines = frame(LAST, BEFORE, HISTORY, PLACE, View(encoding="ascii"))
    assert "\n".join(lines).isascii()
    assert shown(lines)[7].endswith("#=")
    assert View(encoding="no-such").bars == View(encoding="ascii").bars


def test_a_pause_and_a_notice_are_shown() -> None:
    lines = shown(frame(LAST, BEFORE, HISTORY, PLACE, View(is_paused=True, notice="cannot\x1b[2J connect")))
    assert lines[0].endswith("PAUSED")
    assert "space go on" in lines[-1]
    assert "cannot\\x1b[2J connect" in lines[-1]


def test_one_frame_for_no_screen_has_all_queues_and_no_footer() -> None:
    lines = once(sample(0, **{f"q{number}": 1 for number in range(60)}), None, History(), PLACE, View(height=10))
    assert len(lines) == 67
    assert lines[-1].startswith("q9")
    assert once(sample(0), None, History(), PLACE, View())[-1] == "no queues yet"


def test_a_sparkline_shows_the_last_values_and_zero_as_the_lowest_alone() -> None:
    assert sparkline([0, 1, 50, 100], 10, "▁▂▃▄▅▆▇█") == "▁▂▅█"
    assert sparkline([5, 1, 2], 2, "_#") == "##"
    assert sparkline([0, 0], 9, "_#") == "__"
    assert sparkline([1], 0, "_#") == sparkline([], 5, "_#") == ""


def test_a_server_that_has_started_anew_has_no_negative_rate() -> None:
    assert rates(sample(20, 5, 0), sample(15, 900, 9)) == (0.0, 0.0)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"faktory": None, "server": None},
        {"faktory": 5, "server": "x"},
        {"faktory": {"queues": [1], "sets": "x", "total_processed": True}},
        {"faktory": {"queues": {"a": None, "\x1b[2J": 1, "c": 2}}},
        {"server": {"description": "\x1b[31mFaktory\r\n" * 50, "uptime": "x"}},
    ],
)
def test_whatever_a_server_says_is_shown_and_obeyed_by_no_terminal(info: dict[str, Any]) -> None:
    odd = Sample(5, info)
    lines = frame(odd, Sample(1, info), HISTORY.after(odd, Sample(1, info)), PLACE, View())
    assert all(line.isprintable() for line in shown(lines))


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "7 s"), (99, "99 s"), (120, "2 min"), (7_200, "2 h"), (864_000, "10 d")]
)
def test_a_wait_is_shown_shortly(seconds: float, text: str) -> None:
    last = replace(LAST, latencies={"default": seconds})
    lines = shown(frame(last, BEFORE, HISTORY, PLACE, View()))
    assert f"  {text:>7}  " in lines[7]
    assert "?" in lines[8]
