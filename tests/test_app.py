"""`faktory.app`: jobs are declared without side effects, pushed where the app says, and run with all that it has."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

import faktory
from faktory import (
    App,
    Client,
    ConfigurationError,
    Discard,
    EnterpriseRequired,
    InvalidJob,
    Job,
    JobContext,
    PushDropped,
    Retry,
    ServerError,
    TypedJob,
)
from faktory.core import settling
from faktory.core.callables import is_async
from faktory.core.registry import backing_of
from faktory.server import Server
from faktory.testing import Worker, serve


@dataclass
class Item:
    name: str
    price: Decimal


@dataclass
class Order:
    items: list[Item] = field(default_factory=list)


class Database:
    def __init__(self) -> None:
        self.rows: list[object] = []
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def server() -> Iterator[Server]:
    """A server to which every app and client of the test connects."""
    with serve(seed=7) as server:
        yield server


@pytest.fixture
def app(server: Server) -> Iterator[App]:
    app = App(server.url)
    yield app
    app.close()


def drain(app: App, server: Server, *queues: str, builder: faktory.ConsumerBuilder | None = None) -> faktory.Summary:
    with Worker(builder or app, queues or ["default"]) as worker:
        return worker.drain(raise_failures=False)


# -- declaring ------------------------------------------------------------------------------------------------------


def test_declaring_opens_nothing_and_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKTORY_URL", "no url")
    monkeypatch.setenv("FAKTORY_MODE", "no mode")
    app = App()

    @app.job
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert add.to_job(1).args == [1]
    with pytest.raises(ConfigurationError, match="FAKTORY_MODE must be queue, foreground or background, got 'no mode'"):
        add.enqueue(1)
    monkeypatch.setenv("FAKTORY_MODE", "queue")
    with pytest.raises(ConfigurationError, match="FAKTORY_URL"):
        add.enqueue(1)


def test_a_job_keeps_the_looks_of_its_function() -> None:
    app = App()

    @app.job
    def add(a: int) -> None:
        """Add."""

    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", __name__)
    assert add.__qualname__.endswith("<locals>.add")
    assert "'add'" in repr(add)
    assert repr(app) == "<App of 1 jobs>"
    assert app.jobs == {"add": add}
    handler: Any = add.__faktory_handler__
    assert (handler.__qualname__, handler.__module__) == (add.__qualname__, __name__)
    backing = backing_of(handler)
    assert backing is not None
    assert backing.managed is app.managed
    assert not is_async(handler)


def test_the_name_of_a_job_can_be_chosen() -> None:
    app = App()

    @app.job(name="Mailer.welcome")
    def welcome() -> None: ...

    assert welcome.to_job().jobtype == "Mailer.welcome"


def test_a_job_type_declared_twice_names_both_places() -> None:
    app, other = App(), App()

    @app.job
    def work() -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"'work' is declared twice: .*test_app.py:\d+\) and .*test_app.py:\d+"
    ):

        @app.job(name="work")
        def again() -> None: ...

    @other.job(name="work")
    def elsewhere() -> None: ...

    with pytest.raises(ConfigurationError, match="declared twice"):
        app.include(other)


def generator() -> Iterator[int]:
    yield 1


def keywords(*, a: int) -> None: ...


def unknown(a: threading.Thread) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (Database, {}, "app.job takes a function"),
        (5, {}, "app.job takes a function, got 5"),
        (generator, {}, "has a yield"),
        (contextmanager(generator), {"name": "a"}, "makes a context manager, which nobody enters"),
        (keywords, {}, "keyword-only parameter a"),
        (unknown, {}, "the parameter 'a' of the job 'unknown' has Thread"),
        (print, {"name": ""}, "a job type must be a non-empty text"),
        (test_a_job_keeps_the_looks_of_its_function, {"timeout": -1}, "the timeout of"),
        (test_a_job_keeps_the_looks_of_its_function, {"queue": "a b"}, "the options of the job .*: queue must be"),
        (test_a_job_keeps_the_looks_of_its_function, {"unique_for": 0}, "unique_for must be"),
        (test_a_job_keeps_the_looks_of_its_function, {"retry_on": [ValueError]}, "retry_on must be a tuple"),
        (test_a_job_keeps_the_looks_of_its_function, {"discard_on": (5,)}, "discard_on must be a tuple"),
    ],
)
def test_what_can_be_no_job_is_refused(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        App().job(**options)(function)


def test_middleware_and_hooks_that_cannot_be_called_are_refused() -> None:
    app = App()
    one: Any = lambda job: None  # noqa: E731
    with pytest.raises(ConfigurationError, match="must take two arguments: ctx, call_next"):
        app.use(one)
    with pytest.raises(ConfigurationError, match="must be callable, got int"):
        app.on_push(5)  # type: ignore[type-var]

    async def on_push(job: Job, call_next: Callable[[], Any]) -> None: ...

    with pytest.raises(ConfigurationError, match="is async, but `enqueue` is called from plain code"):
        app.on_push(on_push)  # type: ignore[type-var]


def test_an_app_has_one_way_to_its_server(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="got both"):
        App("tcp://localhost", client=client)
    with pytest.raises(ConfigurationError, match="mode must be"):
        App(mode="later")  # type: ignore[arg-type]


# -- pushing --------------------------------------------------------------------------------------------------------


def test_a_call_becomes_a_job(app: App, server: Server) -> None:
    @app.job(queue="mail", retry=5, reserve_for=90, backtrace=3, custom={"a": 1}, expires_in=60, unique_until="start")
    def welcome(order: Order, copies: int = 1) -> None: ...

    app.client.edition.has_enterprise = True  # the server keeps what it does not read
    jid = welcome.enqueue(Order([Item("a", Decimal("1.50"))]), copies=2)
    (job,) = server.queue("mail")
    assert job.jid == jid
    assert job.args == [{"items": [{"name": "a", "price": "1.50"}]}, 2]
    assert (job.retry, job.reserve_for, job.backtrace) == (5, 90, 3)
    assert (job.custom or {})["a"] == 1
    assert (job.custom or {})["unique_until"] == "start"
    assert "expires_at" in (job.custom or {})
    welcome.using(queue="low", retry=0, custom=None).enqueue(Order())
    (low,) = server.queue("low")
    assert low.retry == 0
    assert "a" not in (low.custom or {})


def test_a_call_can_be_for_later(app: App, server: Server) -> None:
    @app.job
    def work(a: int) -> None: ...

    work.enqueue_in(60, 1)
    work.enqueue_in(timedelta(minutes=2), 2)
    work.enqueue_at(datetime.now(UTC) + timedelta(minutes=3), 3)
    assert [job.args for job in server.scheduled] == [[1], [2], [3]]
    with pytest.raises(InvalidJob, match="time zone"):
        work.enqueue_at(datetime(2030, 1, 1), 4)  # noqa: DTZ001


def test_many_calls_go_at_once(app: App, server: Server) -> None:
    @app.job
    def work(a: int) -> None: ...

    jids = work.enqueue_many([(1,), (2,)])
    assert [job.jid for job in server.queue("default")] == jids
    assert len(work.enqueue_many((n,) for n in range(3))) == 3
    with pytest.raises(InvalidJob, match=r"args\[0\] must be int"):
        work.enqueue_many([(1,), ("a",)])
    assert len(server.queue("default")) == 5  # nothing of the bad list was sent


def test_a_bad_value_is_refused_before_anything_is_sent(app: App, server: Server) -> None:
    @app.job
    def buy(user: int, order: Order) -> None: ...

    bad = Order([Item("a", Decimal(1))] * 3 + [Item("b", 1.5)])  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match=r"args\[1\].items\[3\].price must be Decimal, got float"):
        buy.enqueue(1, bad)
    with pytest.raises(InvalidJob, match=r"args\[0\] is an integer beyond 2\^53"):
        buy.enqueue(2**60, Order())
    assert server.queues == {}


def test_a_push_goes_through_the_functions_around_it(app: App, server: Server) -> None:
    seen: list[str] = []

    @app.on_push
    def outer(job: Job, call_next: Callable[[], str]) -> str:
        seen.append("outer")
        job.custom = {**(job.custom or {}), "traceparent": "00-1-2-01"}
        return call_next()

    @app.on_push
    def inner(job: Job, call_next: Callable[[], str]) -> str:
        seen.append("inner")
        if job.args == [13]:
            raise PushDropped("unlucky")
        return call_next()

    @app.job
    def work(a: int) -> None: ...

    jid = work.enqueue(1)
    with pytest.raises(PushDropped, match="unlucky"):
        work.enqueue(13)
    many = work.enqueue_many([(2,), (13,)])
    jobs = server.queue("default")
    assert [job.args for job in jobs] == [[1], [2]]
    assert [job.jid for job in jobs] == [jid, *many]
    assert jobs[0].custom == {"traceparent": "00-1-2-01"}
    assert seen == ["outer", "inner"] * 4


def test_a_push_can_be_awaited(app: App, server: Server) -> None:
    @app.job
    def work(a: int) -> None: ...

    async def main() -> str:
        return await work.aenqueue(5)

    jid = asyncio.run(main())
    assert [job.jid for job in server.queue("default")] == [jid]


def test_a_client_can_be_passed_in() -> None:
    with Server() as server, Client(server.url) as client:
        app = App(client=client)

        @app.job
        def work() -> None: ...

        work.enqueue()
        app.close()
        work.enqueue()  # it is the caller's to close
        other = App("tcp://localhost:1")
        other.job(name="other")(print_nothing).to_job()
        assert other.client is other.client
        made = other.client
        other.use_client(client)
        assert other.client is client
        with pytest.raises(ConfigurationError, match="closed"):
            made.info()
        other.jobs["other"].enqueue()
        assert len(server.queue("default")) == 3


@pytest.mark.parametrize("mode", ["foreground", "background"])
def test_a_client_is_refused_in_a_mode_that_uses_none(mode: Any) -> None:
    app = App(mode=mode)
    with (
        Client("tcp://localhost:1") as client,
        pytest.raises(ConfigurationError, match=f'is for the mode "queue", and in "{mode}" jobs go to no server'),
    ):
        app.use_client(client)
    app.close()


def print_nothing() -> None: ...


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_pushes_by_its_own_connection(app: App, server: Server) -> None:
    @app.job
    def work(who: str) -> None: ...

    work.enqueue("parent")
    pid = os.fork()
    if pid == 0:
        try:
            work.enqueue("child")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    work.enqueue("parent")
    assert sorted(job.args[0] for job in server.queue("default")) == ["child", "parent", "parent"]


def test_jobs_the_server_refuses_are_told(client: Client) -> None:
    with Server(enterprise=True) as server:
        app = App(server.url)

        @app.job(unique_for=60)
        def work(a: int) -> None: ...

        with pytest.raises(ServerError, match="1 of 3 jobs were refused"):
            work.enqueue_many([(1,), (1,), (2,)])
        app.close()


# -- running --------------------------------------------------------------------------------------------------------


def test_a_job_is_run_with_what_was_sent(app: App, server: Server) -> None:
    seen: list[object] = []

    @app.job
    def buy(ctx: JobContext, order: Order, when: datetime | None = None) -> None:
        seen.append((ctx.job.jobtype, order, when))

    when = datetime.now(UTC)
    order = Order([Item("a", Decimal("1.50"))])
    buy.enqueue(order, when)
    buy.enqueue(order)
    drain(app, server)
    assert seen == [("buy", order, when), ("buy", order, None)]


def test_args_that_do_not_fit_fail_the_job_with_their_path(app: App, server: Server, client: Client) -> None:
    @app.job
    def buy(order: Order) -> None:
        raise AssertionError("it must not run")

    client.push(Job("buy", [{"items": [{"name": "a", "price": "cheap"}]}]))
    drain(app, server)
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "InvalidJob"
    assert job.failure.message.startswith("args[0].items[0].price must be Decimal as text")


def test_middleware_goes_around_the_outermost_first(app: App, server: Server) -> None:
    seen: list[object] = []

    @app.use
    def outer(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        seen.append(("outer", ctx.jid))
        try:
            return call_next()
        finally:
            seen.append("end")

    @app.use
    def inner(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        seen.append("inner")
        return call_next()

    @app.job
    def work() -> None:
        seen.append("work")

    jid = work.enqueue()
    drain(app, server)
    assert seen == [("outer", jid), "inner", "work", "end"]


def test_a_job_can_push_others_and_use_managed_values(app: App, server: Server) -> None:
    app.manage(Database, Database)
    found: list[Database] = []

    @app.job(needs=(Database,))
    def first(ctx: JobContext, n: int) -> None:
        database = ctx.get(Database)
        database.rows.append(n)
        found.append(database)
        if n:
            first.enqueue(n - 1)

    first.enqueue(2)
    drain(app, server)
    assert found[0].rows == [2, 1, 0]
    assert found[0].is_closed


def test_a_missing_value_is_an_error_when_the_consumer_is_built(app: App) -> None:
    @app.job(needs=(Database,))
    def work() -> None: ...

    with pytest.raises(ConfigurationError, match=r"the job 'work' needs a Database; add it with app.manage"):
        app.consumer()


def test_an_annotation_that_cannot_be_read_is_an_error_when_the_consumer_is_built(app: App) -> None:
    @app.job
    def work(a: NeverDefined) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match="NeverDefined"):
        app.consumer()


def test_async_middleware_cannot_go_around_a_plain_job(app: App) -> None:
    @app.use
    async def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        return await call_next()

    @app.job
    def work() -> None: ...

    with pytest.raises(ConfigurationError, match=r"around.* is async, but the job 'work' is a plain function"):
        app.consumer()


def test_an_async_job_is_refused_by_a_consumer_of_threads(app: App) -> None:
    @app.job
    async def work() -> None: ...

    assert is_async(work.__faktory_handler__)
    with pytest.raises(ConfigurationError, match="is async"):
        app.consumer().connect()


def test_the_consumer_connects_to_the_server_of_the_apps_client(server: Server, client: Client) -> None:
    app = App(client=client)
    app.job(name="work")(print_nothing).enqueue()
    assert drain(app, server).succeeded == 1


def test_a_job_that_wants_to_run_again_is_pushed_anew_and_done(app: App, server: Server) -> None:
    attempts: list[tuple[int, str]] = []

    @app.job(retry=3, custom={"a": 1})
    def work(ctx: JobContext) -> None:
        attempts.append((ctx.attempt, ctx.jid))
        if ctx.attempt < 3:
            raise Retry(in_=100 * ctx.attempt)

    app.client.edition.has_enterprise = True  # the server keeps what it does not read
    first = work.using(unique_for=5).enqueue()
    for attempt in (1, 2):
        drain(app, server)
        assert len(server.scheduled) == 1
        assert len(server.retries) == 0
        (job,) = server.scheduled
        assert job.jid != first
        assert (job.custom or {})["retried"]["jid"] == first
        assert "unique_for" not in (job.custom or {})
        assert ((job.custom or {})["a"], job.retry) == (1, 3)
        server.clock.advance(100 * attempt - 10)
        assert drain(app, server).total == 0
        server.clock.advance(20)
    drain(app, server)
    assert [n for n, _ in attempts] == [1, 2, 3]
    assert len({jid for _, jid in attempts}) == 3
    assert (len(server.scheduled), len(server.retries)) == (0, 0)


def test_a_job_may_be_discarded(app: App, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    @app.job(discard_on=(KeyError,))
    def work(how: str) -> None:
        raise Discard("too old") if how == "asked" else KeyError(how)

    work.enqueue("asked")
    work.enqueue("by rule")
    with caplog.at_level("INFO", logger="faktory.worker"):
        drain(app, server)
    assert (len(server.retries), len(server.scheduled), len(server.dead)) == (0, 0, 0)
    assert "is discarded: Discard: 'too old'" in caplog.text


def test_exceptions_to_retry_on_use_up_the_retries(app: App, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "random", lambda: 0.0)

    @app.job(retry=2, retry_on=(ConnectionError,))
    def work(ctx: JobContext) -> None:
        raise ConnectionResetError("no")

    work.enqueue()
    retries: list[int] = []
    for _ in range(3):
        drain(app, server)
        retries += [job.retry for job in server.scheduled]
        server.clock.advance(60)
    assert retries == [1, -1]
    assert len(server.dead) == 1


def test_a_wrong_argument_is_neither_discarded_nor_retried(app: App, server: Server, client: Client) -> None:
    @app.job(discard_on=(ValueError,))
    def work(a: int) -> None: ...

    client.push(Job("work", ["a"]))
    drain(app, server)
    assert len(server.retries) == 1


# -- apps in apps ---------------------------------------------------------------------------------------------------


def test_an_included_app_pushes_and_runs_through_the_one_that_includes_it(server: Server) -> None:
    seen: list[str] = []

    def note(name: str) -> Callable[[JobContext, Callable[[], Any]], Any]:
        def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
            seen.append(name)
            return call_next()

        return around

    mail, deeper, app = App("tcp://localhost:1"), App(), App(server.url)
    app.use(note("app"))
    mail.use(note("mail"))
    mail.manage(Database, Database)

    @mail.job
    def welcome(ctx: JobContext) -> None:
        seen.append("welcome")
        ctx.get(Database)

    @deeper.job
    def deep() -> None:
        seen.append("deep")

    @app.job
    def own() -> None:
        seen.append("own")

    pushes: list[str] = []

    def push_note(name: str) -> Callable[[Job, Callable[[], str]], str]:
        def around(job: Job, call_next: Callable[[], str]) -> str:
            pushes.append(name)
            return call_next()

        return around

    app.on_push(push_note("app"))
    mail.on_push(push_note("mail"))
    mail.include(deeper)
    app.include(mail)
    welcome.enqueue()
    deep.enqueue()
    own.enqueue()
    drain(app, server)
    app.close()
    assert seen == ["app", "mail", "welcome", "app", "mail", "deep", "app", "own"]
    assert pushes == ["app", "mail", "app", "mail", "app"]
    assert set(app.jobs) == {"welcome", "deep", "own"}
    handler: Any = deep.__faktory_handler__
    assert handler.managed is app.managed
    with pytest.raises(ConfigurationError, match="once"):
        app.include(deeper)
    with pytest.raises(ConfigurationError, match="once"):
        mail.include(mail)
    with pytest.raises(ConfigurationError, match="once"):
        deeper.include(app)
    with pytest.raises(ConfigurationError, match="takes an App"):
        app.include(5)  # type: ignore[arg-type]


def test_a_type_managed_by_both_apps_is_refused() -> None:
    app, other = App(), App()
    app.manage(Database, Database)
    other.manage(Database, Database)
    with pytest.raises(ConfigurationError, match="managed twice"):
        app.include(other)


# -- Enterprise -----------------------------------------------------------------------------------------------------


def test_batches_need_enterprise_and_progress_is_no_failure_without(app: App, server: Server) -> None:
    errors: list[type[BaseException]] = []

    @app.job
    def work(ctx: JobContext) -> None:
        for attempt in (lambda: ctx.progress(5), lambda: ctx.client.batch(success=work.to_job())):
            try:
                attempt()
            except EnterpriseRequired as exc:
                errors.append(type(exc))

    work.enqueue()
    drain(app, server)
    assert errors == [EnterpriseRequired]


def test_a_job_reopens_its_batch_and_tells_its_progress() -> None:
    with serve(enterprise=True) as server:
        app = App(server.url)
        done: list[str] = []

        @app.job(custom={"track": 1})
        def part(ctx: JobContext, n: int) -> None:
            done.append(f"part {n}")
            ctx.progress(50, "half")
            done.append(str(ctx.client.track(ctx.jid)["percent"]))
            if n == 1:
                assert ctx.batch is ctx.batch
                with ctx.batch as batch:
                    batch.push(part.to_job(2))

        @app.job
        def finish(ctx: JobContext) -> None:
            done.append("finish")

        with app.client.batch(success=finish.to_job()) as batch:
            batch.push(part.to_job(1))
        drain(app, server)
        app.close()
        assert done == ["part 1", "50", "part 2", "50", "finish"]


# -- without a server -----------------------------------------------------------------------------------------------


def test_in_the_foreground_a_job_runs_at_once_and_its_errors_reach_the_caller() -> None:
    app = App(mode="foreground")
    app.manage(Database, Database)
    seen: list[object] = []
    database: list[Database] = []

    @app.use
    def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        seen.append("around")
        return call_next()

    @app.job(retry_on=(OSError,))
    def buy(ctx: JobContext, order: Order, how: str = "well") -> None:
        database.append(ctx.get(Database))
        job = faktory.current_job()
        assert job is not None
        seen.append((job.jid, order))
        if how == "again":
            raise Retry(in_=5)
        if how == "never":
            raise Discard("no")
        if how == "badly":
            raise OSError("the disk is full")
        ctx.progress(50)
        with pytest.raises(ConfigurationError, match="there is no server in this mode"):
            _ = ctx.client

    order = Order([Item("a", Decimal(1))])
    jid = buy.enqueue_in(60, order)
    assert seen == ["around", (jid, order)]
    buy.enqueue(order, "never")
    buy.enqueue(order, "badly")
    buy.enqueue(order, "again")
    with pytest.raises(OSError, match="disk"):
        buy.using(retry=0).enqueue(order, "badly")
    with pytest.raises(InvalidJob, match=r"args\[0\]"):
        buy.enqueue(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="beyond 2"):
        app.job(name="big")(lambda n: None).enqueue(2**60)
    assert len(buy.enqueue_many([(order,), (order,)])) == 2
    assert faktory.current_job() is None
    app.close()
    assert database[0].is_closed


def test_async_jobs_run_in_the_foreground_too() -> None:
    app = App(mode="foreground")
    seen: list[object] = []

    @app.use
    async def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        seen.append("async")
        return await call_next()

    @app.use
    def passing(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        seen.append("plain")
        return call_next()

    @app.job
    async def work(n: int) -> None:
        await asyncio.sleep(0)
        seen.append(n)
        if n == 3:
            raise Discard

    work.enqueue(1)
    assert seen == ["async", "plain", 1]

    async def main() -> None:
        await work.aenqueue(2)
        with pytest.raises(ConfigurationError, match="await its aenqueue"):
            work.enqueue(2)

    asyncio.run(main())
    work.enqueue(3)
    assert seen.count(3) == 1

    @app.use
    def forgetful(ctx: JobContext, call_next: Callable[[], Any]) -> None:
        call_next()

    with pytest.raises(ConfigurationError, match=r"forgetful .* did not await what call_next\(\) gave it"):
        work.enqueue(4)
    assert seen.count(4) == 0


@pytest.mark.slow
def test_at_exit_jobs_in_the_background_are_waited_for() -> None:
    program = """
