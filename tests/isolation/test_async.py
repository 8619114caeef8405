"""Child processes under an event loop: what they owe their jobs is what they owe them under threads."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from faktory import ChildStartFailed, Client, ConfigurationError, ConnectFailed, ConsumerBuilder, Failure, Job, Summary
from faktory.isolation import runner
from faktory.server import Server
from tests.isolation import jobs
from tests.isolation.conftest import Journal, descendants, is_alive
from tests.loops import LOOPS, Loop


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(seed=7, fetch_wait=0.05) as server:
        yield server


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.name)
def loop(request: pytest.FixtureRequest) -> Loop:
    found: Loop = request.param
    return found


def drain(loop: Loop, server: Server, builder: ConsumerBuilder) -> Summary:
    async def main() -> Summary:
        async with await loop.connect(builder, server.url) as consumer:
            summary: Summary = await consumer.drain(["default"])
            return summary

    return loop.run(main)


def failure_of(server: Server, jid: str) -> Failure:
    (job,) = [job for job in server.retries if job.jid == jid]
    assert job.failure is not None
    return job.failure


def test_jobs_run_in_children_with_all_that_belongs_to_them(
    loop: Loop, server: Server, client: Client, journal: Journal
) -> None:
    good = client.push(Job("look", [journal.path]))
    bad = client.push(Job("odd", retry=0))
    builder = (
        ConsumerBuilder()
        .register("look", jobs.look_around, timeout=50)
        .register("odd", jobs.odd)
        .middleware(jobs.timed)
        .manage(jobs.Value, jobs.make_value)
        .on_failure(jobs.tell_failure)
        .processes(1, on_child_start=jobs.child_start)
    )
    summary = drain(loop, server, builder)
    assert (summary.succeeded, summary.failed) == (1, 1)
    ((child,),) = journal.words("child-start")
    assert int(child) != os.getpid()
    assert {f"in {good}", "left 50 value True", f"failure {bad} OddError {child}"} <= set(journal.lines())


def test_whatever_a_job_does_it_fails_alone(
    loop: Loop, server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W4, W5."""
    monkeypatch.setattr(runner, "KILL_GRACE", 0.2)
    names = ["kill_itself", "segfault", "end", "sleep", "stubborn", "leave"]
    jids = {name: client.push(Job(name, [journal.path], retry=3)) for name in names}
    client.push_bulk(Job("work", [journal.path]) for _ in range(10))
    builder = ConsumerBuilder().register("work", jobs.work)
    for name in names:
        builder.register(name, getattr(jobs, name), timeout=0.3)
    summary = drain(loop, server, builder.processes(2))
    assert (summary.succeeded, summary.failed) == (10, len(names))
    found = {name: failure_of(server, jid) for name, jid in jids.items()}
    assert {name: failure.errtype for name, failure in found.items()} == {
        "kill_itself": "JobCrashed",
        "segfault": "JobCrashed",
        "end": "JobCrashed",
        "sleep": "JobTimeout",
        "stubborn": "JobTimeout",
        "leave": "SystemExit",
    }
    assert "was killed by SIGKILL" in found["kill_itself"].message
    assert "its process was killed" in found["stubborn"].message


