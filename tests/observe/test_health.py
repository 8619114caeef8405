"""Live or not, ready or not."""

from __future__ import annotations

import json

import pytest

from faktory.core.lifecycle import State
from faktory.core.pulse import Ages
from faktory.observe.health import document_of, reason_not_live, reason_not_ready, text_of
from tests.observe.subjects import FakeConsumer


@pytest.mark.parametrize(
    ("ages", "word"),
    [
        (Ages(None, None), None),
        (Ages(30.0, 60.0), None),
        (Ages(31.0, 0.0), "the main loop has not gone round for 31 s"),
        (Ages(0.0, 61.0), "the heartbeat has not gone round for 61 s"),
    ],
)
def test_a_worker_lives_while_its_loop_and_its_heartbeat_go_round(ages: Ages, word: str | None) -> None:
    reason = reason_not_live(ages)
    assert reason is None if word is None else word in str(reason)


@pytest.mark.parametrize(
    ("consumer", "word"),
    [
        (FakeConsumer(), None),
        (FakeConsumer(is_ready=False), "does not fetch"),
        (FakeConsumer(State.QUIET, is_ready=False), "the worker is quiet"),
    ],
)
def test_a_worker_is_ready_when_it_says_so(consumer: FakeConsumer, word: str | None) -> None:
    reason = reason_not_ready(consumer.health())
    assert reason is None if word is None else word in str(reason)


def test_the_document_is_what_health_says() -> None:
    document = json.loads(text_of(document_of(FakeConsumer().health(), is_live=True)))
    assert document == {
        "is_live": True,
        "state": "running",
        "is_ready": True,
        "workers": 4,
        "busy": 0,
        "last_fetch_age": 1.5,
        "last_beat_age": 2.5,
        "last_report_age": None,
        "reconnects": 0,
        "unreported": 3,
    }
