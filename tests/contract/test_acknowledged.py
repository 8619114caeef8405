"""No job is acknowledged that did not run, unless it was skipped on purpose, whatever middleware and hooks do."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from faktory import App, Client, ConfigurationError, ConsumerBuilder, Job, JobContext, JobTimeout, PushDropped, Summary
from faktory.core.callables import place_of
from faktory.core.queues import Queues
from faktory.server import Server
from faktory.testing import serve
from tests.contract import shapes
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront


class ChildFront(ThreadFront):
    def drain(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Summary:
        return super().drain(builder.processes(1), url, queues)


FRONTS: dict[str, Callable[[], Front]] = {
    "threads": ThreadFront,
    "children": ChildFront,
    "asyncio": AsyncioFront,
    "trio": TrioFront,
}
LOOPS = ("asyncio", "trio")
ALWAYS = {"plain", "object", "partial"}
"""Shapes of middleware that every job runs in."""


@pytest.fixture
def quick() -> Iterator[Server]:
    with serve(seed=5) as server:
        yield server


def _builder(front: str, level: str) -> ConsumerBuilder:
    if level == "app":
        builder = shapes.app.consumer()
        if front in LOOPS:
            builder.register("async", shapes.typed_async.__faktory_handler__)
        return builder
    builder = ConsumerBuilder().middleware(shapes.by_name_async if level == "async builder" else shapes.by_name)
    builder.register("plain", shapes.ran)
    return builder.register("async", shapes.ran_async) if front in LOOPS else builder


@pytest.mark.parametrize(
    ("front", "level"),
    [(front, level) for front in FRONTS for level in ("builder", "app")] + [(loop, "async builder") for loop in LOOPS],
)
def test_no_job_is_acknowledged_unrun(
    quick: Server,
    front: str,
    level: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    journal = tmp_path / "journal"
    journal.touch()
    monkeypatch.setenv("TEST_JOURNAL", str(journal))
    kinds = ("plain", "async") if front in LOOPS else ("plain",)
    jobs = {(kind, shape): Job(kind, custom={"shape": shape}, retry=3) for kind in kinds for shape in shapes.SHAPES}
    with Client(quick.url) as client:
        assert client.push_bulk(jobs.values()) == {}
    url: Any = None
    summary = FRONTS[front]().drain(_builder(front, level), url, ["default"])

    ran = set(journal.read_text().split())
    failed = {job.jid: job.failure for job in quick.retries}
    assert not quick.working
    for (kind, shape), job in jobs.items():
        case = f"{shape} around {kind}"
        if shape == "skip":
            assert job.jid not in ran | set(failed), case
        elif job.jid not in failed:
            assert job.jid in ran, f"{case} was acknowledged and did not run"
        else:
            failure = failed[job.jid]
            assert failure is not None
            assert shape not in ALWAYS, f"{case}: {failure.message}"
            assert not (shape == "async" and kind == "async"), f"{case}: {failure.message}"
            assert failure.errtype == "ConfigurationError", f"{case}: {failure.message}"
            assert "middleware by_name" in failure.message, failure.message
    assert summary.skipped == len(kinds)
    assert summary.failed == len(failed)
    assert summary.total == len(jobs)
    told = [text for text in caplog.messages if "was skipped by the middleware by_name" in text]
    assert len(told) == len(kinds)
    assert shapes.__file__ in told[0]


@pytest.mark.parametrize("shape", shapes.REFUSED)
@pytest.mark.parametrize("add", [ConsumerBuilder().middleware, App().use, App().on_push])
def test_middleware_that_would_run_nothing_is_refused(add: Callable[[Any], Any], shape: str) -> None:
    with pytest.raises(ConfigurationError, match="so that calling it would run nothing; call call_next") as refused:
        add(shapes.SHAPES[shape])
    assert shapes.__file__ in str(refused.value)


@pytest.mark.parametrize("add", [ConsumerBuilder().middleware, App().use, App().on_push])
def test_a_class_as_middleware_is_refused(add: Callable[[Any], Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Object is a class.*; give an object whose __call__ takes \("):
        add(shapes.Object)


# -- pushes ----------------------------------------------------------------------------------------------------------


def _drop(job: Job, call_next: shapes.Next) -> str:
    raise PushDropped("off")


def _twice(job: Job, call_next: shapes.Next) -> Any:
    call_next()
    return call_next()


def _made_up(job: Job, call_next: shapes.Next) -> Any:
    return job.jid


PUSH_SHAPES = {**{name: fn for name, fn in shapes.SHAPES.items() if name not in shapes.REFUSED}}
PUSH_SHAPES |= {"drop": _drop, "twice": _twice, "made up": _made_up}

PUSHES: dict[str, Callable[[App, Any], list[str]]] = {
    "enqueue": lambda app, job: [job.enqueue()],
    "enqueue_in": lambda app, job: [job.enqueue_in(60)],
    "enqueue_many": lambda app, job: job.enqueue_many([(), ()]),
    "enqueue_many, lazily": lambda app, job: job.enqueue_many(() for _ in range(2)),
    "aenqueue": lambda app, job: [asyncio.run(job.aenqueue())],
    "to_job": lambda app, job: [app.client.push(job.to_job())],
}


@pytest.mark.parametrize("how", PUSHES)
def test_a_jid_is_returned_only_for_a_job_that_is_stored_once(quick: Server, how: str) -> None:
    for shape, fn in PUSH_SHAPES.items():
        app = App(quick.url)
        try:
            app.on_push(fn)
        except ConfigurationError:  # an async one
            continue
        job = app.job(name="work")(_nothing)
        try:
            jids = PUSHES[how](app, job)
        except (ConfigurationError, PushDropped):
            jids = []
            assert shape not in ALWAYS | {"without return"}, shape
        stored = [job.jid for job in (*quick.queue("default"), *quick.scheduled)]
        assert len(set(stored)) == len(stored), shape
        assert set(jids) <= set(stored), shape
        app.client.flush()
        app.close()


def _nothing(ctx: JobContext) -> None: ...


# -- hooks ------------------------------------------------------------------------------------------------------------

HOOKS = ("on_startup", "on_quiet", "on_shutdown", "on_failure", "on_death", "stop_when")


async def _lazily_async(*_: Any) -> Any:
    yield


def _lazily(*_: Any) -> Any:
    yield


@pytest.mark.parametrize("name", [*HOOKS, "on_child_start", "on_child_stop"])
def test_a_hook_that_would_run_nothing_is_refused(name: str) -> None:
    def add(hook: Any) -> None:
        if name in HOOKS:
            getattr(ConsumerBuilder(), name)(hook)
        else:
            ConsumerBuilder().processes(1, **{name: hook})

    for hook in (_lazily, _lazily_async, shapes.context, shapes.LazyObject()):
        with pytest.raises(ConfigurationError, match=r"so that calling it would run nothing|must take"):
            add(hook)
    if name not in HOOKS:
        with pytest.raises(ConfigurationError, match="is async, which child processes cannot run"):
            add(_wait)


async def _wait() -> None: ...


@pytest.mark.parametrize("error", [ValueError("no database"), SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("front", FRONTS)
def test_on_startup_that_raises_ends_the_start(quick: Server, front: str, error: BaseException) -> None:
    called: list[str] = []

    def start() -> None:
        raise error

    with Client(quick.url) as client:
        client.push(Job("plain"))
    builder = (
        ConsumerBuilder()
        .register("plain", shapes.ran)
        .on_startup(start)
        .on_startup(lambda: called.append("startup"))
        .on_shutdown(lambda: called.append("shutdown"))
    )
    with pytest.raises(type(error)):
        FRONTS[front]().drain(builder, quick.url, ["default"])
    assert called == []
    assert len(quick.queue("default")) == 1


STARTS = """
import sys
from faktory import ConsumerBuilder

