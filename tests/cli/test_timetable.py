"""Which ticks are due, missed and tried again, without waiting for any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from faktory import App
from faktory.cli.timetable import GLANCE, Timetable, Turn
from faktory.core.backoff import Backoff
from faktory.typed.periodic import CatchUp

START = datetime(2026, 11, 26, 8, 1, 30, tzinfo=UTC)


def timetable(expression: str = "*/5 * * * *", catch_up: CatchUp = "none") -> Timetable:
    app = App()

    @app.periodic(expression, catch_up=catch_up)
    def report() -> None: ...

    return Timetable(app.periodics(), START, lambda: Backoff(10.0, 100.0, lambda: 1.0))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-26T{text}+00:00")


def ticks(turn: Turn) -> list[str]:
    return [str(tick) for tick in turn.ticks]


def test_a_tick_comes_once() -> None:
    table = timetable()
    assert table.turn(at("08:04:59.999")) == Turn((), ())
    assert table.wait(at("08:04:59.5")) == 0.5
    assert table.wait(START) == GLANCE
    turn = table.turn(at("08:05:00"))
    assert (ticks(turn), turn.warnings) == (["report of 2026-11-26 08:05+00:00"], ())
    table.done(turn.ticks[0])
    assert table.turn(at("08:05:00")) == Turn((), ())
    assert table.turn(at("08:04:00")) == Turn((), ())  # set back a little
    assert table.turn(at("08:05:00")) == Turn((), ())
    assert ticks(table.turn(at("08:10:59"))) == ["report of 2026-11-26 08:10+00:00"]


def test_ticks_that_were_slept_through_are_told_and_not_pushed() -> None:
    turn = timetable().turn(at("09:03:00"))
    assert turn == Turn((), ("missed 12 ticks of report (*/5 * * * *, UTC), from 2026-11-26 08:05+00:00 on",))
    turn = timetable().turn(at("08:15:10"))
    assert ticks(turn) == ["report of 2026-11-26 08:15+00:00"]
    assert turn.warnings[0].startswith("missed 2 ticks of report ")
    assert timetable().turn(at("08:06:01")).warnings[0].startswith("missed 1 tick of")
    assert timetable("* * * * *").turn(START + timedelta(days=900)).warnings[0].startswith("missed 1,000 ticks or more")


def test_the_last_of_those_is_pushed_where_it_is_wanted() -> None:
    turn = timetable(catch_up="last").turn(at("09:03:00"))
    assert ticks(turn) == ["report of 2026-11-26 09:00+00:00"]
    assert turn.warnings[0].endswith("; the last of them is pushed now")
    assert "missed 12 ticks" in turn.warnings[0]
    assert timetable(catch_up="last").turn(at("08:05:01")).warnings == ()


def test_a_push_that_failed_is_tried_again_until_the_next_tick() -> None:
    table = timetable()
    (tick,) = table.turn(at("08:05:00")).ticks
    assert table.failed(tick, at("08:05:01")) == 10.0
    assert table.turn(at("08:05:10")) == Turn((), ())
    assert table.wait(at("08:05:10")) == 1.0
    turn = table.turn(at("08:05:11"))
    assert turn.ticks == (tick,)
    assert table.failed(tick, at("08:05:12")) == 20.0
    assert table.unpushed() == [tick]
    turn = table.turn(at("08:10:00"))
    assert turn.warnings == (
        f"missed report of 2026-11-26 08:05+00:00: it could not be pushed before the next tick (jid {tick.job.jid})",
    )
    (other,) = turn.ticks
    assert other.job.jid != tick.job.jid
    table.done(other)
    assert table.unpushed() == []


def test_a_clock_that_is_set_back_far_is_followed() -> None:
    table = timetable()
    assert table.turn(at("14:00:30")).ticks
    turn = table.turn(at("09:02:00"))
    assert turn.warnings == ("the clock was set back by 4:58:30: the ticks are planned anew from now on",)
    assert ticks(table.turn(at("09:05:00"))) != []


def test_one_job_of_two_is_done() -> None:
    app = App()
    for name in ("first", "second"):
        app.periodic("*/5 * * * *")(app.job(name=name)(lambda: None))
    table = Timetable(app.periodics(), START)
    one, other = table.turn(at("08:05:00")).ticks
    table.done(other)
    assert table.unpushed() == [one]
