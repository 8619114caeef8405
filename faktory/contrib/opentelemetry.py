"""Spans and metrics of OpenTelemetry for pushes and jobs. Needs the package `opentelemetry-api`.

    from faktory.contrib.opentelemetry import FaktoryInstrumentor

    FaktoryInstrumentor().instrument()      # before clients and consumers are made; `opentelemetry-instrument` does it

or for some of them: `Client(observers=[OpenTelemetryObserver()])`, `builder.observer(OpenTelemetryObserver())`.

A push is a PRODUCER span `send NAME`, a run a CONSUMER span `process NAME`: its parent is the push, to which it has a
link, too. The context travels in the job's `custom`, as `traceparent`, `tracestate` and `baggage`; one that is there
already is kept. With child processes make the provider in `on_child_start`: its threads would not survive the fork.
What it has kept back is sent when a child ends. Metrics are counted in the worker process, whatever runs the jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

from ..core.again import Drop, runs_before, wish_of
from ..errors import ServerError
from ..job import Job
from ..observe.observer import Observer, Outcome, Place, Pushing, install, uninstall
from ..runtime.ticking import monotonic

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
except ImportError as _absent:
    raise ImportError(
        "faktory.contrib.opentelemetry needs OpenTelemetry: pip install opentelemetry-api opentelemetry-sdk"
    ) from _absent

_NAME: Final = "faktory"
_PATIENCE_MS: Final = 2_000

Attributes = dict[str, Any]


class OpenTelemetryObserver(Observer):
    """Makes spans and metrics, by the global providers unless others are given.

    * `name`: what stands behind `send` and `process`: the job's type, or its queue.
    * `links_only`: a run is the root of a trace of its own, with a link to its push: for jobs that run much later.
    """

    def __init__(
        self,
        *,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        name: Literal["jobtype", "queue"] = "jobtype",
        links_only: bool = False,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._name: Literal["jobtype", "queue"] = name
        self._links_only: bool = links_only
        self._place: Place | None = None
        # Proxies, until there is a provider: in a child process that is made after this.
        self._tracer: Any = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter: Any = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._sent: Any = meter.create_counter(
            "messaging.client.sent.messages", unit="{message}", description="Jobs that were pushed."
        )
        self._consumed: Any = meter.create_counter(
            "messaging.client.consumed.messages", unit="{message}", description="Jobs that were fetched."
        )
        self._operation: Any = meter.create_histogram(
            "messaging.client.operation.duration", unit="s", description="How long pushes took."
        )
        self._process: Any = meter.create_histogram(
            "messaging.process.duration", unit="s", description="How long handlers ran."
        )

    def attached(self, place: Place) -> None:
        """Note the worker's id and its server."""
        self._place = place

    def for_children(self) -> tuple[Callable[..., Observer], dict[str, Any]]:
        """Have children make one with the same options, and the global providers, which they make themselves."""
        return OpenTelemetryObserver, {"name": self._name, "links_only": self._links_only}

    @contextmanager
    def pushing(self, jobs: Pushing) -> Generator[None, None, None]:
        """Make a span of a push, and have the jobs carry its context."""
        queue, name = _common([job.queue for job in jobs]), _common([getattr(job, self._name) for job in jobs])
        attributes = _base("send", "send", queue) | _server(jobs.place)
        started, error = monotonic(), None
        with self._tracer.start_as_current_span(
            f"send {name}" if name else "send",
            kind=trace.SpanKind.PRODUCER,
            attributes=attributes | _subject(jobs),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            for job in jobs:
                _inject(job)
            try:
                yield
            except BaseException as exc:
                error = _type_of(exc)
                _fail(span, error, exc)
                raise
            finally:
                if error is None and jobs.refused:
                    span.set_attribute("messaging.faktory.refused", len(jobs.refused))
                known = attributes | ({} if error is None else {"error.type": error})
                self._operation.record(monotonic() - started, known)
                self._sent.add(len(jobs) - len(jobs.refused), known)

    @contextmanager
    def working(self, job: Job) -> Generator[None, None, None]:
        """Make a span of a run, whose parent is the push."""
        origin = propagate.extract(_carrier(job.custom))
        pushed = trace.get_current_span(origin).get_span_context()
        attributes = _base("process", "process", job.queue) | _server(self._place) | _about(job)
        if self._place is not None and self._place.wid is not None:
            attributes["messaging.client.id"] = self._place.wid
        token = contexts.attach(contexts.Context() if self._links_only else origin)
        try:
            with self._tracer.start_as_current_span(
                f"process {getattr(job, self._name)}",
                kind=trace.SpanKind.CONSUMER,
                attributes=attributes,
                links=[trace.Link(pushed)] if pushed.is_valid else [],
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    yield
                except BaseException as exc:
                    wish = wish_of(exc)
                    if wish is None:
                        _fail(span, _type_of(exc), exc)
                    else:
                        outcome = "discarded" if isinstance(wish, Drop) else "retried"
                        span.set_attribute("messaging.faktory.outcome", outcome)
                    raise
        finally:
            contexts.detach(token)

    def settled(
        self,
        job: Job,
        outcome: Outcome,
        seconds: float,
        waited: float | None,  # noqa: ARG002
        exc: BaseException | None,
    ) -> None:
        """Count a job, and how long it ran."""
        attributes = _base("process", "process", job.queue) | _server(self._place)
        attributes["messaging.faktory.jobtype"] = job.jobtype
        attributes["messaging.faktory.outcome"] = outcome
        if exc is not None and outcome in ("failed", "dead", "cut_off"):
            attributes["error.type"] = getattr(getattr(exc, "report", None), "errtype", None) or _type_of(exc)
        self._consumed.add(1, attributes)
        if seconds > 0:
            self._process.record(seconds, attributes)

    def flush(self) -> None:
        """Have the providers send what they keep back."""
        for provider in (
            self._tracer_provider or trace.get_tracer_provider(),
            self._meter_provider or metrics.get_meter_provider(),
        ):
            send = getattr(provider, "force_flush", None)  # a proxy, where there is no provider, has none
            if send is not None:
                send(_PATIENCE_MS)


class FaktoryInstrumentor:
    """Observes all clients and consumers that are made later. What `opentelemetry-instrument` looks for."""

    _installed: OpenTelemetryObserver | None = None

    def instrument(self, **options: Any) -> None:
        """Begin. Takes the options of `OpenTelemetryObserver`; others are ignored, as the convention is."""
        if FaktoryInstrumentor._installed is None:
            known = ("tracer_provider", "meter_provider", "name", "links_only")
            observer = OpenTelemetryObserver(**{name: options[name] for name in known if name in options})
            install(observer)
            FaktoryInstrumentor._installed = observer

    def uninstrument(self, **_: Any) -> None:
        """End: what is made from now on is not observed."""
        if FaktoryInstrumentor._installed is not None:
            uninstall(FaktoryInstrumentor._installed)
            FaktoryInstrumentor._installed = None

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """True while what is made is observed."""
        return FaktoryInstrumentor._installed is not None


def _base(name: str, kind: str, queue: str | None) -> Attributes:
    found: Attributes = {
        "messaging.system": "faktory",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }
    return found if queue is None else found | {"messaging.destination.name": queue}


def _server(place: Place | None) -> Attributes:
    return {} if place is None else {"server.address": place.host, "server.port": place.port}


def _subject(jobs: Pushing) -> Attributes:
    """Return what a span says of the jobs of a push."""
    if len(jobs) == 1:
        return {"messaging.message.id": jobs[0].jid, "messaging.faktory.jobtype": jobs[0].jobtype}
    jobtype = _common([job.jobtype for job in jobs])
    count: Attributes = {"messaging.batch.message_count": len(jobs)}
    return count if jobtype is None else count | {"messaging.faktory.jobtype": jobtype}


def _about(job: Job) -> Attributes:
    return {
        "messaging.message.id": job.jid,
        "messaging.faktory.jobtype": job.jobtype,
        "messaging.faktory.attempt": job.attempt + runs_before(job),
    }


def _common(values: list[str]) -> str | None:
    """Return what all values are; None when they differ."""
    return values[0] if len(set(values)) == 1 else None


def _inject(job: Job) -> None:
    """Have a job carry the present context, unless it carries one already."""
    custom = job.custom or {}
    if "traceparent" in custom:
        return
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if carrier:
        job.custom = {**carrier, **custom}


def _carrier(custom: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the keys that a propagator may have set: other ones are texts, too."""
    return {key: value for key, value in (custom or {}).items() if isinstance(value, str)}


def _type_of(exc: BaseException) -> str:
    kind = type(exc)
    if isinstance(exc, ServerError):
        return exc.code
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _fail(span: Any, error: str, exc: BaseException) -> None:
    span.set_attribute("error.type", error)
    span.record_exception(exc)
    span.set_status(trace.Status(trace.StatusCode.ERROR, error))
