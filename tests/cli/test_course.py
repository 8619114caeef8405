"""One child's course under a supervisor, without a process and without waiting."""

from __future__ import annotations

import pytest

from faktory.cli.course import NEVER, Act, Course, Then
from faktory.cli.offspring import ending_of
from faktory.cli.reload import policy as reload_policy
from faktory.cli.supervise import policy_for, status_of


def course(then: Then = Then.LATER) -> Course:
    made = Course(lambda code, starts: then, 0.0)
    assert made.due(0.0) is Act.START
    assert made.due(0.0) is None
    return made


def test_a_child_that_dies_comes_back_after_1_2_4_seconds_and_30_at_most() -> None:
    found, pauses, now = course(), [], 0.0
    for _ in range(7):
        assert found.ended(1, now) is Then.LATER
        pauses.append(found.next_at - now)
        assert found.due(now) is None
        now = found.next_at
        assert found.due(now) is Act.START
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    found.ended(1, now + 10)  # it has lived long enough
    assert found.next_at == now + 11


def test_a_change_replaces_the_child_and_insists_after_3_seconds() -> None:
    found = course()
    found.replace(5.0)
    found.replace(5.5)  # once
    assert found.due(5.5) is Act.TERMINATE
    assert (found.due(5.5), found.next_at) == (None, 8.0)
    assert found.due(8.0) is Act.FORCE
    assert found.due(13.0) is Act.KILL
    assert found.ended(1, 13.5) is Then.AT_ONCE
    assert found.due(13.5) is Act.START
    assert found.starts == 2


def test_a_child_that_waits_for_a_change_starts_with_it() -> None:
    found = course(Then.WAIT)
    assert found.ended(2, 1.0) is Then.WAIT
    assert (found.next_at, found.is_over) == (NEVER, False)
    found.replace(9.0)
    assert found.due(9.0) is Act.START


def test_the_end_waits_for_the_jobs_and_kills_what_stays() -> None:
    found = course()
    found.replace(1.0)
    found.end(2.0, 25.0)
    assert found.due(2.0) is Act.TERMINATE
    assert (found.due(2.0), found.next_at) == (None, 32.0)  # the change is forgotten
    found.replace(3.0)
    assert found.due(32.0) is Act.KILL
    assert (found.ended(-9, 32.1), found.is_over) == (Then.STOP, True)


def test_a_second_signal_forces_the_end() -> None:
    found = course()
    found.end(1.0, 25.0)
    assert found.due(1.0) is Act.TERMINATE
    found.force(3.0)
    assert found.due(3.0) is Act.FORCE
    assert found.due(8.0) is Act.KILL


def test_without_a_child_the_end_is_at_once() -> None:
    found = course(Then.WAIT)
    found.ended(2, 1.0)
    found.end(2.0, 25.0)
    assert found.is_over
    assert found.next_at == NEVER
    other = course(Then.AT_ONCE)
    other.ended(0, 1.0)
    assert other.due(1.0) is Act.START
    found = course(Then.GIVE_UP)
    found.ended(2, 1.0)
    assert found.is_over
    found.force(2.0)
    assert found.due(NEVER) is None or found.is_over


@pytest.mark.parametrize(
    ("code", "starts", "expected"),
    [
        (2, 1, Then.GIVE_UP), (3, 1, Then.GIVE_UP), (3, 2, Then.LATER), (1, 1, Then.LATER), (-9, 1, Then.LATER),
        (0, 1, Then.AT_ONCE),
    ],
)  # fmt: skip
def test_a_supervisor_gives_up_only_when_no_worker_could_ever_start(code: int, starts: int, expected: Then) -> None:
    assert policy_for(is_burst=False)(code, starts) is expected


def test_what_becomes_of_bursts_reloads_and_exit_statuses() -> None:
    assert policy_for(is_burst=True)(0, 1) is Then.STOP
    assert [reload_policy(code, 1) for code in (0, 2, 3, 1)] == [Then.WAIT, Then.WAIT, Then.LATER, Then.LATER]
    assert [status_of(codes) for codes in ([0, 143, -15], [0, 1], [0, 3], [3, 2], [-9])] == [0, 1, 3, 2, 1]
    assert [ending_of(code) for code in (1, -9, -99)] == [
        "ended with exit status 1", "was killed by SIGKILL", "was killed by signal 99",
    ]  # fmt: skip
