"""Errors and traces for Sentry, through a transport that keeps them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("sentry_sdk")

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from faktory import ConfigurationError, Discard, Job, JobCancelled, JobCrashed, Retry
from faktory.contrib.sentry import FaktoryIntegration, SentryObserver
from faktory.core.failure import Report, ReportedFailure
from faktory.observe.observer import Pushing, Watch, install, installed, uninstall


class Kept(Transport):  # type: ignore[misc,unused-ignore]
    """Keeps what is sent."""

    def __init__(self) -> None:
        super().__init__({"dsn": "http://key@sentry.example/1"})
        self.events: list[Any] = []
        self.transactions: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.type == "event":
                self.events.append(item.get_event())
            elif item.type == "transaction":
                self.transactions.append(item.payload.json)


@pytest.fixture
def init() -> Iterator[Any]:
    """Return a function that starts Sentry with options, and gives its transport."""

    def start(*, report: Any = "last", **options: Any) -> Kept:
        transport = Kept()
        sentry_sdk.init(
            dsn="http://key@sentry.example/1",
            transport=transport,
            traces_sample_rate=1.0,
            integrations=[FaktoryIntegration(report=report)],
            default_integrations=False,
            **options,
        )
        FaktoryIntegration.setup_once()  # which Sentry calls for the first init of a process
        return transport

    with sentry_sdk.isolation_scope():
        yield start
    sentry_sdk.init()
    for observer in installed():
        if isinstance(observer, SentryObserver):
            uninstall(observer)


def work(job: Job, error: BaseException | None = None) -> None:
    watch = Watch(installed())
    if error is None:
        with watch.working(job):
            pass
        return
    with pytest.raises(type(error)), watch.working(job):
        raise error


def fetched(**changes: Any) -> Job:
    document = {"jid": "0123456789", "jobtype": "resize", "args": ["secret"], "queue": "images", "retry": 0, **changes}
    return Job.from_document(document)


def test_a_failure_on_the_last_attempt_is_an_event_with_its_job(init: Any) -> None:
    kept = init()
    work(fetched(), ValueError("no such cat"))
    (event,) = kept.events
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert event["exception"]["values"][0]["mechanism"] == {"type": "faktory", "handled": False}
    assert event["tags"] == {"faktory.jid": "0123456789", "faktory.jobtype": "resize"}
    assert event["transaction"] == "resize"
    job = event["contexts"]["faktory job"]
    assert (job["jid"], job["queue"], job["attempt"]) == ("0123456789", "images", 1)
    assert "secret" not in str(event["contexts"])


@pytest.mark.filterwarnings("ignore:The send_default_pii:DeprecationWarning")
def test_arguments_are_sent_only_where_personal_data_may_be(init: Any) -> None:
    kept = init(send_default_pii=True)
    work(fetched(), ValueError())
    assert kept.events[0]["contexts"]["faktory job"]["args"] == ["secret"]


def test_a_failure_that_is_run_again_is_no_event_unless_it_is_wanted(init: Any) -> None:
    kept = init()
    work(fetched(retry=5), ValueError())
    assert kept.events == []
    kept = init(report="every")
    work(fetched(retry=5), ValueError())
    assert len(kept.events) == 1


@pytest.mark.parametrize("error", [Retry(in_=5), Discard("x"), JobCancelled("the end")], ids=repr)
def test_a_wish_and_the_end_of_a_worker_are_no_events(error: Exception, init: Any) -> None:
    kept = init(report="every")
    work(fetched(), error)
    assert kept.events == []
    assert len(kept.transactions) == 1


def test_a_run_is_a_transaction_that_goes_on_with_the_trace_of_its_push(init: Any) -> None:
    kept = init()
    job = Job("resize", queue="images", retry=0)
    with sentry_sdk.start_transaction(name="request"), Watch(installed()).pushing(Pushing([job])):
        pass
    (request,) = kept.transactions
    (span,) = request["spans"]
    assert (span["op"], span["description"]) == ("queue.publish", "resize")
    assert span["data"]["messaging.message.id"] == job.jid
    assert job.custom is not None
    carried = fetched(
        custom=job.custom, enqueued_at=(datetime.now(UTC) - timedelta(seconds=2)).isoformat(), retry=3,
        failure={"retry_count": 1},
    )  # fmt: skip
    work(carried)
    transaction = kept.transactions[1]
    trace = transaction["contexts"]["trace"]
    assert trace["op"] == "queue.process"
    assert trace["trace_id"] == request["contexts"]["trace"]["trace_id"]
    assert trace["parent_span_id"] == span["span_id"]
    assert transaction["transaction"] == "resize"
    data = trace["data"]
    assert data["messaging.message.id"] == "0123456789"
    assert data["messaging.destination.name"] == "images"
    assert data["messaging.message.retry.count"] == 2
    assert 1_900 < data["messaging.message.receive.latency"] < 20_000


def test_a_push_of_many_is_one_span_and_what_is_carried_is_kept(init: Any) -> None:
    kept = init()
    carrying = Job("b", custom={"sentry-trace": "mine"})
    with sentry_sdk.start_transaction(name="request"), Watch(installed()).pushing(Pushing([Job("a"), carrying])):
        pass
    assert kept.transactions[0]["spans"][0]["data"]["messaging.batch.message_count"] == 2
    assert carrying.custom == {"sentry-trace": "mine"}


def test_each_job_has_a_scope_of_its_own(init: Any) -> None:
    kept = init()
    sentry_sdk.add_breadcrumb(message="before")
    watch = Watch(installed())
    with watch.working(fetched()):
        sentry_sdk.set_tag("leaks", "no")
        sentry_sdk.add_breadcrumb(message="within")
    work(fetched(jid="9876543210"), ValueError())
    (event,) = kept.events
    assert "leaks" not in event["tags"]
    assert event["tags"]["faktory.jid"] == "9876543210"
    assert not event.get("breadcrumbs", {}).get("values")


def test_a_child_that_crashed_is_told_of_by_its_worker(init: Any) -> None:
    kept = init()
    watch = Watch(installed())
    error = ReportedFailure(Report("JobCrashed", "killed"), JobCrashed("the child process 7 was killed by SIGKILL"))
    watch.settled(fetched(), "dead", 1.0, None, error)
    watch.settled(fetched(), "cut_off", 1.0, None, error)
    watch.settled(fetched(), "dead", 1.0, None, ReportedFailure(Report("ValueError", "told in the child")))
    watch.settled(fetched(retry=3), "failed", 1.0, None, error)
    assert [event["exception"]["values"][0]["type"] for event in kept.events] == ["JobCrashed"]
    assert kept.events[0]["tags"]["faktory.jid"] == "0123456789"


def test_the_loggers_of_this_package_are_ignored(init: Any) -> None:
    from sentry_sdk.integrations.logging import EventHandler

    kept = init()
    handler = EventHandler()
    for name in ("faktory", "faktory.consumer"):
        handler.handle(logging.makeLogRecord({"name": name, "levelno": logging.ERROR, "msg": "ours"}))
    assert kept.events == []
    handler.handle(logging.makeLogRecord({"name": "shop", "levelno": logging.ERROR, "msg": "theirs"}))
    assert len(kept.events) == 1


def test_without_sentry_being_started_nothing_is_done() -> None:
    observer = SentryObserver()
    install(observer)
    try:
        job = Job("a")
        with Watch([observer]).pushing(Pushing([job])):
            pass
        work(job, ValueError())
        observer.settled(job, "dead", 1.0, None, None)
        observer.flush()
        assert job.custom is None
    finally:
        uninstall(observer)


def test_what_is_kept_back_is_sent_when_a_child_ends(init: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[float] = []
    monkeypatch.setattr(sentry_sdk, "flush", lambda timeout: flushed.append(timeout))
    init()
    Watch(installed()).flush()
    assert flushed == [2.0]


def test_a_wrong_option_is_refused() -> None:
    wrong: Any = "sometimes"
    with pytest.raises(ConfigurationError, match='"last" or "every"'):
        FaktoryIntegration(report=wrong)