import time
import faktory
app = faktory.App()
@app.job
def work(n: int) -> None:
    time.sleep(0.1)
    print("done", n, flush=True)
    if n < 3:
        work.enqueue(n + 1)
work.enqueue(1)
work.enqueue_in(3600, 9)
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FAKTORY_MODE": "background"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout.split("\n")[:3] == ["done 1", "done 2", "done 3"]
    assert "1 not begun, which are lost" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "method"), [("background", "fork"), ("background", "spawn"), ("foreground", "fork")])
def test_a_child_of_multiprocessing_waits_for_its_jobs_at_its_end(tmp_path: Path, mode: str, method: str) -> None:
    """27.7: such a child ends without `atexit`; the parent has used the app before, with threads and values of its own.

    A process pool's workers are such children.
    """
    program = tmp_path / "program.py"
    program.write_text("""
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import faktory

app = faktory.App()


class Database:
    def close(self) -> None:
        os.write(1, b"closed %d\\n" % os.getpid())


app.manage(Database, Database)


@app.job
def work(ctx: faktory.JobContext, n: int) -> None:
    time.sleep(0.02)
    ctx.get(Database)
    os.write(1, b"done %d\\n" % os.getpid())


def push(count: int) -> None:
    for n in range(count):
        work.enqueue(n)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    push(1)
    child = context.Process(target=push, args=(20,))
    child.start()
    child.join()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(push, 20).result()
""")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", program, method],
        env={**os.environ, "FAKTORY_MODE": mode, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stderr == ""
    told = result.stdout.split("\n")[:-1]
    pids = {line.split()[1] for line in told}
    assert sorted(told.count(f"done {pid}") for pid in pids) == [1, 20, 20]
    assert [told.count(f"closed {pid}") for pid in pids] == [1, 1, 1]


def test_the_package_has_it_when_it_is_asked_for() -> None:
    assert set(faktory.__all__) >= {"App", "TypedJob"}
    with pytest.raises(AttributeError, match="module 'faktory' has no attribute 'Nothing'"):
        _ = faktory.Nothing


def test_a_typed_job_is_one() -> None:
    assert isinstance(App().job(print_nothing), TypedJob)


# -- what jobs ask for ----------------------------------------------------------------------------------------------


def test_retry_and_discard_are_heard_from_an_async_job_that_its_decorator_hides(app: App, server: Server) -> None:
    """27.1: behind a plain decorator, declared twice, with and without middleware around."""
    seen: list[str] = []

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any) -> Any:
            return function(*args)

        return inner

    async def ask(how: str) -> None:
        await asyncio.sleep(0)
        if how == "again":
            raise Retry(in_=3600)
        if how == "never":
            raise Discard("no")
        if how == "rule":
            raise OSError("the disk is full")
        seen.append(how)

    other = App(server.url)

    @other.use
    def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        return call_next()

    rules: dict[str, Any] = {"retry_on": (OSError,), "discard_on": (Exception,)}
    jobs = [
        app.job(name="hidden", **rules)(decorate(ask)),
        app.job(name="twice", **rules)(app.job(name="once")(ask)),
        other.job(name="around", **rules)(decorate(ask)),
    ]
    app.include(other)

    async def main() -> None:
        async with await app.consumer().connect_asyncio() as consumer:
            for _ in range(4 * len(jobs)):
                assert await consumer.run_one(["default"])

    for job in jobs:
        for how in ("again", "never", "rule", "well"):
            job.enqueue(how)
    asyncio.run(main())
    assert seen == ["well"] * 3
    assert len(server.scheduled) == 2 * len(jobs)
    assert [len(server.retries), len(server.dead)] == [0, 0]


