"""`faktory.core.lifecycle`: the states of a consumer, its deadline, and when the next beat is due."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.core.lifecycle import Lifecycle, News, State, StoppedBy

ORDER = [State.RUNNING, State.QUIET, State.TERMINATING, State.TERMINATED]


def fresh(now: float = 100.0) -> Lifecycle:
    return Lifecycle(shutdown_timeout=25.0, heartbeat_interval=15.0, now=now)


# -- states ---------------------------------------------------------------------------------------------------------


def test_a_new_consumer_runs_without_a_deadline() -> None:
    life = fresh()
    assert life.state is State.RUNNING
    assert life.may_fetch
    assert not life.is_ending
    assert life.beat_state is None
    assert life.deadline == inf
    assert not life.is_over(1e12)


def test_quiet_stops_fetching_and_is_news_once() -> None:
    """J13, P3: fact 8, the client stops fetching by itself."""
    life = fresh()
    assert life.quiet(101.0) == News("quiet: no new jobs are taken")
    assert life.quiet(102.0) is None
    assert life.state is State.QUIET
    assert not life.may_fetch
    assert not life.is_ending
    assert life.beat_state == "quiet"
    assert life.deadline == inf


@pytest.mark.parametrize("is_quiet_first", [False, True])
def test_terminate_ends_fetching_and_sets_the_deadline(is_quiet_first: bool) -> None:
    """P1."""
    life = fresh()
    if is_quiet_first:
        life.quiet(100.5)
    assert life.terminate(101.0) == News("terminating: running jobs have %g s to end", (25.0,))
    assert life.state is State.TERMINATING
    assert not life.may_fetch
    assert life.is_ending
    assert life.beat_state == "terminate"
    assert life.deadline == 126.0


@pytest.mark.parametrize("by", ["server", "signal", "method", "predicate"])
def test_the_first_who_asks_for_the_end_is_the_one_who_has_stopped_it(by: StoppedBy) -> None:
    life = fresh()
    life.quiet(100.5)
    assert life.stopped_by is None
    life.terminate(101.0, by)
    life.terminate(102.0, "server")
    life.force(103.0, "signal")
    life.failed()
    life.resume()
    life.finish()
    assert life.stopped_by == by


def test_an_error_has_stopped_it_until_it_goes_on_and_what_is_closed_was_stopped_by_a_method() -> None:
    life = fresh()
    life.failed()
    assert life.stopped_by == "error"
    assert not life.is_ending
    life.resume()
    assert life.stopped_by is None
    life.finish()
    assert life.stopped_by == "method"
    forced, failed = fresh(), fresh()
    forced.force(101.0, "signal")
    failed.failed()
    failed.finish()
    assert (forced.stopped_by, failed.stopped_by) == ("signal", "error")


def test_terminate_twice_keeps_the_first_deadline() -> None:
    """P4: however many signals come, one shutdown runs."""
    life = fresh()
    life.terminate(101.0)
    assert life.terminate(120.0) is None
    assert life.deadline == 126.0


def test_quiet_after_terminate_does_not_go_back() -> None:
    life = fresh()
    life.terminate(101.0)
    assert life.quiet(102.0) is None
    assert life.state is State.TERMINATING


def test_time_is_over_at_the_deadline_and_not_before() -> None:
    life = fresh()
    life.terminate(101.0)
    assert not life.is_over(125.999)
    assert life.is_over(126.0)


def test_force_while_running_terminates_without_any_time() -> None:
    """P2."""
    life = fresh()
    life.force(101.0)
    assert life.state is State.TERMINATING
    assert life.deadline == 101.0
    assert life.is_over(101.0)


def test_force_while_terminating_takes_the_time_that_is_left() -> None:
    """P2: the second signal."""
    life = fresh()
    life.terminate(101.0)
    life.force(103.0)
    assert life.deadline == 103.0


def test_force_after_the_deadline_does_not_put_it_off() -> None:
    life = fresh()
    life.terminate(101.0)
    life.force(200.0)
    assert life.deadline == 126.0


def test_finish_is_the_end_of_every_state() -> None:
    life = fresh()
    life.finish()
    assert life.state is State.TERMINATED
    assert life.is_ending
    assert not life.may_fetch
    assert life.beat_state == "terminate"
    assert life.terminate(101.0) is None
    assert life.quiet(101.0) is None
    assert life.state is State.TERMINATED


def test_what_the_server_wants_is_done_and_told() -> None:
    life = fresh()
    assert life.server_says(None, 101.0) is None
    news = life.server_says("confu\x1bsed", 101.0)
    assert news == News("the server wants the unknown state %a; going on", ("confu\x1bsed",), is_urgent=True)
    assert life.state is State.RUNNING
    assert life.server_says("quiet", 101.0) == News("quiet: no new jobs are taken")
    assert life.server_says("quiet", 102.0) is None
    assert life.server_says("terminate", 103.0) == News("terminating: running jobs have %g s to end", (25.0,))
    assert (life.state, life.stopped_by) == (State.TERMINATING, "server")


def test_an_end_by_force_is_always_told() -> None:
    life = fresh()
    urgent = News("terminating now: running jobs are cut off", is_urgent=True)
    assert (life.force(101.0), life.force(102.0)) == (urgent, urgent)


def test_states_are_told_as_plain_words() -> None:
    assert [str(state) for state in State] == ["running", "quiet", "terminating", "terminated"]


# -- beats ----------------------------------------------------------------------------------------------------------


def test_the_first_beat_is_due_at_once_and_the_next_an_interval_later() -> None:
    """Fact 10: HELLO counts as the first beat, but does not tell how much memory the worker holds."""
    life = fresh(now=100.0)
    assert life.beat_in(100.0) == 0.0
    life.beat_sent(100.0, None)
    assert life.beat_in(100.0) == 15.0
    assert life.beat_in(114.0) == 1.0
    assert life.beat_in(115.0) == 0.0
    assert life.beat_in(500.0) == 0.0


def test_an_answered_beat_puts_the_next_one_an_interval_later() -> None:
    life = fresh(now=100.0)
    life.beat_sent(116.0, None)
    assert life.beat_in(116.0) == 15.0


def test_quiet_and_terminate_have_a_beat_sent_at_once() -> None:
    """The server's Web UI learns of both."""
    life = fresh(now=100.0)
    life.quiet(101.0)
    assert life.beat_in(101.0) == 0.0
    life.beat_sent(101.0, "quiet")
    life.terminate(102.0)
    assert life.beat_in(102.0) == 0.0