def test_jobs_are_killed_at_the_deadline(loop: Loop, server: Server, client: Client, journal: Journal) -> None:
    """P6, P7."""
    jid = client.push(Job("nap", [journal.path, 60], retry=3))

    async def main() -> None:
        builder = ConsumerBuilder().register("nap", jobs.nap).processes(1).shutdown_timeout(0.2)
        async with await loop.connect(builder, server.url) as consumer:

            async def end() -> None:
                await loop.until(lambda: journal.lines("start"))
                consumer.terminate()

            async def run() -> None:
                assert await consumer.run(["default"]) == 0

            await loop.all(run, end)

    loop.run(main)
    ((_, pid),) = journal.words("start")
    assert not is_alive(int(pid))
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobCancelled", "the worker had to stop before the job was done")
    assert len(server.working) == 0


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("max_jobs", [None, 1])
def test_children_that_cannot_start_cost_no_job(
    loop: Loop, server: Server, client: Client, journal: Journal, max_jobs: int | None
) -> None:
    """C1: `run`, `drain` and `run_one` give up after some tries, and work when it has healed."""
    client.push_bulk(Job("work", [journal.path], retry=0) for _ in range(6))
    builder = ConsumerBuilder().register("work", jobs.work)
    builder.processes(2, on_child_start=jobs.start_when_allowed, max_jobs_per_child=max_jobs)

    async def main() -> None:
        async with await loop.connect(builder, server.url) as consumer:
            for call in (consumer.run, consumer.drain, consumer.run_one):
                with pytest.raises(ChildStartFailed, match=r"times in a row.* exit code 1 .*OddError: not yet"):
                    await call(["default"])
                assert not consumer.health().is_ready
            assert len(server.queue("default")) == 6
            jobs.note(journal.path, "allowed")
            assert await consumer.run_one(["default"])
            assert (await consumer.drain(["default"])).succeeded == 5

    loop.run(main)
    assert len(journal.lines("work")) == 6


@pytest.mark.usefixtures("hasty")
def test_when_all_children_must_be_replaced_and_none_starts_no_job_is_touched(
    loop: Loop, server: Server, client: Client, journal: Journal
) -> None:
    """C1."""
    jobs.note(journal.path, "allowed")
    builder = ConsumerBuilder().register("work", jobs.work).register("forbid", jobs.forbid)
    builder.processes(1, on_child_start=jobs.start_when_allowed, max_jobs_per_child=2)
    client.push_bulk(Job(kind, [journal.path], retry=0) for kind in ("work", "forbid", "work", "work"))

    async def main() -> None:
        async with await loop.connect(builder, server.url) as consumer:
            with pytest.raises(ChildStartFailed):
                await consumer.run(["default"])
            assert (len(server.queue("default")), len(server.working)) == (2, 0)
            jobs.note(journal.path, "allowed")
            assert (await consumer.drain(["default"])).succeeded == 2

    loop.run(main)


async def on_a_loop(job: Job) -> None: ...


async def around(job: Job, call_next: object) -> None: ...


def test_what_needs_a_loop_is_refused(loop: Loop, server: Server) -> None:
    async def main() -> None:
        for builder in (
            ConsumerBuilder().register("x", on_a_loop),
            ConsumerBuilder().register("x", jobs.work).middleware(around),
        ):
            with pytest.raises(ConfigurationError, match="is async, which child processes cannot run"):
                await loop.connect(builder.processes(1), server.url)

    loop.run(main)


def test_a_job_of_an_unknown_type_is_told_to_the_hooks_of_the_parent(
    server: Server, client: Client, journal: Journal, loop: Loop
) -> None:
    jid = client.push(Job("nothin", retry=0))
    builder = ConsumerBuilder().register("nothing", jobs.nothing).on_failure(jobs.tell_failure)
    drain(loop, server, builder.on_death(jobs.tell_death).processes(1))
    assert journal.lines("failure") == [f"failure {jid} UnknownJobType {os.getpid()}"]
    assert journal.lines("death") == [f"death {jid} UnknownJobType {os.getpid()}"]


def test_who_is_cancelled_while_the_children_start_leaves_no_process(loop: Loop, server: Server) -> None:
    builder = ConsumerBuilder().register("work", jobs.work).processes(1)
    before = descendants()

    async def begun() -> None:
        await loop.until(lambda: descendants() > before)

    async def main() -> None:
        assert await loop.cancelling(lambda: loop.connect(builder, server.url), begun)
        assert descendants() <= before

    loop.run(main)


def test_a_server_that_is_gone_leaves_no_child_behind(loop: Loop) -> None:
    with Server() as gone:
        url = gone.url

    async def main() -> None:
        with pytest.raises(ConnectFailed):
            await loop.connect(ConsumerBuilder().register("work", jobs.work).processes(1), url)

    loop.run(main)