def test_a_hidden_async_job_in_threads_has_failed(app: App, server: Server) -> None:
    async def hidden() -> None: ...

    app.job(name="work")(lambda: hidden()).enqueue()
    assert drain(app, server).failed == 1
    app.use(lambda ctx, call_next: call_next())
    app.jobs["work"].enqueue()
    assert drain(app, server).failed == 1
    assert len(server.retries) == 2


def test_arguments_that_do_not_convert_meet_middleware_and_rules(app: App, server: Server, client: Client) -> None:
    seen: list[type[BaseException]] = []

    @app.use
    def track(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        try:
            return call_next()
        except Exception as exc:
            seen.append(type(exc))
            raise

    @app.job(discard_on=(InvalidJob,))
    def dropped(a: int) -> None: ...

    @app.job
    def failed(a: int) -> None: ...

    client.push(Job("dropped", ["a"]))
    client.push(Job("failed", ["a"]))
    drain(app, server)
    assert seen == [InvalidJob, InvalidJob]
    assert [job.jobtype for job in server.retries] == ["failed"]


def test_a_group_of_exceptions_that_all_ask_for_the_same_is_heard(app: App, server: Server) -> None:
    @app.job
    async def work(same: bool) -> None:
        async def one() -> None:
            raise Retry(in_=60)

        async def two() -> None:
            raise Retry(in_=90) if same else ValueError("no")

        async with asyncio.TaskGroup() as group:
            group.create_task(one())
            group.create_task(two())

    async def main() -> None:
        async with await app.consumer().connect_asyncio() as consumer:
            assert await consumer.run_one(["default"])
            assert await consumer.run_one(["default"])

    work.enqueue(same=True)
    work.enqueue(same=False)
    asyncio.run(main())
    assert (len(server.scheduled), len(server.retries)) == (1, 1)


def test_what_a_job_returns_must_have_run(app: App, server: Server) -> None:
    def lazily() -> Any:
        yield

    app.job(name="one")(lambda: lazily()).enqueue()
    app.job(name="two")(lambda: [lazily()]).enqueue()
    summary = drain(app, server)
    assert (summary.succeeded, summary.failed) == (0, 2)


def test_a_hook_is_told_of_jobs_that_run_again(app: App, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, str]] = []
    other = App()

    @app.on_retry
    def outer(job: Job, exc: BaseException) -> None:
        told.append(("outer", type(exc).__name__))
        raise SystemExit(3)

    @other.on_retry
    def inner(job: Job, exc: BaseException) -> None:
        told.append(("inner", job.jobtype))

    @other.job(retry_on=(OSError,))
    def work() -> None:
        raise OSError("the disk is full")

    app.include(other)
    work.enqueue()
    drain(app, server)
    assert told == [("inner", "work"), ("outer", "OSError")]
    assert "the on_retry hook" in caplog.text
    assert "is pushed again as" in caplog.text
    with pytest.raises(ConfigurationError, match="must take the job and the exception"):
        app.on_retry(lambda: None)  # type: ignore[type-var]


