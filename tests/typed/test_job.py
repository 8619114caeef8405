"""`faktory.typed.job`: the handler of a typed job, whoever calls it."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from faktory import App, Job, JobContext
from faktory.core.callables import place_of


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


app = App()


@app.job
def resize(name: str) -> str:
    return name.upper()


class Inner:
    @staticmethod
    @app.job
    def shrink(name: str) -> None:
        pass


@pytest.mark.slow
def test_a_typed_job_is_pickled_by_its_name() -> None:
    """As functions are: a process pool can be given it."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(resize, protocol)) is resize
        assert pickle.loads(pickle.dumps(Inner.shrink, protocol)) is Inner.shrink
    assert copy.deepcopy(resize) is resize
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(resize, "cat").result(30) == "CAT"


def test_a_job_that_its_name_does_not_lead_to_is_not_pickled() -> None:
    other = resize.using(queue="other")
    assert other.options.queue == "other"
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(other)
