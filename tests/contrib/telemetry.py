"""What OpenTelemetry was told, kept in memory."""

from __future__ import annotations

from typing import Any, Final

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from faktory import Job
from faktory.contrib.opentelemetry import OpenTelemetryObserver
from faktory.observe.observer import Place, Pushing, Watch

PLACE: Final = Place("faktory.example", 7419, "0123456789abcdef")


class Telemetry:
    """An observer whose spans and metrics stay in memory."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.provider = provider
        self.reader = InMemoryMetricReader()
        self.observer = OpenTelemetryObserver(
            tracer_provider=provider, meter_provider=MeterProvider([self.reader]), **options
        )
        self.observer.attached(PLACE)
        self.watch = Watch([self.observer])

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def metrics(self) -> dict[str, list[Any]]:
        data: Any = self.reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found

    def push(self, *jobs: Job) -> None:
        with self.watch.pushing(Pushing(jobs, PLACE)):
            pass

    def work(self, job: Job, error: BaseException | None = None) -> None:
        if error is None:
            with self.watch.working(job):
                pass
            return
        with pytest.raises(type(error)), self.watch.working(job):
            raise error
