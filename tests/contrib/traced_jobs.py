"""Jobs whose spans children keep in memory, and write to the journal when they end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from faktory import Job

exporter = InMemorySpanExporter()


def start() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))  # its thread would not survive the fork
    trace.set_tracer_provider(provider)


def stop() -> None:
    spans: tuple[Any, ...] = exporter.get_finished_spans()
    lines = [f"{span.name} {span.parent.span_id if span.parent else 0} {os.getpid()}\n" for span in spans]
    with Path(os.environ["TEST_JOURNAL"]).open("a") as file:
        file.writelines(lines)


def work(job: Job) -> None:
    if job.args == ["fail"]:
        raise ValueError("no")
