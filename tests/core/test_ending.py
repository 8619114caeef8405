"""`faktory.core.ending`: when `run` stops waiting, the exit code, and how a consumer is."""

from __future__ import annotations

from typing import Any

import pytest

from faktory.core.ending import Act, Ending, Next, exit_code, health_of, wind_down
from faktory.core.lifecycle import Lifecycle, State
from faktory.core.queues import order_of
from faktory.core.session import Session
from faktory.options import FORCED_EXIT, WIND_DOWN


def life() -> Lifecycle:
    return Lifecycle(shutdown_timeout=25.0, heartbeat_interval=15.0, now=100.0)


def session(*, until_empty: bool = False) -> Session:
    return Session(order_of(["default"]), is_persistent=False, until_empty=until_empty)


def ending(lifecycle: Lifecycle, of: Session, *, leaves_jobs: bool = True) -> Ending:
    return Ending(lifecycle, of, 25.0, leaves_jobs=leaves_jobs)


def test_a_session_that_runs_is_waited_for_and_looked_at_each_hour() -> None:
    assert ending(life(), session()).next(100.0, is_settled=False) == Next(Act.WAIT, 3600.0)


def test_a_session_that_is_settled_is_done_whatever_the_time() -> None:
    lifecycle = life()
    lifecycle.force(100.0)
    assert ending(lifecycle, session()).next(1e9, is_settled=True).act is Act.DONE


def test_running_jobs_are_cut_off_at_the_deadline_and_not_before() -> None:
    """P1, P5."""
    lifecycle = life()
    way = ending(lifecycle, session())
    lifecycle.terminate(101.0)
    assert way.next(102.0, is_settled=False) == Next(Act.WAIT, 24.0)
    assert way.next(126.0, is_settled=False).act is Act.CUT_OFF


def test_a_force_cuts_off_at_once() -> None:
    """P2."""
    lifecycle = life()
    way = ending(lifecycle, session())
    lifecycle.force(101.0)
    assert way.next(101.0, is_settled=False).act is Act.CUT_OFF


@pytest.mark.parametrize(("leaves_jobs", "act"), [(True, Act.DONE), (False, Act.CUT_OFF)])
def test_a_session_that_a_loss_has_ended_waits_for_its_jobs_as_long(leaves_jobs: bool, act: Act) -> None:
    """In threads they are left to the next session; on an event loop none outlives its call."""
    some = session()
    way = ending(life(), some, leaves_jobs=leaves_jobs)
    some.stop(ValueError("lost"))
    assert way.next(110.0, is_settled=False) == Next(Act.WAIT, 25.0)
    assert way.next(120.0, is_settled=False) == Next(Act.WAIT, 15.0)
    assert way.next(135.0, is_settled=False).act is act


def test_reports_that_the_server_refuses_are_waited_for_as_long() -> None:
    """J5."""
    way = ending(life(), session(), leaves_jobs=False)
    assert way.next(110.0, is_settled=False, has_only_reports=True) == Next(Act.WAIT, 25.0)
    assert way.next(135.0, is_settled=False, has_only_reports=True).act is Act.CUT_OFF


def test_a_drain_is_pointless_once_nothing_is_fetched_any_more() -> None:
    lifecycle, drain = life(), session(until_empty=True)
    way = ending(lifecycle, drain)
    assert not way.is_pointless
    lifecycle.quiet(101.0)
    assert way.is_pointless
    assert not ending(lifecycle, session()).is_pointless
    drain.stop()
    assert not way.is_pointless


def test_what_a_cut_off_leaves_to_do_has_little_time_after_a_second_signal() -> None:
    assert (wind_down(0), wind_down(15)) == (WIND_DOWN, FORCED_EXIT)


@pytest.mark.parametrize(
    ("forced_by", "cut_offs", "unreported", "has_error", "code"),
    [
        (0, 0, 0, False, 0),
        (0, 3, 0, False, 1),
        (0, 0, 3, False, 1),
        (0, 0, 0, True, 1),
        (15, 0, 0, False, 143),
        (2, 1, 1, True, 130),
    ],
)
def test_exit_codes(forced_by: int, cut_offs: int, unreported: int, has_error: bool, code: int) -> None:
    """P6."""
    assert exit_code(forced_by, cut_offs=cut_offs, unreported=unreported, has_error=has_error) == code


def health(**facts: Any) -> Any:
    usual: dict[str, Any] = {
        "is_at_work": True,
        "is_consuming": True,
        "workers": 4,
        "busy": 1,
        "fetched_at": 90.0,
        "beaten_at": None,
        "reported_at": 101.0,  # by another thread, a moment later
        "reconnects": 2,
        "unreported": 3,
    }
    state = facts.pop("state", State.RUNNING)
    return health_of(100.0, state, **(usual | facts))


def test_health_tells_ages_and_counts() -> None:
    seen = health()
    assert (seen.state, seen.workers, seen.busy, seen.reconnects, seen.unreported) == (State.RUNNING, 4, 1, 2, 3)
    assert (seen.last_fetch_age, seen.last_beat_age, seen.last_report_age) == (10.0, None, 0.0)


@pytest.mark.parametrize(
    ("facts", "is_ready"),
    [
        ({}, True),
        ({"is_consuming": False}, False),
        ({"is_consuming": False, "busy": 4}, True),
        ({"is_at_work": False}, False),
        ({"state": State.QUIET}, False),
        ({"state": State.TERMINATED}, False),
    ],
)
def test_a_consumer_is_ready_while_it_takes_jobs_or_is_full_of_them(facts: dict[str, Any], is_ready: bool) -> None:
    assert health(**facts).is_ready is is_ready
