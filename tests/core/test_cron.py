"""Expressions, and the ticks they give; compared with croniter where it is installed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from faktory.core.cron import Cron
from faktory.errors import ConfigurationError

BERLIN = ZoneInfo("Europe/Berlin")


def ticks(expression: str, after: datetime, count: int) -> list[str]:
    cron, found, zone = Cron.parse(expression), [], after.tzinfo
    assert zone is not None
    for _ in range(count):
        after = cron.next_after(after, zone)
        found.append(after.strftime("%d %H:%M %z"))
    return found


def test_fields_are_read() -> None:
    cron = Cron.parse(" */20  8-10,22 1,15-16 JAN-mar/2 Mon,FRI-sun ")
    assert (cron.minutes, cron.hours, cron.days) == ((0, 20, 40), (8, 9, 10, 22), (1, 15, 16))
    assert (cron.months, cron.weekdays, cron.needs_both) == ((1, 3), (0, 1, 5, 6), False)
    assert str(cron) == "*/20 8-10,22 1,15-16 JAN-mar/2 Mon,FRI-sun"
    assert Cron.parse("0 0 * * 0-7").weekdays == Cron.parse("0 0 * * *").weekdays
    assert Cron.parse("0 0 * * 7").weekdays == (0,)
    assert Cron.parse("50/5 * * * *").minutes == (50, 55)
    assert Cron.parse("@Hourly").minutes == (0,)
    assert len(Cron.parse("@hourly").hours) == 24
    assert Cron.parse("@weekly").weekdays == (0,)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("* * * *", "expected the five fields minute, hour, day of month, month and day of week, got 4"),
        ("0 * * * * *", "got 6 in '0 \\* \\* \\* \\* \\*'; every five minutes is"),
        ("", "got 0"),
        ("60 * * * *", "the minute of '60 .*': expected numbers from 0 to 59, as .*, got '60'"),
        ("* 24 * * *", "the hour of .* from 0 to 23"),
        ("* * 0 * *", "the day of month of .* from 1 to 31"),
        ("* * * JUNE *", "the month of .* from 1 to 12 or JAN to DEC, .*, got 'JUNE'; did you mean jun"),
        ("* * * * 8", "the day of week of .* from 0 to 7 or SUN to SAT"),
        ("5-1 * * * *", "a range that goes up, got '5-1'; write it as a list"),
        ("*/0 * * * *", "a step from 1 to 59, got '\\*/0'"),
        ("*/60 * * * *", "a step from 1 to 59"),
        ("1, * * * *", "got ''"),
        ("* * L * *", "got 'L'"),
        ("* * ? * *", "got '\\?'"),
        ("\u0665 * * * *", "got '\\\\u0665'"),
        ("@reboot", "expected one of @yearly, .*, got '@reboot'"),
        ("@daly", "did you mean @daily"),
        ("0 0 31 2,4 *", "expected a day that comes"),
        ("0 0 30 2 */2", "expected a day that comes"),
        (5, "expected a cron expression like .*, got 5"),
    ],
)
def test_what_is_no_expression_is_told_with_what_was_expected(expression: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Cron.parse(expression)


def test_either_day_counts_unless_one_field_begins_with_a_star() -> None:
    start = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert [each[:2] for each in ticks("0 0 13 * FRI", start, 4)] == ["06", "13", "20", "27"]
    assert [each[:2] for each in ticks("0 0 13 * */5", start, 1)] == ["13"]  # Friday the 13th
    assert [each[:2] for each in ticks("0 0 */10 * MON", start, 2)] == ["21", "11"]  # of December, of January
    assert ticks("0 0 29 2 *", start, 1)[0].startswith("29")
    assert Cron.parse("0 0 29 2 *").next_after(start, UTC) == datetime(2028, 2, 29, tzinfo=UTC)
    assert Cron.parse("0 0 31 2 1").next_after(start, UTC) == datetime(2027, 2, 1, tzinfo=UTC)
    assert Cron.parse("* * 29 2 *").next_after(start, UTC) == datetime(2028, 2, 29, tzinfo=UTC)


def test_a_tick_in_the_gap_comes_once_when_the_gap_ends() -> None:
    start = datetime(2026, 3, 29, 1, 0, tzinfo=BERLIN)
    assert ticks("30 2 * * *", start, 2) == ["29 03:00 +0200", "30 02:30 +0200"]
    assert ticks("0,15,59 2 * * *", start, 2) == ["29 03:00 +0200", "30 02:00 +0200"]
    assert ticks("0 2,3 * * *", start, 2) == ["29 03:00 +0200", "30 02:00 +0200"]
    apia = ZoneInfo("Pacific/Apia")  # 30 December 2011 was left out
    assert ticks("0 9 * * *", datetime(2011, 12, 29, 10, tzinfo=apia), 2) == ["31 00:00 +1400", "31 09:00 +1400"]
    lord_howe = ZoneInfo("Australia/Lord_Howe")  # half an hour is left out
    assert ticks("15 2 * * *", datetime(2026, 10, 3, 12, tzinfo=lord_howe), 1) == ["04 02:30 +1100"]


def test_a_tick_in_the_hour_that_comes_twice_comes_in_its_first_pass() -> None:
    start = datetime(2026, 10, 25, 1, 0, tzinfo=BERLIN)
    assert ticks("30 2 * * *", start, 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    second = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert ticks("*/20 2,3 * * *", second, 1) == ["25 03:00 +0100"]


def test_what_is_due_every_hour_goes_by_elapsed_time() -> None:
    assert ticks("30 * * * *", datetime(2026, 3, 29, 1, tzinfo=BERLIN), 2) == ["29 01:30 +0100", "29 03:30 +0200"]
    start = datetime(2026, 10, 25, 2, tzinfo=BERLIN)
    assert ticks("30 * * * *", start, 3) == ["25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100"]
    assert len({*ticks("*/5 * * * *", start, 24)}) == 24
    assert ticks("0 * 1 * *", datetime(2026, 10, 1, 22, 30, tzinfo=BERLIN), 2) == ["01 23:00 +0200", "01 00:00 +0100"]


def test_the_last_of_many_ticks_is_found() -> None:
    after = datetime(2026, 1, 1, tzinfo=UTC)
    for expression in ("*/5 * * * *", "0 8 * * *", "0 0 1 * *", "0 0 29 2 *"):
        cron = Cron.parse(expression)
        for until in (after, after + timedelta(minutes=7), after + timedelta(days=40), after + timedelta(days=1500)):
            found, tick = None, cron.next_after(after, UTC)
            while tick <= until and expression != "*/5 * * * *":
                found, tick = tick, cron.next_after(tick, UTC)
            if expression == "*/5 * * * *" and until > after:
                found = until.replace(minute=until.minute // 5 * 5)
            assert cron.last_before(until, after, UTC) == found


EXPRESSIONS = (
    "*/5 * * * *", "7 * * * *", "30 2 * * *", "15,45 1-3 * * *", "0 */2 * * *", "0 0 * * *", "0 9 * * MON-FRI",
    "0 0 1 * *", "0 12 31 * *", "0 0 13 * FRI", "*/10 23 * JAN,JUL *", "0 6 29 FEB *", "59 23 28-31 * 0", "@weekly",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_ten_years_of_ticks_are_those_of_croniter(zone: str) -> None:
    """From 40 moments in ten years, and around each change of clocks.

    One difference: in the hour that comes twice croniter gives fixed hours in both passes, ours come in the first.
    """
    croniter = pytest.importorskip("croniter").croniter
    here = ZoneInfo(zone)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(days=91 * number, minutes=997 * number) for number in range(40)]
    hours = (start + timedelta(hours=6 * number) for number in range(4 * 365 * 10))
    changes = [each for each in hours if offset(each, here) != offset(each + timedelta(hours=6), here)]
    assert len(changes) == 20
    compared = 0
    for number, moment in enumerate(moments + changes):
        chosen = EXPRESSIONS if moment in changes[-2:] else EXPRESSIONS[number % 3 :: 3]
        for expression in chosen:
            cron = Cron.parse(expression)
            theirs = croniter(expression, moment.astimezone(here))
            after = moment
            for _ in range(4):
                expected = theirs.get_next(datetime)
                while len(cron.hours) < 24 and is_second_pass(expected, here):
                    expected = theirs.get_next(datetime)
                after = cron.next_after(after, here)
                assert after == expected, (expression, moment)
                compared += 1
    assert compared > 900


def offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def is_second_pass(moment: datetime, zone: ZoneInfo) -> bool:
    return moment.astimezone(UTC).astimezone(zone).fold == 1
