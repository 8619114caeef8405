"""`faktory.context`: what a running handler can know of its job."""

from __future__ import annotations

import time

from faktory import Client, ConsumerBuilder, Job, current_job
from faktory.context import running
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