def start() -> None:
    raise RuntimeError("no database")

builder = ConsumerBuilder().register("plain", print).on_startup(start)
"""
ENDS = {
    "threads": "builder.connect(sys.argv[1]).run_to_completion(['default'])",
    "children": "builder.processes(1).connect(sys.argv[1]).run_to_completion(['default'])",
    "asyncio": """
async def main():
    consumer = await builder.connect_asyncio(sys.argv[1])
    await consumer.run_to_completion(["default"])

import asyncio
asyncio.run(main())
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("front", ENDS)
def test_a_worker_whose_on_startup_raises_exits_with_1_and_the_traceback(
    quick: Server, front: str, tmp_path: Path
) -> None:
    program = tmp_path / "worker.py"
    program.write_text(f"{STARTS}\nif __name__ == '__main__':\n" + textwrap.indent(ENDS[front], "    "))
    done = subprocess.run(
        [sys.executable, str(program), quick.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.rstrip().endswith("RuntimeError: no database")
    assert 'worker.py", line 6, in start' in done.stderr


@pytest.mark.parametrize("front", FRONTS)
def test_any_other_hook_that_raises_is_told_at_error_with_its_name_and_place(
    quick: Server, front: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(quick.url) as client:
        client.push(Job("fail", retry=0))
    builder = ConsumerBuilder().register("fail", shapes.fail)
    names = ["on_quiet", "on_shutdown", "stop_when"] + (["on_failure", "on_death"] if front != "children" else [])
    for name in names:
        getattr(builder, name)(shapes.leave)
    FRONTS[front]().drain(builder, quick.url, ["default"])
    errors = {record.getMessage() for record in caplog.records if record.levelno == logging.ERROR}
    for name in names:
        assert f"the {name} hook {place_of(shapes.leave)} raised" in errors


# -- what exceptions ask for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", FRONTS)
def test_plain_handlers_may_ask_to_run_again_or_never(
    quick: Server, front: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15.1, 15.2: and the copy is what was fetched."""
    monkeypatch.setenv("TEST_JOURNAL", str(tmp_path / "journal"))
    kinds = ["again", "never"] + (["async"] if front in LOOPS else [])
    with Client(quick.url) as client:
        for kind in kinds:
            client.push(Job(kind, [[1]], retry=0))
    told: list[str] = []
    builder = ConsumerBuilder().register("again", shapes.again).register("never", shapes.never)
    if front in LOOPS:
        builder.register("async", shapes.again_async)
    if front != "children":
        builder.on_failure(lambda job, exc: told.append(job.jobtype))
    summary = FRONTS[front]().drain(builder, quick.url, ["default"])
    assert (summary.succeeded, summary.failed) == (len(kinds), 0)
    assert sorted((job.jobtype, job.args) for job in quick.scheduled) == [
        (kind, [[1]]) for kind in sorted(kinds) if kind != "never"
    ]
    assert told == []
    assert not quick.retries
    assert not quick.dead


@pytest.mark.parametrize("front", LOOPS)
def test_the_rules_of_an_async_job_count_for_its_time_limit_too(quick: Server, front: str) -> None:
    """27.13: cut by a cancellation, which the job itself does not see as a JobTimeout."""
    app = App(quick.url)

    async def wait_long() -> None:
        if front == "trio":
            await trio.sleep(30)
        await asyncio.sleep(30)

    app.job(name="again", timeout=0.1, retry_on=(JobTimeout,))(lambda: wait_long())
    app.job(name="never", timeout=0.1, discard_on=(JobTimeout,))(wait_long)
    app.job(name="failed", timeout=0.1)(wait_long)
    for job in app.jobs.values():
        job.enqueue()
    summary = FRONTS[front]().drain(app.consumer().workers(3), quick.url, ["default"])
    assert (summary.succeeded, summary.failed) == (2, 1)
    assert [job.jobtype for job in quick.scheduled] == ["again"]
    assert [job.jobtype for job in quick.retries] == ["failed"]
    app.close()


@pytest.mark.parametrize("front", ["threads", "children"])  # tasks have contexts by themselves
def test_each_job_runs_in_a_context_of_its_own(
    quick: Server, front: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15.10: neither context variables nor decimal's settings pass from one job to the next."""
    monkeypatch.setenv("TEST_JOURNAL", str(tmp_path / "journal"))
    with Client(quick.url) as client:
        client.push_bulk([Job("set") for _ in range(3)])
    builder = ConsumerBuilder().register("set", shapes.set_context)
    assert FRONTS[front]().drain(builder, quick.url, ["default"]).succeeded == 3
    assert (tmp_path / "journal").read_text().split() == ["none-28"] * 3
