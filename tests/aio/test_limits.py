"""Time limits of jobs on a loop: none is missed, whenever it strikes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job, JobCancelled, JobTimeout
from faktory.aio.job_task import AsyncHandler, JobTask
from faktory.core.job_timer import JobTimer
from faktory.core.managed import Managed
from faktory.core.registry import Handler
from faktory.core.run import Run
from faktory.server import Server
from tests.loops import Loop

LIMITS = int(os.environ.get("FAKTORY_TEST_LIMITS", "100"))


@pytest.mark.slow
def test_no_limit_is_missed(loop: Loop, server: Server, client: Client) -> None:
    """A4: A miss would be a job that sleeps its five seconds and succeeds."""

    async def work(job: Job) -> None:
        await loop.sleep(5)

    client.push_bulk(Job("work", retry=0) for _ in range(LIMITS))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work, timeout=0.01).workers(50)
        async with await loop.connect(builder, server.url) as consumer:
            summary = await consumer.drain(["default"])
            assert (summary.succeeded, summary.failed) == (0, LIMITS)

    loop.run(main)


@pytest.mark.parametrize("kind", [JobTimeout, JobCancelled])
def test_a_strike_before_the_first_step_is_kept_for_it(loop: Loop, kind: type[Exception]) -> None:
    """A4."""
    ran: list[str] = []

    async def perform(job: Job) -> None:
        ran.append(job.jid)

    async def main() -> BaseException | None:
        job = Job("work")
        timer = JobTimer()
        timer.begin(job, 5, 0.0, 0.0, 0.0)
        backend: Any = loop.Connection._backend
        task = JobTask(backend, lambda call, *args: call(*args), timer, Run(job, 5.0, Managed()))
        task.interrupt(kind("why"))
        error = await task.call(AsyncHandler(Handler("work", perform, None, perform), perform), is_in_time=True)
        assert str(error) == "why"
        return error

    assert type(loop.run(main)) is kind
    assert not ran