def test_a_state_that_came_while_a_beat_was_under_way_is_told_at_once() -> None:
    life = fresh(now=100.0)
    life.quiet(101.0)
    life.beat_sent(101.1, None)  # it left before
    assert life.beat_in(101.1) == 0.0


def test_what_is_no_news_does_not_have_a_beat_sent() -> None:
    life = fresh(now=100.0)
    life.terminate(101.0)
    life.beat_sent(101.0, "terminate")
    life.terminate(102.0)
    life.quiet(102.0)
    assert life.beat_in(102.0) == 14.0


def test_a_failed_beat_is_tried_again_after_the_delay() -> None:
    life = fresh(now=100.0)
    life.beat_failed(115.0, retry_in=0.5)
    assert life.beat_in(115.0) == 0.5


def test_a_failed_beat_is_not_put_off_by_more_than_an_interval() -> None:
    life = fresh(now=100.0)
    life.beat_failed(115.0, retry_in=30.0)
    assert life.beat_in(115.0) == 15.0


def test_a_failure_between_beats_does_not_put_the_next_one_off() -> None:
    """The heartbeat's other errands fail, too: three beats must fit into the 60 s after which the server forgets us."""
    life = fresh(now=100.0)
    life.beat_sent(100.0, None)
    life.beat_failed(112.0, retry_in=30.0)
    assert life.beat_in(112.0) == 3.0


def test_a_failure_between_beats_has_the_connection_tried_early() -> None:
    life = fresh(now=100.0)
    life.beat_failed(102.0, retry_in=0.5)
    assert life.beat_in(102.0) == 0.5


# -- properties -----------------------------------------------------------------------------------------------------

DEEDS = st.sampled_from(["quiet", "terminate", "force", "sent", "failed"])


@given(st.lists(st.tuples(DEEDS, st.floats(0, 60), st.floats(0, 60))))
def test_no_series_of_events_leads_back_or_puts_the_end_off(
    events: list[tuple[str, float, float]],
) -> None:
    life, now = fresh(0.0), 0.0
    for deed, elapsed, delay in events:
        now += elapsed
        before, deadline = ORDER.index(life.state), life.deadline
        match deed:
            case "quiet":
                changed = life.quiet(now) is not None
            case "terminate":
                changed = life.terminate(now) is not None
            case "force":
                life.force(now)
                changed = ORDER.index(life.state) != before
                assert life.is_over(now)
            case "sent":
                life.beat_sent(now, life.beat_state)
                changed = False
            case _:
                life.beat_failed(now, delay)
                changed = False
        after = ORDER.index(life.state)
        assert after >= before
        assert changed is (after != before)
        assert life.deadline <= deadline
        assert (life.deadline < inf) is life.is_ending
        assert life.deadline <= now + 25.0 or life.deadline == inf
        assert life.may_fetch is (life.state is State.RUNNING)
        assert life.may_fetch is (life.beat_state is None)
        assert 0.0 <= life.beat_in(now) <= 15.0 + 1e-9
        if changed:
            assert life.beat_in(now) == 0.0


def test_a_beat_can_be_made_due_and_never_put_off() -> None:
    life = Lifecycle(shutdown_timeout=25.0, heartbeat_interval=15.0, now=100.0)
    life.beat_failed(100.0, 12.0)
    life.beat_at_once(101.0)
    assert life.beat_in(101.0) == 0.0
    life.beat_at_once(110.0)
    assert life.beat_in(110.0) == 0.0
