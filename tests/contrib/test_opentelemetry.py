"""Spans and metrics of pushes and jobs."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider

from faktory import ConnectFailed, Discard, Job, Retry, ServerError
from faktory.contrib.opentelemetry import FaktoryInstrumentor, OpenTelemetryObserver
from faktory.observe.observer import Pushing, installed
from tests.contrib.telemetry import PLACE, Telemetry


def test_a_push_is_a_producer_span_whose_context_the_job_carries() -> None:
    telemetry = Telemetry()
    job = Job("resize", queue="images")
    telemetry.push(job)
    (span,) = telemetry.spans()
    assert (span.name, span.kind) == ("send resize", trace.SpanKind.PRODUCER)
    assert dict(span.attributes) == {
        "messaging.system": "faktory",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "images",
        "messaging.message.id": job.jid,
        "messaging.faktory.jobtype": "resize",
        "server.address": "faktory.example",
        "server.port": 7419,
    }
    assert job.custom is not None
    assert job.custom["traceparent"].startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-0")


def test_a_run_is_a_consumer_span_below_its_push_with_a_link() -> None:
    telemetry = Telemetry()
    job = Job("resize", queue="images")
    telemetry.push(job)
    telemetry.work(job)
    sent, processed = telemetry.spans()
    assert (processed.name, processed.kind) == ("process resize", trace.SpanKind.CONSUMER)
    assert processed.parent.span_id == sent.context.span_id
    assert processed.context.trace_id == sent.context.trace_id
    assert [link.context.span_id for link in processed.links] == [sent.context.span_id]
    assert dict(processed.attributes) == {
        "messaging.system": "faktory",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "images",
        "messaging.message.id": job.jid,
        "messaging.client.id": "0123456789abcdef",
        "messaging.faktory.jobtype": "resize",
        "messaging.faktory.attempt": 1,
        "server.address": "faktory.example",
        "server.port": 7419,
    }


def test_links_only_makes_each_run_a_trace_of_its_own() -> None:
    telemetry = Telemetry(links_only=True, name="queue")
    job = Job("resize", queue="images")
    telemetry.push(job)
    telemetry.work(job)
    sent, processed = telemetry.spans()
    assert (sent.name, processed.name) == ("send images", "process images")
    assert processed.parent is None
    assert processed.context.trace_id != sent.context.trace_id
    assert [link.context.span_id for link in processed.links] == [sent.context.span_id]


def test_a_job_without_a_context_is_a_root() -> None:
    telemetry = Telemetry()
    telemetry.work(Job("resize", custom={"user": 7}))
    (span,) = telemetry.spans()
    assert span.parent is None
    assert not span.links


def test_a_context_that_is_there_already_is_kept() -> None:
    telemetry = Telemetry()
    job = Job("resize", custom={"traceparent": f"00-{1:032x}-{2:016x}-01"})
    telemetry.push(job)
    assert job.custom == {"traceparent": f"00-{1:032x}-{2:016x}-01"}
    telemetry.work(job)
    assert telemetry.spans()[1].context.trace_id == 1


def test_baggage_travels() -> None:
    telemetry = Telemetry()
    job = Job("resize")
    token = context.attach(baggage.set_baggage("tenant", "7"))
    try:
        telemetry.push(job)
    finally:
        context.detach(token)
    assert job.custom is not None
    assert job.custom["baggage"] == "tenant=7"
    with telemetry.watch.working(job):
        assert baggage.get_baggage("tenant") == "7"
    assert baggage.get_baggage("tenant") is None


def test_a_push_of_many_is_one_span() -> None:
    telemetry = Telemetry()
    jobs = [Job("a", queue="q"), Job("a", queue="q")]
    telemetry.push(*jobs)
    telemetry.push(Job("a", queue="q"), Job("b", queue="r"))
    same, mixed = telemetry.spans()
    assert same.name == "send a"
    assert same.attributes["messaging.batch.message_count"] == 2
    assert same.attributes["messaging.destination.name"] == "q"
    assert (mixed.name, "messaging.destination.name" in mixed.attributes) == ("send", False)
    assert jobs[0].custom == jobs[1].custom


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), "ValueError"),
        (ServerError("ERR", "no"), "ERR"),
        (ConnectFailed("no"), "faktory.errors.ConnectFailed"),
    ],
)
def test_a_push_that_fails_says_so(error: Exception, kind: str) -> None:
    telemetry = Telemetry()
    with pytest.raises(type(error)), telemetry.watch.pushing(Pushing([Job("a")])):
        raise error
    (span,) = telemetry.spans()
    assert span.attributes["error.type"] == kind
    assert span.status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]
    (point,) = telemetry.metrics()["messaging.client.operation.duration"]
    assert point.attributes["error.type"] == kind


def test_a_run_that_fails_says_so_and_a_wish_is_no_failure() -> None:
    telemetry = Telemetry()
    telemetry.work(Job("a"), ValueError("no"))
    telemetry.work(Job("a"), Retry(in_=60))
    telemetry.work(Job("a"), Discard("gone"))
    failed, retried, discarded = telemetry.spans()
    assert failed.attributes["error.type"] == "ValueError"
    assert failed.status.status_code is trace.StatusCode.ERROR
    for span, outcome in ((retried, "retried"), (discarded, "discarded")):
        assert span.attributes["messaging.faktory.outcome"] == outcome
        assert span.status.status_code is trace.StatusCode.UNSET
        assert not span.events


def test_jobs_are_counted_where_they_settle() -> None:
    telemetry = Telemetry()
    jobs = Pushing([Job("a", queue="q"), Job("a", queue="q", jid="12345678")], PLACE)
    with telemetry.watch.pushing(jobs):
        jobs.refused["12345678"] = "no"
    telemetry.watch.settled(Job("a", queue="q"), "succeeded", 2.0, None, None)
    telemetry.watch.settled(Job("a", queue="q"), "dead", 0.0, None, KeyError("x"))
    found = telemetry.metrics()
    assert [point.value for point in found["messaging.client.sent.messages"]] == [1]
    assert [point.count for point in found["messaging.client.operation.duration"]] == [1]
    consumed = {
        (point.attributes["messaging.faktory.outcome"], point.attributes.get("error.type")): point.value
        for point in found["messaging.client.consumed.messages"]
    }
    assert consumed == {("succeeded", None): 1, ("dead", "KeyError"): 1}
    assert [(point.count, point.sum) for point in found["messaging.process.duration"]] == [(1, 2.0)]


def test_what_is_kept_back_is_sent_when_the_process_ends() -> None:
    telemetry = Telemetry()
    flushed: list[int] = []
    telemetry.provider.force_flush = flushed.append  # type: ignore[assignment,method-assign,unused-ignore]
    telemetry.watch.flush()
    assert flushed == [2_000]
    OpenTelemetryObserver().flush()  # of no provider


def test_children_make_one_with_the_same_options() -> None:
    make, options = Telemetry(links_only=True, name="queue").observer.for_children()
    made = make(**options)
    assert isinstance(made, OpenTelemetryObserver)
    assert made.for_children()[1] == options == {"name": "queue", "links_only": True}


def test_the_instrumentor_observes_what_is_made_later() -> None:
    before = installed()
    instrumentor = FaktoryInstrumentor()
    instrumentor.instrument(tracer_provider=TracerProvider(), skip_dep_check=True)
    try:
        instrumentor.instrument()
        (found,) = set(installed()) - set(before)
        assert isinstance(found, OpenTelemetryObserver)
        assert FaktoryInstrumentor().is_instrumented_by_opentelemetry
    finally:
        instrumentor.uninstrument()
        instrumentor.uninstrument()
    assert installed() == before
    assert not instrumentor.is_instrumented_by_opentelemetry


@pytest.mark.parametrize(
    ("module", "library", "advice"),
    [
        ("opentelemetry", "opentelemetry", "pip install opentelemetry-api opentelemetry-sdk"),
        ("sentry", "sentry_sdk", "pip install sentry-sdk"),
    ],
)
def test_without_the_library_it_says_what_to_install(module: str, library: str, advice: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import faktory.contrib.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1].endswith(advice)
