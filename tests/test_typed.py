"""`faktory.typed`: the handler of a typed job, whoever calls it."""

from __future__ import annotations

from typing import Any

from faktory import App, Job, JobContext
from faktory.callables import place_of


def test_a_handler_runs_outside_of_a_consumer_too() -> None:
    app = App("tcp://localhost:1", mode="queue")
    seen: list[object] = []

    @app.job(timeout=5)
    def work(ctx: JobContext, a: int) -> None:
        seen.append((ctx.attempt, a))

    handler: Any = work.__faktory_handler__
    handler(Job("work", [3]))
    assert seen == [(1, 3)]
    assert handler.__name__ == "work"
    assert work.timeout == 5


def test_using_leaves_the_job_as_it_was() -> None:
    app = App()

    @app.job(queue="mail")
    def work(a: int) -> None: ...

    low = work.using(queue="low").using(retry=1)
    assert (low.to_job(1).queue, low.to_job(1).retry) == ("low", 1)
    assert (work.to_job(1).queue, work.to_job(1).retry) == ("mail", 25)
    assert type(low) is type(work)
    assert repr(work) == f"<PlainJob 'work' of {place_of(work.function)}>"


def test_a_plain_call_is_one() -> None:
    app = App()

    @app.job
    def with_context(ctx: JobContext, a: int) -> tuple[object, int]:
        return ctx, a

    @app.job
    def without(a: int) -> int:
        return a * 2

    ctx: Any = object()
    assert with_context(ctx, 5) == (ctx, 5)
    assert without(5) == 10
