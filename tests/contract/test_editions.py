"""Settings of Faktory Enterprise on servers of both editions, by every client; and the job that runs, pushed again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import trio

import faktory.asyncio
import faktory.trio
from faktory import App, Client, ConsumerBuilder, EnterpriseRequired, InvalidJob, Job, JobContext, NotUnique, Retry
from faktory.server import Server
from tests.contract.conftest import Backend
from tests.recording import Recording

Push = Callable[[str, list[Job]], Any]


def push_blocking(url: str, jobs: list[Job]) -> Any:
    with Client(url) as client:
        return client.push(jobs[0]) if len(jobs) == 1 else client.push_bulk(jobs)


def push_asyncio(url: str, jobs: list[Job]) -> Any:
    async def main() -> Any:
        async with faktory.asyncio.Client(url) as client:
            return await (client.push(jobs[0]) if len(jobs) == 1 else client.push_bulk(jobs))

    return asyncio.run(main())


def push_trio(url: str, jobs: list[Job]) -> Any:
    async def main() -> Any:
        async with faktory.trio.Client(url) as client:
            return await (client.push(jobs[0]) if len(jobs) == 1 else client.push_bulk(jobs))

    return trio.run(main)


every_client = pytest.mark.parametrize("push", [push_blocking, push_asyncio, push_trio])


@every_client
@pytest.mark.parametrize("count", [1, 2])
def test_an_open_source_server_gets_no_job_whose_settings_it_would_ignore(
    backend: Backend, push: Push, count: int
) -> None:
    for setting in ("unique_for", "expires_in"):
        jobs = [Job("work", [n], queue=backend.queue) for n in range(count)]
        for job in jobs:
            getattr(job, setting)(60)
        with pytest.raises(EnterpriseRequired, match=r"only Faktory Enterprise knows"):
            push(backend.url, jobs)
    assert backend.client.queue_latency(backend.queue) == {backend.queue: 0}


@every_client
def test_an_enterprise_server_gets_them(push: Push) -> None:
    with Server(enterprise=True) as server:
        push(server.url, [Job("work", [1]).unique_for(60)])
        with pytest.raises(NotUnique):
            push(server.url, [Job("work", [1]).unique_for(60)])
        assert len(server.queue("default")) == 1


def test_a_client_asks_once_and_only_when_it_matters() -> None:
    with Server(enterprise=True) as server, Recording(server.port) as recording, Client(recording.url) as client:
        client.push(Job("work"))
        assert client.edition.has_enterprise is None
        for number in range(2):
            client.push(Job("work", [number]).unique_for(60))
        assert client.edition.has_enterprise is True
        assert (recording.count("TRACK"), recording.count("INFO")) == (1, 0)


def test_typed_jobs_are_refused_too_and_their_progress_is_a_warning_once(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(backend.url)

    @app.job(queue=backend.queue)
    def work(ctx: JobContext) -> None:
        ctx.progress(10)
        ctx.progress(90, "nearly")

    with pytest.raises(EnterpriseRequired):
        work.using(unique_for=5).enqueue()
    with pytest.raises(EnterpriseRequired):
        asyncio.run(work.using(expires_in=5).aenqueue())
    with pytest.raises(EnterpriseRequired):
        work.using(expires_in=5).enqueue_many([(), ()])
    app.close()
    work.enqueue()  # by a client that has not asked
    with app.consumer().connect() as consumer:
        assert consumer.run_one()
    app.close()
    assert [record.getMessage() for record in caplog.records if "Enterprise" in record.getMessage()] == [
        "the progress of jobs: this server is open source and ignores it, it needs Faktory Enterprise"
    ]
    assert backend.sets()["retries"] == 0


def test_the_copy_of_a_job_goes_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Another program has pushed it, to a server that ignores what it asks for: it is not lost for that."""

    def work(_: Job) -> None:
        raise Retry(in_=60)

    with Server() as server:
        with Client(server.url) as client:
            client.edition.has_enterprise = True  # as by a producer that does not ask
            client.push(Job("work").expires_in(600))
        with ConsumerBuilder().register("work", work).connect(server.url) as consumer:
            assert consumer.run_one(["default"])
        assert (len(server.scheduled), len(server.retries)) == (1, 0)
    assert "the setting expires_at of jobs 'work': this server is open source" in caplog.text


def test_the_job_that_runs_is_not_pushed_again(backend: Backend) -> None:
    caught: list[InvalidJob] = []
    pushed: list[str] = []

    def work(job: Job) -> None:
        raise ValueError("no")

    def handle_failure(job: Job, _: BaseException) -> None:
        for push in (backend.client.push, lambda again: backend.client.push_bulk([again])):
            with pytest.raises(InvalidJob, match="runs just now") as refused:
                push(job)
            caught.append(refused.value)
        pushed.append(backend.client.push(Job(job.jobtype, job.args, queue=job.queue)))

    jid = backend.push("work", retry=0)
    with ConsumerBuilder().register("work", work).on_failure(handle_failure).connect(backend.url) as consumer:
        assert consumer.run_one([backend.queue])
    assert [error.jid for error in caught] == [jid, jid]
    assert pushed != [jid]
