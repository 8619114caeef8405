"""When children may be started again: rounds, back-off, and how often it is said."""

from __future__ import annotations

import pytest

from faktory.core.backoff import Backoff
from faktory.isolation.starts import Starts
from faktory.options import CHILD_START_TRIES


@pytest.fixture
def starts() -> Starts:
    return Starts(Backoff(first=1.0, limit=8.0, chance=lambda: 1.0))


def test_a_child_may_be_started_at_once_until_one_has_failed(starts: Starts) -> None:
    assert starts.wait(10.0) == 0
    starts.note_failure("no database", 9.0, 10.0)
    assert starts.wait(10.0) == pytest.approx(1.0)
    assert starts.wait(10.5) == pytest.approx(0.5)
    assert starts.wait(11.5) == 0
    assert starts.reason == "no database"


def test_children_that_failed_together_have_failed_once(starts: Starts) -> None:
    for n in range(50):
        starts.note_failure("no database", 9.0 + n / 100, 10.0 + n / 100)
    assert starts.rounds == 1
    assert starts.wait(10.0) == pytest.approx(1.0)
    starts.note_failure("no database", 11.0, 11.5)
    assert starts.rounds == 2
    assert starts.wait(11.5) == pytest.approx(2.0)


def test_after_some_rounds_it_is_hopeless_until_one_succeeds(starts: Starts) -> None:
    now = 0.0
    for _ in range(CHILD_START_TRIES):
        assert starts.trouble() is None
        starts.note_failure("no database", now, now + 1)
        now += 10
    assert str(starts.trouble()).endswith("5 times in a row, and no job was fetched for them: no database")
    assert starts.wait(now - 9) > 0
    starts.note_success()
    assert starts.trouble() is None
    assert starts.wait(now - 9) == 0


def test_trouble_is_said_once_a_minute_and_its_end_once(starts: Starts) -> None:
    assert starts.note_success() is None
    assert starts.have_succeeded
    said = starts.note_failure("no database", 9.0, 10.0)
    assert said == "no database; no job is fetched for it, and the next one starts in 1.0 s"
    assert starts.note_failure("no database", 12.0, 13.0) is None
    assert starts.note_failure("no database", 69.0, 70.0) is not None
    assert starts.note_success() == "child processes start again"
    assert starts.note_success() is None
    assert starts.note_failure("no database", 71.0, 72.0) is not None
