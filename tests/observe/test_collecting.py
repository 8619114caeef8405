"""What a scrape finds."""

from __future__ import annotations

import time
from typing import Any

import pytest

from faktory import ConfigurationError, Job
from faktory.observe import Metrics, collector
from faktory.observe.collecting import families_of, page_of
from faktory.observe.exposition import text_of
from tests.observe.subjects import FakeConsumer


def test_a_worker_says_what_it_does_just_now() -> None:
    consumer = FakeConsumer(busy=2, reconnects=5, children={"max_jobs": 3})
    consumer.metrics.settled(Job("a"), "succeeded", 1.0, 0.5, None)
    lines = text_of(families_of(consumer.subject())).splitlines()
    for line in (
        'faktory_worker_jobs_total{jobtype="a",queue="default",outcome="succeeded"} 1',
        "faktory_worker_jobs_running 2",
        "faktory_worker_concurrency 4",
        "faktory_worker_ready 1",
        "faktory_worker_unreported_outcomes 3",
        "faktory_worker_connections_lost_total 5",
        'faktory_worker_children_total{reason="max_jobs"} 3',
        'faktory_worker_info{version="1",server="tcp://localhost:7419",pool="threads"} 1',
    ):
        assert line in lines
    stamps = {line.split()[0]: float(line.split()[1]) for line in lines if "_timestamp_" in line and line[0] != "#"}
    assert stamps["faktory_worker_last_fetch_timestamp_seconds"] == pytest.approx(time.time() - 1.5, abs=1.0)
    assert stamps["faktory_worker_last_beat_timestamp_seconds"] == pytest.approx(time.time() - 2.5, abs=1.0)


def test_the_page_has_the_process_too() -> None:
    names = {family.name for family in page_of(FakeConsumer().subject())}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names


def test_the_page_is_what_prometheus_client_parses() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    families = {
        family.name: family
        for family in parser.text_string_to_metric_families(text_of(page_of(FakeConsumer().subject())))
    }
    assert families["faktory_worker_info"].samples[0].labels["pool"] == "threads"
    assert families["faktory_worker_connections_lost"].type == "counter"


def test_a_registry_of_prometheus_client_takes_the_collector() -> None:
    client = pytest.importorskip("prometheus_client")
    consumer = FakeConsumer()
    registry = client.CollectorRegistry()
    registry.register(collector(consumer))
    consumer.metrics.settled(Job("a"), "failed", 1.0, 0.5, None)
    labels = {"jobtype": "a", "queue": "default", "outcome": "failed"}
    assert registry.get_sample_value("faktory_worker_jobs_total", labels) == 1.0
    assert registry.get_sample_value("faktory_worker_job_duration_seconds_bucket", {"jobtype": "a", "le": "1"}) == 1.0
    assert registry.get_sample_value("process_open_fds") is None  # it has a collector of its own for that
    assert b"faktory_worker_concurrency 4" in client.generate_latest(registry)


def test_a_producers_metrics_can_be_collected() -> None:
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    registry.register(collector(Metrics()))
    assert client.generate_latest(registry).startswith(b"# HELP")


def test_anything_else_is_refused() -> None:
    wrong: Any = object()
    with pytest.raises(ConfigurationError, match="expected a consumer or a Metrics"):
        collector(wrong)