def test_only_exceptions_can_be_retried_on_or_discarded(app: App) -> None:
    with pytest.raises(ConfigurationError, match="retry_on takes subclasses of Exception, got SystemExit"):
        app.job(retry_on=(SystemExit,))  # type: ignore[arg-type]


def test_what_a_push_function_writes_stays_with_the_push(app: App, server: Server) -> None:
    @app.on_push
    def tag(job: Job, call_next: Callable[[], str]) -> str:
        assert job.custom is not None
        job.custom["trace"]["id"] = job.custom["trace"].get("id", 0) + 1
        return call_next()

    @app.job(custom={"trace": {}})
    def work() -> None: ...

    work.enqueue()
    work.enqueue()
    assert [job.custom for job in server.queue("default")] == [{"trace": {"id": 1}}] * 2


def test_modules_that_import_each_other_can_be_declared(server: Server, tmp_path: Path) -> None:
    (tmp_path / "first_jobs.py").write_text(
        "from __future__ import annotations\n"
        "import faktory\nimport second_jobs\n"
        "from dataclasses import dataclass\n"
        "app = faktory.App()\n"
        "@dataclass\nclass One:\n    other: second_jobs.Two | None = None\n"
        "@app.job\ndef one(ctx: faktory.JobContext, value: second_jobs.Two) -> None: ...\n"
    )
    (tmp_path / "second_jobs.py").write_text(
        "from __future__ import annotations\n"
        "import faktory\nimport first_jobs\n"
        "from dataclasses import dataclass\n"
        "app = faktory.App()\n"
        "@app.job\ndef two(ctx: faktory.JobContext, value: first_jobs.One) -> None: ...\n"
        "@dataclass\nclass Two:\n    n: int = 0\n"
    )
    program = (
        "import first_jobs, second_jobs\n"
        "print(second_jobs.two.to_job(first_jobs.One(second_jobs.Two(3))).args)\n"
        "print(first_jobs.one.to_job(second_jobs.Two(4)).args)\n"
        "first_jobs.app.consumer(); second_jobs.app.consumer()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(faktory.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.stdout == "[{'other': {'n': 3}}]\n[{'n': 4}]\n", done.stderr


# -- app factories --------------------------------------------------------------------------------------------------


class Factory:
    """Modules with jobs, and a `create_app` as web frameworks have it."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, object]] = []
        self.pushed: list[str] = []
        self.shop, self.mail = App(), App()
        self.shop.include(self.mail)

        @self.shop.job
        def sell(ctx: JobContext) -> None:
            self.ran.append(("sell", ctx.get(Database)))
            self.notify.enqueue()

        @self.mail.job
        def notify(ctx: JobContext) -> None:
            self.ran.append(("notify", ctx.get(Database)))

        self.sell, self.notify = sell, notify

    def create_app(self, name: str, url: str) -> App:
        app = App(url)
        app.manage(Database, Database)
        app.include(self.shop)

        @app.use
        def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
            self.ran.append((name, ctx.get(Database)))
            return call_next()

        @app.on_push
        def stamp(job: Job, call_next: Callable[[], str]) -> str:
            self.pushed.append(name)
            return call_next()

        return app


def test_an_app_factory_can_be_called_again_and_again(server: Server) -> None:
    """27.4: each test makes an app of its own, of the same modules."""
    factory = Factory()
    for n in range(3):
        app = factory.create_app(str(n), server.url)
        factory.sell.enqueue()
        assert drain(app, server).succeeded == 2
        assert [name for name, _ in factory.ran] == [str(n), "sell", str(n), "notify"]
        assert len({id(value) for _, value in factory.ran}) == 1
        assert factory.pushed == [str(n)] * 2
        factory.ran.clear()
        factory.pushed.clear()
        app.close()


def test_two_apps_may_have_the_same_jobs_at_once(server: Server) -> None:
    """27.4: a job belongs to the app whose consumer runs it: its middleware, its values, and where it pushes."""
    factory = Factory()
    with Server(seed=8, fetch_wait=0.1) as other_server:
        web = factory.create_app("web", server.url)
        factory.sell.enqueue()
        worker = factory.create_app("worker", other_server.url)
        factory.sell.enqueue()
        assert factory.pushed == ["web", "worker"]
        assert drain(web, server).succeeded == 2
        assert [name for name, _ in factory.ran] == ["web", "sell", "web", "notify"]
        values = [value for _, value in factory.ran]  # kept alive: else another could have its id
        factory.ran.clear()
        assert drain(worker, other_server).succeeded == 2
        assert [name for name, _ in factory.ran] == ["worker", "sell", "worker", "notify"]
        assert not any(value is other for value in values for _, other in factory.ran)
        assert factory.pushed == ["web", "worker", "web", "worker"]
        web.close()
        worker.close()


def test_what_is_added_later_counts_in_every_app_that_includes_it(server: Server) -> None:
    factory = Factory()
    one, two = factory.create_app("one", server.url), factory.create_app("two", server.url)
    factory.mail.manage(Order, lambda: Order())
    for app in (one, two):
        assert app.managed.has(Order)
    with pytest.raises(ConfigurationError, match="managed twice"):
        factory.mail.manage(Database, Database)
    with pytest.raises(ConfigurationError, match="declared twice"):
        factory.mail.job(name="sell")(print_nothing)


def test_a_module_that_is_imported_again_replaces_its_jobs(app: App, server: Server) -> None:
    """27.12: `importlib.reload`, and a main file that its own helper imports."""
    source = "def work():\n    seen.append(version)\napp.job(work)\n"
    seen: list[int] = []
    other = App()
    app.include(other)
    for version in (1, 2):
        exec(compile(source, "/shop/run.py", "exec"), {"app": other, "seen": seen, "version": version})
    app.jobs["work"].enqueue()
    drain(app, server)
    assert seen == [2]
    with pytest.raises(ConfigurationError, match=r"declared twice: work \(/shop/run.py:1\) and work \(/shop/o.*"):
        exec(compile(source, "/shop/other.py", "exec"), {"app": app})


# -- what is said at once -------------------------------------------------------------------------------------------


class Sender:
    def __call__(self, ctx: JobContext, n: int) -> None:
        self.got = (ctx.jid, n)


def test_an_object_or_a_partial_can_be_a_job(app: App, server: Server) -> None:
    sender = Sender()
    got: list[tuple[int, int]] = []

    def add(a: int, b: int) -> None:
        got.append((a, b))

    job = app.job(name="sender")(sender)
    jid = job.enqueue(5)
    app.job(name="by name")(functools.partial(add, b=7)).enqueue(1)
    app.job(name="by place")(functools.partial(add, 2)).enqueue(3)
    assert drain(app, server).succeeded == 3
    assert sender.got == (jid, 5)
    assert got == [(1, 7), (2, 3)]
    assert job.__name__ == "sender"


def test_mistakes_in_a_declaration_are_told_there(app: App) -> None:
    with pytest.raises(ConfigurationError, match=r"needs must be a tuple of types, got .*; write needs=\(Database,\)"):
        app.job(needs=Database)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match=r"App\.job was called on the class"):
        App.job(print_nothing)  # type: ignore[call-overload]
    with pytest.raises(InvalidJob, match="queue must be made of"):
        app.job(name="work")(print_nothing).using(queue="a b")


@pytest.mark.parametrize("calls", [["ab", "cd"], [{"a": 1}], {"ab": 1}, [5]])
def test_only_tuples_are_taken_for_the_arguments_of_many_calls(app: App, server: Server, calls: Any) -> None:
    @app.job
    def work(a: str, b: str) -> None: ...

    with pytest.raises(InvalidJob, match="enqueue_many takes a tuple of arguments for each job, got "):
        work.enqueue_many(calls)
    assert server.queues == {}


def test_jobs_that_are_declared_before_a_consumer_connects_are_its_jobs(app: App, server: Server) -> None:
    seen: list[int] = []
    app.job(name="first")(lambda: seen.append(1))
    builder = app.consumer()
    app.job(name="second")(lambda: seen.append(2)).enqueue()
    assert drain(app, server, builder=builder).succeeded == 1
    assert seen == [2]


def test_a_time_limit_makes_the_reservation_long_enough() -> None:
    """J18."""
    app = App()

    @app.job(timeout=3600)
    def long() -> None: ...

    @app.job(timeout=30)
    def short() -> None: ...

    @app.job(timeout=30, reserve_for=60)
    def both() -> None: ...

    assert [typed.options.reserve_for for typed in (long, short, both)] == [3620, None, 60]
    assert long.using(queue="slow").options.reserve_for == 3620
    assert long.using(reserve_for=None).options.reserve_for == 3620
    with pytest.raises(InvalidJob, match="contradicts a reservation of 600 s"):
        long.using(reserve_for=600)


def test_a_time_limit_that_a_given_reservation_contradicts_is_refused() -> None:
    """J18."""
    with pytest.raises(ConfigurationError, match=r"options of the job 'long'.*contradicts"):

        @App().job(timeout=3600, reserve_for=600)
        def long() -> None: ...


# -- awaited pushes, and lists that break off -----------------------------------------------------------------------


def test_every_push_can_be_awaited(app: App, server: Server) -> None:
    @app.job
    def work(a: int) -> None: ...

    async def main() -> list[str]:
        soon = await work.aenqueue_in(60, 1)
        late = await work.aenqueue_at(datetime.now(UTC) + timedelta(hours=1), 2)
        return [soon, late, *await work.aenqueue_many([(3,), (4,)])]

    jids = asyncio.run(main())
    assert [job.jid for job in (*server.scheduled, *server.queue("default"))] == jids


def test_an_awaited_push_does_not_wait_for_what_fills_the_loops_threads(app: App, server: Server) -> None:
    """27.16."""
    go_on = threading.Event()

    @app.job
    def work() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        busy = [loop.run_in_executor(None, go_on.wait, 20) for _ in range(40)]
        await asyncio.wait_for(work.aenqueue(), 10)
        go_on.set()
        await asyncio.gather(*busy)

    asyncio.run(main())
    assert len(server.queue("default")) == 1


def test_what_breaks_off_a_list_tells_what_was_stored(app: App, server: Server) -> None:
    """27.9: all of a list goes through `on_push` before any is sent; of others, the error has the jids."""
    sent = 0

    @app.on_push
    def count(job: Job, call_next: Callable[[], str]) -> str:
        nonlocal sent
        sent += 1
        if sent == 2500:
            raise OSError("no more")
        return call_next()

    @app.job
    def work(a: int) -> None: ...

    with pytest.raises(OSError, match="no more") as broken:
        work.enqueue_many([(n,) for n in range(3000)])
    assert broken.value.stored == ()  # type: ignore[attr-defined]
    assert server.queues == {}
    sent = 0
    with pytest.raises(OSError, match="no more") as broken:
        work.enqueue_many((n,) for n in range(3000))
    stored = [job.jid for job in server.queue("default")]
    assert len(stored) == 2000
    assert list(broken.value.stored) == stored  # type: ignore[attr-defined]


def test_a_job_that_uses_trio_runs_without_a_server() -> None:
    """27.7: at once, in a thread, and awaited under either loop."""
    source = (
        "import faktory, trio\nran = []\nasync def work(n: int) -> None:\n    await trio.sleep(0)\n    ran.append(n)\n"
    )
    names: dict[str, Any] = {"__name__": "trio_jobs"}
    exec(compile(source, "/trio_jobs.py", "exec"), names)
    for mode in ("foreground", "background"):
        app = App(mode=mode)
        job = app.job(names["work"])
        job.enqueue(1)
        trio.run(job.aenqueue, 2)
        asyncio.run(job.aenqueue(3))
        app.close()
        assert sorted(names["ran"]) == [1, 2, 3]
        names["ran"].clear()

    async def main() -> None:
        app = App(mode="foreground")
        with pytest.raises(ConfigurationError, match="await its aenqueue"):
            app.job(names["work"]).enqueue(4)

    trio.run(main)


# -- deploys --------------------------------------------------------------------------------------------------------


def test_arguments_may_travel_by_name(app: App, server: Server) -> None:
    """27.5."""
    got: list[tuple[int, Order]] = []

    @app.job(by_name=True)
    def buy(user: int, order: Order, note: str = "") -> None:
        got.append((user, order))

    order = Order([Item("a", Decimal("1.50"))])
    buy.enqueue(7, order)
    (job,) = server.queue("default")
    assert job.args == [{"user": 7, "order": {"items": [{"name": "a", "price": "1.50"}]}}]
    buy.enqueue_many([(8, order)])
    app.client.push(Job("buy", [9, {"items": []}]))
    assert drain(app, server).succeeded == 3
    assert got == [(7, order), (8, order), (9, Order([]))]


def test_a_build_can_be_failed_for_arguments_that_change_places() -> None:
    before, after, named = App(), App(), App()
    before.job(name="pay")(lambda user, amount: None)
    after.job(name="pay")(lambda amount, user: None)
    named.job(name="pay", by_name=True)(lambda amount, user: None)
    snapshot = json.loads(json.dumps(before.signatures()))
    before.check_compatible(snapshot)
    with pytest.raises(ConfigurationError, match="'user' of 'pay' was number 1 and is number 2; move it back"):
        after.check_compatible(snapshot)
    after.check_compatible(named.signatures())


@pytest.mark.parametrize("loop", ["threads", "asyncio"])
def test_a_consumer_of_an_app_knows_its_queues(app: App, loop: str) -> None:
    """15.1."""
    with Server(seed=4, fetch_wait=0.02) as server:
        app = App(server.url)
        seen: list[str] = []
        app.job(name="mail", queue="mail")(lambda: seen.append("mail")).enqueue()
        app.job(name="slow", queue="slow")(lambda: seen.append("slow")).using(queue="slow").enqueue()
        if loop == "threads":
            with app.consumer().connect() as consumer:
                consumer.drain()
        else:

            async def main() -> None:
                async with await app.consumer().connect_asyncio() as consumer:
                    await consumer.drain()

            asyncio.run(main())
        app.close()
    assert seen == ["mail", "slow"]
