"""Shapes of middleware, right and wrong ones, and jobs that note that they ran; children import them, too."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from decimal import getcontext
from functools import partial
from pathlib import Path
from typing import Any

from faktory import App, Discard, Job, JobContext, Retry

Next = Callable[..., Any]


def note(jid: str) -> None:
    with Path(os.environ["TEST_JOURNAL"]).open("a") as file:
        file.write(f"{jid}\n")


def plain(job: Any, call_next: Next) -> Any:
    return call_next()


def without_return(job: Any, call_next: Next) -> None:
    call_next()


def generator(job: Any, call_next: Next) -> Iterator[Any]:
    yield call_next()


async def async_generator(job: Any, call_next: Next) -> AsyncIterator[Any]:
    yield await call_next()


@contextmanager
def context(job: Any, call_next: Next) -> Iterator[None]:
    yield


@asynccontextmanager
async def async_context(job: Any, call_next: Next) -> AsyncIterator[None]:
    yield


class Object:
    def __call__(self, job: Any, call_next: Next) -> Any:
        return call_next()


class LazyObject:
    def __call__(self, job: Any, call_next: Next) -> Iterator[Any]:
        yield call_next()


def named(job: Any, call_next: Next, *, name: str) -> Any:
    return call_next()


async def awaiting(job: Any, call_next: Next) -> Any:
    return await call_next()


async def forgetting(job: Any, call_next: Next) -> None:
    call_next()


def in_a_list(job: Any, call_next: Next) -> Any:
    return [call_next()]


async def returning(job: Any, call_next: Next) -> Any:
    return call_next()


def skip(job: Any, call_next: Next) -> None: ...


SHAPES: dict[str, Callable[..., Any]] = {
    "plain": plain,
    "without return": without_return,
    "generator": generator,
    "async generator": async_generator,
    "context": context,
    "async context": async_context,
    "object": Object(),
    "lazy object": LazyObject(),
    "partial": partial(named, name="a"),
    "async": awaiting,
    "await forgotten": forgetting,
    "in a list": in_a_list,
    "returning": returning,
    "skip": skip,
}
REFUSED = ("generator", "async generator", "context", "async context", "lazy object")


def by_name(job: Job, call_next: Next) -> Any:
    """Middleware of a builder that takes the shape the job asks for: what it is shows only when it is called."""
    return SHAPES[(job.custom or {})["shape"]](job, call_next)


async def by_name_async(job: Job, call_next: Next) -> Any:
    result = SHAPES[(job.custom or {})["shape"]](job, call_next)
    return await result if hasattr(result, "__await__") else result


def by_name_of_app(ctx: JobContext, call_next: Next) -> Any:
    return SHAPES[(ctx.job.custom or {})["shape"]](ctx, call_next)


def ran(job: Job) -> None:
    note(job.jid)


async def ran_async(job: Job) -> None:
    note(job.jid)


def fail(job: Job) -> None:
    raise ValueError("no good")


def leave(*_: object) -> None:
    """A hook."""
    raise SystemExit(4)


setting: ContextVar[str] = ContextVar("setting", default="none")


def set_context(job: Job) -> None:
    """Note what the job before has left, and leave something to the next."""
    note(f"{setting.get()}-{getcontext().prec}")
    setting.set("left over")
    getcontext().prec = 3


app = App()
app.use(by_name_of_app)
async_app = App()
async_app.use(by_name_of_app)


@app.job(name="plain")
def typed(ctx: JobContext) -> None:
    note(ctx.jid)


@async_app.job(name="async")
async def typed_async(ctx: JobContext) -> None:
    note(ctx.jid)


# -- what plain handlers ask for --------------------------------------------------------------------------------------


def again(job: Job) -> None:
    note(job.jid)
    job.args[0].append("changed")
    raise Retry(in_=3600)


def never(job: Job) -> None:
    note(job.jid)
    raise Discard("too old")


async def again_async(job: Job) -> None:
    again(job)
