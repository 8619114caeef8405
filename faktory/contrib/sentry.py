"""Errors and traces of jobs for Sentry. Needs the package `sentry-sdk`.

    import sentry_sdk
    from faktory.contrib.sentry import FaktoryIntegration

    sentry_sdk.init(dsn="…", traces_sample_rate=0.1, integrations=[FaktoryIntegration()])

Call `init` before clients and consumers are made: at the top of the app's module, where child processes run it, too.

Each job has a scope of its own. An exception is reported when no retry is left, or after each run with
`report="every"`; never `Retry`, `Discard`, or the end of the worker. A job's arguments are sent with
`send_default_pii` only. The loggers of this package are ignored: each line of theirs would be an event without a stack.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

from ..core.again import runs_before, wish_of
from ..errors import ConfigurationError, JobCancelled, JobCrashed, JobTimeout
from ..job import Job
from ..observe.observer import Observer, Outcome, Pushing, install, installed

try:
    import sentry_sdk
    from sentry_sdk.integrations import Integration
    from sentry_sdk.integrations.logging import ignore_logger
    from sentry_sdk.scope import should_send_default_pii
    from sentry_sdk.tracing import TransactionSource
    from sentry_sdk.utils import event_from_exception
except ImportError as _absent:
    raise ImportError("faktory.contrib.sentry needs Sentry's SDK, 2.0 or later: pip install sentry-sdk") from _absent

_ORIGIN: Final = "auto.queue.faktory"
_CARRIED: Final = ("sentry-trace", "baggage")
_PATIENCE: Final = 2.0

Report = Literal["last", "every"]


class FaktoryIntegration(Integration):  # type: ignore[misc,unused-ignore]
    """What `sentry_sdk.init` takes. `report`: the exception of the last run, or of every run."""

    identifier: str = "faktory"
    origin: str = _ORIGIN

    def __init__(self, *, report: Report = "last") -> None:
        if report not in ("last", "every"):
            raise ConfigurationError(f'report must be "last" or "every", got {report!a:.60}')
        self.report: Report = report

    @staticmethod
    def setup_once() -> None:
        """Observe all clients and consumers that are made from now on."""
        ignore_logger("faktory")
        ignore_logger("faktory.*")
        if not any(isinstance(observer, SentryObserver) for observer in installed()):
            install(SentryObserver())


class SentryObserver(Observer):
    """Reports while the integration is active. `FaktoryIntegration` installs it."""

    @contextmanager
    def pushing(self, jobs: Pushing) -> Generator[None, None, None]:
        """Make a span of a push, and have the jobs carry its trace."""
        if _active() is None:
            yield
            return
        first = jobs[0]
        with sentry_sdk.start_span(op="queue.publish", name=first.jobtype, origin=_ORIGIN) as span:
            span.set_data("messaging.system", "faktory")
            span.set_data("messaging.destination.name", first.queue)
            if len(jobs) == 1:
                span.set_data("messaging.message.id", first.jid)
            else:
                span.set_data("messaging.batch.message_count", len(jobs))
            carried = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
            carrier = {name: value for name, value in carried.items() if value}
            for job in jobs:
                if carrier and "sentry-trace" not in (job.custom or {}):
                    job.custom = {**carrier, **(job.custom or {})}
            yield

    @contextmanager
    def working(self, job: Job) -> Generator[None, None, None]:
        """Run a job in a scope and a transaction of its own, and report how it fails."""
        integration = _active()
        if integration is None:
            yield
            return
        with sentry_sdk.isolation_scope() as scope:
            _describe(scope, job)
            custom = job.custom or {}
            headers = {name: custom[name] for name in _CARRIED if isinstance(custom.get(name), str)}
            transaction: Any = sentry_sdk.continue_trace(
                headers, op="queue.process", name=job.jobtype, source=TransactionSource.TASK, origin=_ORIGIN
            )
            with sentry_sdk.start_transaction(transaction, custom_sampling_context={"faktory_job": job}) as span:
                _measure(span, job)
                try:
                    yield
                except BaseException as exc:
                    if wish_of(exc) is None and not isinstance(exc, JobCancelled):
                        span.set_status("internal_error")
                        if _is_reported(integration, job):
                            _capture(exc)
                    raise
                else:
                    span.set_status("ok")

    def settled(
        self,
        job: Job,
        outcome: Outcome,
        seconds: float,  # noqa: ARG002
        waited: float | None,  # noqa: ARG002
        exc: BaseException | None,
    ) -> None:
        """Report the end of a child process that could not report itself: it crashed, or was killed."""
        integration, error = _active(), getattr(exc, "error", None)
        if integration is None or outcome == "cut_off" or not isinstance(error, (JobCrashed, JobTimeout)):
            return
        if _is_reported(integration, job):
            with sentry_sdk.isolation_scope() as scope:
                _describe(scope, job)
                _capture(error)

    def flush(self) -> None:
        """Send what is kept back."""
        if _active() is not None:
            sentry_sdk.flush(timeout=_PATIENCE)


def _active() -> FaktoryIntegration | None:
    """Return the integration that `sentry_sdk.init` was given; None before."""
    found: FaktoryIntegration | None = sentry_sdk.get_client().get_integration(FaktoryIntegration)
    return found


def _is_reported(integration: FaktoryIntegration, job: Job) -> bool:
    return integration.report == "every" or job.is_last_attempt


def _describe(scope: Any, job: Job) -> None:
    """Give a scope what is known of the job."""
    scope.clear_breadcrumbs()
    scope.set_transaction_name(job.jobtype, source=TransactionSource.TASK)
    scope.set_tag("faktory.jid", job.jid)
    scope.set_tag("faktory.jobtype", job.jobtype)
    facts: dict[str, Any] = {
        "jid": job.jid,
        "jobtype": job.jobtype,
        "queue": job.queue,
        "attempt": job.attempt + runs_before(job),
        "retry": job.retry,
    }
    if should_send_default_pii():
        facts["args"] = job.args
    scope.set_context("faktory job", facts)


def _measure(span: Any, job: Job) -> None:
    span.set_data("messaging.system", "faktory")
    span.set_data("messaging.message.id", job.jid)
    span.set_data("messaging.destination.name", job.queue)
    span.set_data("messaging.message.retry.count", job.attempt + runs_before(job) - 1)
    if job.enqueued_at is not None:
        latency = (datetime.now(UTC) - job.enqueued_at).total_seconds() * 1000
        span.set_data("messaging.message.receive.latency", max(0.0, latency))


def _capture(exc: BaseException) -> None:
    event, hint = event_from_exception(
        exc,
        client_options=sentry_sdk.get_client().options,
        mechanism={"type": "faktory", "handled": False},
    )
    sentry_sdk.capture_event(event, hint=hint)
