"""Calls of typed jobs for the type checkers: never run. What is wrong is marked, and a mark too many is an error."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false, reportUnusedCallResult=false
from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, assert_type

import faktory
from faktory import App, JobContext
from faktory.testing import run

app = App()


class Template(Enum):
    PLAIN = "plain"


class Database:
    pass


@app.job
def bare(user_id: int, note: str = "") -> float:
    return 0.5


@app.job(queue="mail", retry=5, timeout=30, retry_on=(OSError,), needs=(Database,))
def welcome(ctx: JobContext, user_id: int, template: Template = Template.PLAIN) -> None:
    assert_type(ctx.get(Database), Database)
    assert_type(ctx.job, faktory.Job)
    assert_type(ctx.attempt, int)


@app.job(by_name=True)
def named(user_id: int, note: str = "") -> None: ...


@app.job
async def later(n: int) -> str:
    return str(n)


@app.job()
def many(*names: str) -> None: ...


# -- what is right ----------------------------------------------------------------------------------------------------

assert_type(bare.enqueue(7), str)
assert_type(run(bare, 7), float)
assert_type(run(bare, 7, note="a"), float)
text: str = run(later, 7)
assert_type(bare(7), float)
assert_type(bare(7, note="a"), float)
bare.enqueue(7, "a")
bare.enqueue(user_id=7, note="a")
bare.enqueue_in(60, 7)
bare.enqueue_in(timedelta(minutes=1), 7, note="a")
bare.enqueue_at(datetime.now(UTC), 7)
bare.using(queue="low", retry=0).enqueue(7)
bare.using(queue="low").enqueue_in(5, 7)
assert_type(bare.enqueue_many([(1,), (2,)]), list[str])
assert_type(bare.to_job(7), faktory.Job)
welcome.enqueue(7)
welcome.enqueue(7, Template.PLAIN)
welcome.enqueue_in(60, 7, template=Template.PLAIN)
welcome.using(unique_for=60).enqueue(7)
later.enqueue(5)
named.enqueue(7, note="a")
app.check_compatible(app.signatures())
many.enqueue("a", "b")


@app.on_retry
def told(job: faktory.Job, exc: BaseException) -> None: ...


def plain_hook() -> None: ...


assert_type(told(faktory.Job("a"), OSError()), None)  # the decorator gives back what it was given
builder = app.consumer()
assert_type(builder.on_child_start(plain_hook).on_child_stop(plain_hook), faktory.ConsumerBuilder)
assert_type(builder.child_limits(max_jobs=100, max_rss_mb=None), faktory.ConsumerBuilder)
builder.processes(2).child_limits(max_rss_mb=512)


def default_queues(consumer: faktory.Consumer) -> None:
    assert_type(consumer.run(), int)
    assert_type(consumer.run_one(), bool)
    assert_type(consumer.drain(), faktory.Summary)
    consumer.run(["mail"])
    consumer.run({"mail": 2, "default": 1})
    consumer.run_to_completion()


async def default_queues_on_loops() -> None:
    consumer = await builder.connect_asyncio()
    assert_type(await consumer.run(), int)
    assert_type(await consumer.drain(), faktory.Summary)
    trio_consumer = await builder.connect_trio()
    assert_type(await trio_consumer.run(), int)


async def awaited(ctx: JobContext) -> None:
    assert_type(await bare.aenqueue(7), str)
    assert_type(await welcome.using(queue="low").aenqueue(7, Template.PLAIN), str)
    assert_type(await later(5), str)
    assert_type(await bare.aenqueue_in(60, 7, note="a"), str)
    assert_type(await bare.aenqueue_at(datetime.now(UTC), 7), str)
    assert_type(await bare.aenqueue_many([(1,), (2,)]), list[str])
    assert_type(faktory.managed(Database), Database)
    welcome(ctx, 7)
    welcome(ctx, 7, Template.PLAIN)


# -- what is wrong ----------------------------------------------------------------------------------------------------

bare.enqueue()  # type: ignore[call-arg]
bare.enqueue("7")  # type: ignore[arg-type]
bare.enqueue(7, 8)  # type: ignore[arg-type]
bare.enqueue(7, "a", 9)  # type: ignore[call-arg]
bare.enqueue(7, nte="a")  # type: ignore[call-arg]
bare.enqueue_in(60)  # type: ignore[call-arg]
bare.enqueue_in("60", 7)  # type: ignore[arg-type]
bare.enqueue_in(60, "7")  # type: ignore[arg-type]
bare.enqueue_at(60, 7)  # type: ignore[arg-type]
bare.enqueue_at(datetime.now(UTC), "7")  # type: ignore[arg-type]
bare.using(queue="low").enqueue("7")  # type: ignore[arg-type]
bare.using(que="low")  # type: ignore[call-arg]
bare.using(retry="5")  # type: ignore[arg-type]
bare.to_job("7")  # type: ignore[arg-type]
bare("7")  # type: ignore[arg-type]
welcome.enqueue()  # type: ignore[call-arg]
welcome.enqueue(7, "plain")  # type: ignore[arg-type]
welcome.enqueue_in(5, 7, "plain")  # type: ignore[arg-type]
welcome.using(queue="low").enqueue_at(datetime.now(UTC))  # type: ignore[call-arg]
welcome(7)  # type: ignore[call-arg, arg-type]
many.enqueue(1)  # type: ignore[arg-type]
named.enqueue(7, nte="a")  # type: ignore[call-arg]
later.enqueue("5")  # type: ignore[arg-type]
App(mode="later")  # type: ignore[arg-type]
app.job(queue=5)  # type: ignore[call-overload]
app.on_retry(plain_hook)  # type: ignore[type-var]
app.on_retry(5)  # type: ignore[type-var]
builder.on_child_start(5)  # type: ignore[arg-type]
builder.on_child_start(told)  # type: ignore[arg-type]
builder.on_child_stop(told)  # type: ignore[arg-type]
builder.child_limits(100)  # type: ignore[call-arg]
builder.child_limits(max_jobs="100")  # type: ignore[arg-type]
builder.child_limits(max_rss=512)  # type: ignore[call-arg]


def wrong_queues(consumer: faktory.Consumer) -> None:
    consumer.run(5)  # type: ignore[arg-type]
    consumer.drain([5])  # type: ignore[list-item]
    consumer.run_one({"mail": "2"})  # type: ignore[dict-item]


async def awaited_wrongly(ctx: JobContext) -> None:
    await bare.aenqueue("7")  # type: ignore[arg-type]
    await bare.aenqueue()  # type: ignore[call-arg]
    await bare.aenqueue_in(60, "7")  # type: ignore[arg-type]
    await bare.aenqueue_in("60", 7)  # type: ignore[arg-type]
    await bare.aenqueue_at(60, 7)  # type: ignore[arg-type]
    await welcome.aenqueue_at(datetime.now(UTC))  # type: ignore[call-arg]
    await bare.aenqueue_many([1])  # type: ignore[list-item]
    faktory.managed(5)  # type: ignore[arg-type]
    await welcome.aenqueue(ctx, 7)  # type: ignore[arg-type]
    await welcome.using(retry=1).aenqueue("7")  # type: ignore[arg-type]
    welcome(ctx, "7")  # type: ignore[arg-type]


def passed(ctx: JobContext) -> None:
    welcome.enqueue(ctx, 7)  # type: ignore[arg-type]
    ctx.progress("half")  # type: ignore[arg-type]
    ctx.jid = "a"  # type: ignore[misc]


def plain_middleware(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
    return call_next()


def stamp(job: faktory.Job, call_next: Callable[[], str]) -> str:
    if not job.args:
        raise faktory.PushDropped("nothing to do")
    return call_next()


def forgets(job: faktory.Job, call_next: Callable[[], str]) -> None:
    call_next()


async def waits(job: faktory.Job, call_next: Callable[[], str]) -> str:
    return call_next()


app.use(plain_middleware)
app.on_push(stamp)
app.on_push(forgets)  # type: ignore[type-var]
app.on_push(waits)  # type: ignore[type-var]
assert_type(faktory.Summary(1, 0, 0.5).skipped, int)


@contextmanager
def opened() -> Generator[Database]:
    yield Database()


@asynccontextmanager
async def opened_later() -> AsyncGenerator[Database]:
    yield Database()


async def made_later() -> Database:
    return Database()


app.manage(Database, Database)
app.manage(Database, opened)
app.manage(Database, opened_later)
app.manage(Database, made_later)
app.manage(Database, Template)  # type: ignore[arg-type]
