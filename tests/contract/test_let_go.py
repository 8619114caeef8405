"""A job's values are let go when it is reported, without waiting for the cyclic collector."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from faktory import ConsumerBuilder, Job
from tests.contract.conftest import Backend
from tests.contract.fronts import Front

pytestmark = pytest.mark.slow


class Value:
    """What a handler has in hand: megabytes, a file, a lock."""


ALIVE: list[weakref.ref[Value]] = []


def hold() -> Value:
    value = Value()
    ALIVE.append(weakref.ref(value))
    return value


def fails(job: Job) -> None:
    value = hold()
    raise ValueError(str(value))


def fails_in_a_chain(job: Job) -> None:
    value = hold()
    try:
        fails(job)
    except ValueError as exc:
        raise KeyError(str(value)) from exc


def runs_too_long(job: Job) -> None:
    value = hold()
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        time.sleep(0.001)
    del value


def swallows(job: Job) -> None:
    try:
        runs_too_long(job)
    except Exception:
        return


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    ALIVE.clear()
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("has_hooks", [False, True], ids=["bare", "hooks"])
@pytest.mark.parametrize("handler", [fails, fails_in_a_chain, runs_too_long, swallows], ids=lambda each: each.__name__)
def test_a_failed_job_leaves_nothing_alive(
    front: Front, ours: Backend, handler: Callable[[Job], None], has_hooks: bool
) -> None:
    """W1."""
    for _ in range(2):
        ours.push("work", retry=0)
    ours.push("look", retry=0)
    seen: list[int] = []

    def look(job: Job) -> None:
        limit = time.monotonic() + 2
        while any(ref() is not None for ref in ALIVE) and time.monotonic() < limit:
            time.sleep(0.005)
        seen.append(sum(ref() is not None for ref in ALIVE))

    builder = ConsumerBuilder().register("work", handler, timeout=0.05).register("look", look, timeout=10)
    if has_hooks:
        builder.on_failure(lambda job, exc: str(exc)).on_death(lambda job, exc: repr(exc))
    summary = front.drain(builder, ours.url, [ours.queue])
    assert (summary.succeeded, summary.failed) == (1, 2)
    assert ALIVE
    assert seen == [0]
