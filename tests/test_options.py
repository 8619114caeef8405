"""`faktory.options`: what a consumer may be told, and that the defaults fit together and the server's own limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from faktory import options
from faktory.errors import ConfigurationError
from faktory.options import ChildLimits, ConsumerOptions, QueueLimit


def made(**changes: Any) -> ConsumerOptions:
    return ConsumerOptions(**{"hostname": "host-1", "wid": "wid-0001", **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        made(**changes)
    return str(refused.value)


def test_the_defaults_are_the_documented_ones() -> None:
    found = made()
    assert (found.labels, found.workers, found.shutdown_timeout, found.heartbeat_interval) == (
        ("python",),
        1,
        25.0,
        15.0,
    )


def test_options_cannot_be_changed_later() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().workers = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 1},
        {"workers": 10_000},
        {"shutdown_timeout": 0},
        {"shutdown_timeout": 86_400},
        {"shutdown_timeout": 0.5},
        {"heartbeat_interval": 20},
        {"heartbeat_interval": 0.001},
        {"wid": "12345678"},
        {"labels": ()},
        {"labels": ("python", "Bilder groß")},
        {"hostname": "ein Rechner"},
    ],
)
def test_the_ends_of_each_range_are_taken(changes: dict[str, Any]) -> None:
    found = made(**changes)
    assert {name: getattr(found, name) for name in changes} == changes


@pytest.mark.parametrize("workers", [0, -1, 10_001, 1.0, True, "4", None])
def test_a_number_of_workers_that_cannot_be_is_refused(workers: Any) -> None:
    assert refusal(workers=workers) == f"workers must be an integer from 1 to 10,000, got {workers!a}"


NO_TIMES = [-0.001, float("nan"), float("inf"), True, "25", None]


@pytest.mark.parametrize("seconds", [*NO_TIMES, 86_400.1])
def test_a_shutdown_timeout_that_is_no_time_is_refused(seconds: Any) -> None:
    expected = f"shutdown_timeout must be seconds from 0 to 86,400, got {seconds!a}"
    assert refusal(shutdown_timeout=seconds) == expected


@pytest.mark.parametrize("seconds", [*NO_TIMES, 0, 20.001, 60])
def test_a_heartbeat_that_the_server_could_miss_is_refused(seconds: Any) -> None:
    """J11: it forgets a worker after 60 s of silence."""
    said = refusal(heartbeat_interval=seconds)
    assert said.startswith("heartbeat_interval must be seconds, above 0 and at most 20 (the server forgets a worker")
    assert said.endswith(f"got {seconds!a}")


@pytest.mark.parametrize("name", ["hostname", "wid"])
@pytest.mark.parametrize(
    "value", ["", "x" * 8 + "\r\n", "x" * 8 + "\x00", "x" * 8 + "\ud800", b"x" * 8, None, 12345678]
)
def test_a_name_that_cannot_be_printed_is_refused(name: str, value: Any) -> None:
    """D3."""
    assert refusal(**{name: value}) == f"{name} must be a printable, non-empty text, got {value!a}"


def test_a_short_wid_is_refused() -> None:
    assert refusal(wid="1234567") == "wid must have at least 8 characters, got '1234567'"


@pytest.mark.parametrize("labels", ["python", ["python"], None, {"python"}])
def test_labels_that_are_no_tuple_are_refused(labels: Any) -> None:
    """A text would be taken for one label a letter."""
    assert refusal(labels=labels) == f"labels must be a tuple of texts, got {labels!a}"


@pytest.mark.parametrize("label", ["", "a\nb", 7, None])
def test_a_label_that_cannot_be_printed_is_refused(label: Any) -> None:
    """D3."""
    assert refusal(labels=("ok", label)) == f"a label must be a printable, non-empty text, got {label!a}"


def test_three_beats_fit_into_the_servers_patience() -> None:
    """J11: server/tasks.go, 60 s."""
    assert made().heartbeat_interval * 3 < 60
    assert made(heartbeat_interval=20).heartbeat_interval * 3 <= 60


def test_the_wait_for_a_fetch_is_well_above_the_servers() -> None:
    """PROTOCOL 24: `$-1` comes after 2 s, and 5 s is the server's limit for any command."""
    assert options.FETCH_TIMEOUT >= 2 * 5.0
    assert options.REPLY_TIMEOUT >= 5.0


def test_the_time_at_the_end_covers_a_fetch_in_flight() -> None:
    """P5: the server ends a FETCH within 2.1 s."""
    assert options.WIND_DOWN > 2.1


def test_the_forced_end_is_within_two_seconds() -> None:
    """P2."""
    assert options.FORCED_EXIT + options.HEARTBEAT_PATIENCE <= 2.0


def test_an_idle_fetchs_patience_never_reaches_the_end_of_a_fetch() -> None:
    """Else no slot would ever be told that the queues are empty."""
    assert 0 < options.IDLE_FETCH_PATIENCE < options.IDLE_FETCH_PATIENCE_LIMIT < 2.0


@pytest.mark.parametrize(
    ("limits", "jobs", "rss_kb", "reached"),
    [
        (ChildLimits(), 10**6, 10**9, False),
        (ChildLimits(max_jobs=3), 2, None, False),
        (ChildLimits(max_jobs=3), 3, None, True),
        (ChildLimits(max_rss_mb=100), 1, 100 * 1024, False),
        (ChildLimits(max_rss_mb=100), 1, 100 * 1024 + 1, True),
        (ChildLimits(max_rss_mb=100), 1, None, False),
        (ChildLimits(max_jobs=5, max_rss_mb=100), 4, 1, False),
    ],
)
def test_a_child_is_replaced_at_its_limits(limits: ChildLimits, jobs: int, rss_kb: int | None, reached: bool) -> None:
    """W6."""
    assert limits.are_reached(jobs, rss_kb) is reached


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
@pytest.mark.parametrize(("name", "told"), [("max_jobs", "max_jobs_per_child"), ("max_rss_mb", "max_rss_mb")])
def test_a_limit_of_children_that_is_no_number_is_refused(name: str, told: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{told} must be an integer from 1 on, or None, got {value!a}"):
        ChildLimits(**{name: value})


def test_a_killed_job_is_reported_within_a_reservations_margin() -> None:
    """J7: a job without a limit of its own is killed before the server gives it to somebody else."""
    assert options.KILL_GRACE + options.STACK_PATIENCE * 2 < options.RESERVATION_MARGIN


def test_the_queues_of_the_apps_jobs_are_each_named_once() -> None:
    assert made().queues == ()
    assert made(homes=(("mail", "welcome"), ("default", "work"), ("mail", "goodbye"))).queues == ("mail", "default")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({}, "concurrency=, per_second=, or both; got neither"),
        ({"concurrency": 0}, "concurrency must be an integer from 1 on, got 0"),
        ({"concurrency": True}, "got True"),
        ({"per_second": 0}, "per_second must be above 0, at most 1e6, got 0"),
        ({"per_second": "2"}, "got '2'"),
        ({"per_second": True}, "got True"),
    ],
)
def test_a_limit_of_a_queue_that_is_none_is_refused(limit: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        QueueLimit(**limit)


def test_a_limit_of_a_queue_takes_one_or_both() -> None:
    assert QueueLimit(concurrency=4, per_second=0.5) == QueueLimit(4, 0.5)
    assert (QueueLimit(concurrency=1).per_second, QueueLimit(per_second=10).concurrency) == (None, None)
