"""`faktory.typed.foreground`: in the caller, one after the other."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

import faktory
from faktory import App, Job, JobContext, Retry
from faktory.typed.foreground import run


def test_what_a_job_pushes_runs_after_it_in_order() -> None:
    seen: list[str] = []

    def perform(job: Job) -> None:
        seen.append(f"{job.jobtype} begins")
        for name in job.args:
            run(perform, Job(name, {"b": ["d"]}.get(name, [])))
        seen.append(f"{job.jobtype} ends")

    run(perform, Job("a", ["b", "c"]))
    assert seen == [f"{name} {what}" for name in "abcd" for what in ("begins", "ends")]


def test_a_chain_as_long_as_one_likes() -> None:
    app, other = App(mode="foreground"), App(mode="foreground")
    seen: list[int] = []

    @app.job
    def count(number: int) -> None:
        seen.append(number)
        if number:
            count_on.enqueue(number - 1)

    @other.job
    def count_on(number: int) -> None:
        seen.append(number)
        if number:
            count.enqueue(number - 1)

    count.enqueue(3_000)
    assert seen == list(range(3_000, -1, -1))


def test_a_chain_of_async_jobs() -> None:
    app = App(mode="foreground")
    seen: list[int] = []

    @app.job
    async def count(number: int) -> None:
        seen.append(number)
        if number:
            await count.aenqueue(number - 1)

    count.enqueue(30)
    asyncio.run(count.aenqueue(30))
    assert seen == list(range(30, -1, -1)) * 2


def test_all_run_and_the_first_failure_reaches_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def perform(job: Job) -> None:
        seen.append(job.jobtype)
        if job.jobtype == "a":
            for name in "bcd":
                run(perform, Job(name))
        if job.jobtype in "ac":
            raise ValueError(f"{job.jobtype} failed")

    with pytest.raises(ValueError, match="a failed"):
        run(perform, Job("a"))
    assert seen == ["a", "b", "c", "d"]
    assert "('c') failed, too" in caplog.text
    run(perform, Job("d"))  # the next begins anew


def test_an_interrupt_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    def perform(job: Job) -> None:
        run(perform, Job("b"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(perform, Job("a"))
    assert "1 jobs that jobs in the foreground have pushed are not run" in caplog.text


def test_a_thread_that_outlives_its_job_runs_what_it_pushes() -> None:
    seen: list[str] = []
    may_push = threading.Event()
    threads: list[threading.Thread] = []

    def later() -> None:
        may_push.wait(10)
        run(perform, Job("late"))

    def perform(job: Job) -> None:
        seen.append(job.jobtype)
        if job.jobtype == "a":
            threads.append(threading.Thread(target=contextvars.copy_context().run, args=(later,)))
            threads[0].start()

    run(perform, Job("a"))
    may_push.set()
    threads[0].join(10)
    assert seen == ["a", "late"]


def test_a_failure_is_let_go() -> None:
    class Large:
        pass

    gone: list[weakref.ref[Large]] = []

    def perform(job: Job) -> None:
        large = Large()
        gone.append(weakref.ref(large))
        raise ValueError

    gc.disable()
    try:
        with pytest.raises(ValueError) as caught:
            run(perform, Job("a"))
        del caught
        assert gone[0]() is None
    finally:
        gc.enable()


def test_again_is_never_here_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    app = App(mode="foreground")
    seen: list[int] = []

    @app.job(retry_on=(OSError,))
    def work(ctx: JobContext, how: str) -> None:
        seen.append(ctx.attempt)
        if how == "Retry":
            raise Retry(in_=60)
        raise OSError("the disk is full")

    @app.job(retry_on=(OSError,))
    async def async_work(how: str) -> None:
        await work_async(how)

    async def work_async(how: str) -> None:
        if how == "Retry":
            raise faktory.Retry(in_=60)
        raise OSError("the disk is full")

    for job in (work, async_work):
        caplog.clear()
        job.enqueue("Retry")
        assert (
            "is to run again, which it does not in this mode: Retry: 'the job wants to run again in 60'" in caplog.text
        )
        job.enqueue("retry_on")
        assert "is to run again, which it does not in this mode: OSError: 'the disk is full'" in caplog.text
    assert seen == [1, 1]
    with pytest.raises(OSError, match="full"):
        work.using(retry=0).enqueue("its last run")
