"""What a scrape finds: what was counted, what the worker says of itself just now, and what the system says of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.pulse import Pulse
from ..errors import ConfigurationError
from . import process
from .exposition import Family, Sample, gauge
from .health import Healthy
from .metrics import Metrics


@dataclass(frozen=True, slots=True)
class Subject:
    """One consumer, as it is looked at. All of it may be asked from any thread, and waits for nothing."""

    health: Callable[[], Healthy]
    pulse: Pulse
    metrics: Metrics
    info: Mapping[str, str]
    """`version`, `server` and `pool`: labels that never change."""
    children: Callable[[], Mapping[str, int]]
    """Child processes that have ended, by reason."""


class Observed(Protocol):
    """What is observed of a consumer: see `observing`."""

    def subject(self) -> Subject:
        """Return what there is to be looked at; from then on jobs are counted."""
        ...


class Observable(Protocol):
    """A consumer of any kind."""

    @property
    def _observation(self) -> Observed: ...


def families_of(subject: Subject) -> list[Family]:
    """Return all that is known of a worker, but for its process."""
    health, now = subject.health(), time.time()

    def stamp(age: float | None) -> float | None:
        return None if age is None else now - age

    children = tuple(Sample("", (("reason", reason),), count) for reason, count in subject.children().items())
    lost = Sample("", (), health.reconnects)
    return [
        *subject.metrics.families(),
        gauge("faktory_worker_jobs_running", "Jobs that run.", health.busy),
        gauge("faktory_worker_concurrency", "Jobs that may run at a time.", health.workers),
        gauge("faktory_worker_ready", "1 while the worker takes jobs.", int(health.is_ready)),
        gauge("faktory_worker_unreported_outcomes", "Outcomes that the server has not confirmed.", health.unreported),
        Family("faktory_worker_connections_lost_total", "counter", "Connections to the server that broke.", (lost,)),
        gauge(
            "faktory_worker_last_fetch_timestamp_seconds",
            "When a FETCH was last answered; an age that grows is no fault while every worker is busy.",
            stamp(health.last_fetch_age),
        ),
        gauge(
            "faktory_worker_last_beat_timestamp_seconds", "When a BEAT was last answered.", stamp(health.last_beat_age)
        ),
        Family("faktory_worker_children_total", "counter", "Child processes that have ended, by reason.", children),
        gauge("faktory_worker_info", "What this worker is.", 1, subject.info),
    ]


def page_of(subject: Subject) -> list[Family]:
    """Return all that the page for Prometheus says."""
    return [*families_of(subject), *process.families()]


class Collector:
    """Gives a consumer's figures to a registry of prometheus_client. Made by `collector`."""

    def __init__(self, families: Callable[[], list[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        """Yield the figures as prometheus_client has them."""
        from prometheus_client.core import Metric  # the program has it: it has made a registry

        for family in self._families():
            name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
            metric = Metric(name, family.help, family.kind)
            suffix = "_total" if family.kind == "counter" else ""
            for sample in family.samples:
                metric.add_sample(f"{name}{suffix}{sample.suffix}", dict(sample.labels), sample.value)
            yield metric

    def describe(self) -> list[Any]:
        """Return nothing: a registry that asks when this is added need not collect."""
        return []


def collector(source: Observable | Metrics) -> Collector:
    """Return a collector of a consumer, or of a `Metrics`, for a program that serves prometheus_client already.

    Without figures of the process, which prometheus_client has itself. Jobs count from now on. ::

        prometheus_client.REGISTRY.register(faktory.observe.collector(consumer))

    Raises `ConfigurationError` for anything else.
    """
    if isinstance(source, Metrics):
        return Collector(source.families)
    if not hasattr(source, "_observation"):
        raise ConfigurationError(f"expected a consumer or a Metrics to collect from, got {type(source).__name__}")
    subject = source._observation.subject()
    return Collector(lambda: families_of(subject))
