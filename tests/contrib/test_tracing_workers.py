"""Traces and metrics across a push and its run: in threads, in children that are recycled, on event loops."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront
from tests.contrib import traced_jobs
from tests.contrib.telemetry import Telemetry

FRONTS: dict[str, Front] = {"threads": ThreadFront(), "asyncio": AsyncioFront(), "trio": TrioFront()}


async def work_async(job: Job) -> None:
    pass


@pytest.mark.parametrize("kind", FRONTS)
def test_a_push_and_its_run_are_one_trace(kind: str) -> None:
    telemetry = Telemetry()
    handler = traced_jobs.work if kind == "threads" else work_async
    with Server(fetch_wait=0.01) as server:
        with Client(server.url, observers=[telemetry.observer]) as client:
            client.push(Job("work"))
        builder = ConsumerBuilder().register("work", handler).observer(telemetry.observer)
        FRONTS[kind].drain(builder, server.url, ["default"])
    spans = {span.name: span for span in telemetry.spans()}
    assert spans["process work"].parent.span_id == spans["send work"].context.span_id
    assert spans["process work"].attributes["server.port"] == server.port
    (point,) = telemetry.metrics()["messaging.client.consumed.messages"]
    assert point.value == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_no_span_of_a_recycled_child_is_lost(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    monkeypatch.setenv("TEST_JOURNAL", str(journal))
    telemetry = Telemetry()
    with Server(fetch_wait=0.01) as server:
        with Client(server.url, observers=[telemetry.observer]) as client:
            for number in range(7):
                client.push(Job("work", ["fail" if number == 3 else "go"], retry=0))
        builder = ConsumerBuilder().register("work", traced_jobs.work).observer(telemetry.observer)
        builder.processes(2, max_jobs_per_child=2, on_child_start=traced_jobs.start, on_child_stop=traced_jobs.stop)
        FRONTS[kind].drain(builder, server.url, ["default"])
    sent = {span.context.span_id for span in telemetry.spans() if span.name == "send work"}
    lines = [line.rsplit(" ", 2) for line in journal.read_text().splitlines()]
    assert [name for name, _, _ in lines] == ["process work"] * 7
    assert {int(parent) for _, parent, _ in lines} == sent
    assert len({pid for _, _, pid in lines}) >= 3
    counted = {
        point.attributes["messaging.faktory.outcome"]: point.value
        for point in telemetry.metrics()["messaging.client.consumed.messages"]
    }
    assert counted == {"succeeded": 6, "dead": 1}
