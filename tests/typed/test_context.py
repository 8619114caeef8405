"""`faktory.typed.context` and `faktory.core.run`: what a running handler can know of its job."""

from __future__ import annotations

import logging
import time

import pytest

import faktory
from faktory import (
    Client,
    ConfigurationError,
    ConsumerBuilder,
    Job,
    JobCancelled,
    JobContext,
    JobLogFilter,
    JobTimeout,
    current_job,
)
from faktory.core.lifecycle import Lifecycle
from faktory.core.managed import Managed
from faktory.core.run import Run, running
from faktory.server import Server


def test_there_is_no_job_outside_of_jobs() -> None:
    assert current_job() is None


def test_a_handler_sees_its_job_and_its_deadline(server: Server, client: Client) -> None:
    seen: list[tuple[str, float]] = []

    def work(job: Job) -> None:
        run, current = running.get(), current_job()
        assert run is not None
        assert current is job
        seen.append((job.jid, run.deadline - time.monotonic()))

    jid = client.push(Job("work"))
    with ConsumerBuilder().register("work", work, timeout=7).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
    ((found, left),) = seen
    assert found == jid
    assert 6 < left <= 7
    assert current_job() is None


def test_a_run_past_its_limit_says_that_it_is_cancelled(server: Server, client: Client) -> None:
    seen: list[bool] = []

    def work(job: Job) -> None:
        run = running.get()
        assert run is not None
        seen.append(run.is_cancelled)
        try:
            while True:
                time.sleep(0.001)
        finally:
            seen.append(run.is_cancelled)

    client.push(Job("work"))
    with ConsumerBuilder().register("work", work, timeout=0.1).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
    assert seen == [False, True]


# -- what a typed job is given --------------------------------------------------------------------------------------


def context(job: Job | None = None, *, limit: float = 60.0) -> tuple[JobContext, Run]:
    run = Run(job or Job("work", queue="low"), time.monotonic() + limit, Managed())
    return JobContext(run, None, "tests.jobs"), run


def test_a_context_knows_its_job() -> None:
    job = Job("work", retry=2)
    ctx, run = context(job)
    assert (ctx.job, ctx.jid, ctx.attempt, ctx.is_last_attempt) == (job, job.jid, 1, False)
    assert ctx.deadline == run.deadline
    assert repr(ctx) == f"<JobContext 'work' jid={job.jid!r} attempt=1>"


def test_the_runs_before_a_retry_count() -> None:
    job = Job("work", custom={"retried": {"jid": "first-jid", "runs": 3}})
    assert context(job)[0].attempt == 4
    assert context(Job("work", custom={"retried": "text"}))[0].attempt == 1


def test_a_long_job_can_look_whether_it_should_end() -> None:
    ctx, run = context()
    assert not ctx.cancelled
    ctx.raise_if_cancelled()
    run.is_cancelled = True
    assert ctx.cancelled
    with pytest.raises(JobCancelled):
        ctx.raise_if_cancelled()
    late, _ = context(limit=-1)
    assert late.cancelled
    with pytest.raises(JobTimeout):
        late.raise_if_cancelled()


def test_a_job_of_nobodys_is_never_told_to_end() -> None:
    ctx, run = context()
    assert not ctx.stopping
    assert not run.stopping


def test_a_job_learns_that_its_worker_ends() -> None:
    life = Lifecycle(shutdown_timeout=1.0, heartbeat_interval=15.0, now=0.0)
    run = Run(Job("work"), time.monotonic() + 60, Managed(), life)
    ctx = JobContext(run, None, "tests.jobs")
    life.quiet(1.0)
    assert not ctx.stopping
    life.terminate(2.0)
    assert ctx.stopping
    assert not ctx.cancelled


def test_managed_values_are_got_by_type() -> None:
    ctx, run = context()
    run.managed.add(list, lambda: [1])
    assert ctx.get(list) == [1]


def test_without_a_server_there_is_no_client_and_progress_is_nothing() -> None:
    ctx, _ = context()
    ctx.progress(50)
    with pytest.raises(ConfigurationError, match="no server in this mode"):
        _ = ctx.client


def test_the_client_of_a_job_is_the_apps(server: Server, client: Client) -> None:
    ctx = JobContext(context()[1], lambda: client, "tests.jobs")
    jid = ctx.client.push(Job("after"))
    assert server.queue("default").jids == [jid]


def test_progress_is_recorded_by_an_enterprise_server() -> None:
    with Server(enterprise=True) as server, Client(server.url) as client:
        job = Job("work", custom={"track": 1})
        client.push(job)
        JobContext(context(job)[1], lambda: client, "tests.jobs").progress(40, "nearly half")
        progress = client.track(job.jid)
    assert (progress["percent"], progress["desc"]) == (40, "nearly half")


def test_an_open_source_server_records_no_progress_which_is_said_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = JobContext(context()[1], lambda: client, "tests.jobs")
    ctx.progress(10)
    ctx.progress(90)
    (record,) = caplog.records
    assert record.getMessage().startswith("the progress of jobs: this server is open source")


def test_a_job_adds_jobs_to_its_batch() -> None:
    with Server(enterprise=True) as server, Client(server.url) as client:
        with client.batch(success=Job("after")) as batch:
            batch.push(Job("first"))
        job = Job("first", custom={"bid": batch.bid})
        ctx = JobContext(context(job)[1], lambda: client, "tests.jobs")
        with ctx.batch as again:
            again.push(Job("second"))
        assert ctx.batch is again
        assert again.bid == batch.bid
        assert client.batch_status(batch.bid)["total"] == 2


@pytest.mark.parametrize("custom", [None, {"bid": 7}])
def test_a_job_without_a_batch_says_so(custom: dict[str, object] | None) -> None:
    with pytest.raises(ConfigurationError, match="belongs to no batch"):
        _ = context(Job("work", custom=custom))[0].batch


def test_the_log_of_a_job_carries_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    ctx, run = context()
    with caplog.at_level("INFO", logger="tests.jobs"):
        ctx.log.info("halfway")
    (record,) = caplog.records
    facts = record.name, *(getattr(record, name) for name in ("jid", "jobtype", "queue", "attempt"))
    assert facts == ("tests.jobs", run.job.jid, "work", "low", 1)


def test_every_record_made_during_a_job_can_carry_its_facts() -> None:
    def facts() -> tuple[object, ...]:
        record = logging.LogRecord("any", logging.INFO, "here", 1, "text", (), None)
        assert JobLogFilter().filter(record)
        return tuple(getattr(record, name) for name in ("jid", "jobtype", "queue", "attempt"))

    assert facts() == (None, None, None, None)
    _, run = context()
    token = running.set(run)
    try:
        assert facts() == (run.job.jid, "work", "low", 1)
    finally:
        running.reset(token)


def test_the_logger_keeps_what_a_call_adds(caplog: pytest.LogCaptureFixture) -> None:
    """27.8: the adapter of Python 3.11 replaces it."""
    job = Job("work")
    ctx = JobContext(Run(job, 0.0, Managed()), None, "shop")
    with caplog.at_level("INFO"):
        ctx.log.info("paid %s", "well", extra={"order": 7})
    (record,) = caplog.records
    assert (record.order, record.jid, record.name) == (7, job.jid, "shop")  # type: ignore[attr-defined]


def test_managed_values_are_there_for_any_code_of_a_job() -> None:
    """15.1."""
    values = Managed()
    values.add(dict, lambda: {"a": 1})
    with pytest.raises(ConfigurationError, match=r"faktory.managed\(dict\) is for code that a job runs"):
        faktory.managed(dict)
    token = running.set(Run(Job("work"), 0.0, values))
    try:
        assert faktory.managed(dict) is values.get(dict)
    finally:
        running.reset(token)
