"""Handlers in child processes: whatever a job does, it fails alone, with the right words, and the next one runs."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faktory import (
    ChildStartFailed,
    Client,
    ConfigurationError,
    Consumer,
    ConsumerBuilder,
    Failure,
    Job,
    JobLogFilter,
    Summary,
)
from faktory.core.run import running
from faktory.isolation import fork_client as parent
from faktory.isolation import runner
from faktory.isolation.fork_client import ChildProcess
from faktory.isolation.runner import ChildRunner
from faktory.runtime.memory import resident_kb
from faktory.server import Server
from tests.isolation import jobs, typed_jobs
from tests.isolation.conftest import Journal, is_alive
from tests.isolation.jobs import note
from tests.running import Completing
from tests.waiting import until


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(seed=7, fetch_wait=0.05) as server:
        yield server


def run(server: Server, builder: ConsumerBuilder) -> Summary:
    with builder.connect(server.url) as consumer:
        return consumer.drain(["default"])


def failure_of(server: Server, jid: str) -> Failure:
    (job,) = [job for job in server.retries if job.jid == jid]
    assert job.failure is not None
    return job.failure


def fails(server: Server, client: Client, journal: Journal, handler: Callable[[Job], None], *args: object) -> Failure:
    """Run a job that fails, and another behind it in the same slot; return the failure of the first."""
    jid = client.push(Job("bad", [journal.path, *args], retry=3))
    after = client.push(Job("work", [journal.path]))
    builder = ConsumerBuilder().register("bad", handler, timeout=0.3).register("work", jobs.work).processes(1)
    summary = run(server, builder)
    assert (summary.succeeded, summary.failed) == (1, 1)
    assert [words[0] for words in journal.words("work")] == [after]
    return failure_of(server, jid)


def fail_in_turn(server: Server, client: Client, journal: Journal, *handlers: Callable[[Job], None]) -> list[Failure]:
    """Run a job of each, and another behind it, all in one slot; return the failures."""
    builder = ConsumerBuilder().register("work", jobs.work).processes(1)
    bad, good = [], []
    for handler in handlers:
        builder.register(handler.__name__, handler, timeout=0.3)
        bad.append(client.push(Job(handler.__name__, [journal.path], retry=3)))
        good.append(client.push(Job("work", [journal.path])))
    summary = run(server, builder)
    assert (summary.succeeded, summary.failed) == (len(handlers), len(handlers))
    assert [words[0] for words in journal.words("work")] == good
    return [failure_of(server, jid) for jid in bad]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "KILL_GRACE", 0.3)


# -- what a job does to its process -----------------------------------------------------------------------------------


def test_a_job_that_is_killed_fails_with_the_signal_and_its_last_words(
    server: Server, client: Client, journal: Journal
) -> None:
    """W5."""
    failure = fails(server, client, journal, jobs.kill_itself)
    assert failure.errtype == "JobCrashed"
    assert "was killed by SIGKILL" in failure.message
    assert failure.message.endswith("it said last: these are my last words")
    assert failure.backtrace == ("these are my last words",)


def test_a_segmentation_fault_fails_with_the_line_that_made_it(
    server: Server, client: Client, journal: Journal
) -> None:
    """W5."""
    failure = fails(server, client, journal, jobs.segfault)
    assert failure.errtype == "JobCrashed"
    assert "was killed by SIGSEGV; it said last: Fatal Python error: Segmentation fault" in failure.message
    assert failure.backtrace[-1].endswith("in segfault")


def test_a_job_that_ends_its_process_fails_with_the_exit_code(server: Server, client: Client, journal: Journal) -> None:
    """W5."""
    failure = fails(server, client, journal, jobs.end)
    assert failure.errtype == "JobCrashed"
    assert "ended with exit code 7" in failure.message


def test_a_job_out_of_memory_fails(server: Server, client: Client, journal: Journal) -> None:
    assert fails(server, client, journal, jobs.eat_memory).errtype == "MemoryError"


def test_a_job_that_closes_every_descriptor_fails(server: Server, client: Client, journal: Journal) -> None:
    failure = fails(server, client, journal, jobs.close_everything)
    assert failure.errtype == "JobCrashed"
    assert "closed its connection" in failure.message or "ended with exit code" in failure.message


def test_ten_megabytes_of_an_error_are_cut(server: Server, client: Client, journal: Journal) -> None:
    """W3."""
    failure = fails(server, client, journal, jobs.talkative)
    assert (failure.errtype, failure.message) == ("OddError", "x" * 1000)


WAITS = [jobs.wait_for_event, jobs.wait_for_queue, jobs.wait_for_future, jobs.wait_for_thread]


def test_a_job_past_its_limit_is_interrupted_wherever_it_waits(
    server: Server, client: Client, journal: Journal
) -> None:
    """W4: also in C code, which a thread cannot be woken from."""
    handlers = [jobs.sleep, jobs.lock, jobs.spin, *WAITS]
    for handler, failure in zip(handlers, fail_in_turn(server, client, journal, *handlers), strict=True):
        assert (failure.errtype, failure.message) == ("JobTimeout", "the job ran past its time limit of 0.3 s")
        assert f"in {handler.__name__}" in failure.backtrace[0]
        if handler not in WAITS:
            assert not any("isolation" in line and "jobs.py" not in line for line in failure.backtrace)
    assert len(journal.lines("cleaned")) == 1  # the `finally` of `sleep` ran


@pytest.mark.usefixtures("impatient")
def test_a_job_that_does_not_end_at_its_limit_is_killed(server: Server, client: Client, journal: Journal) -> None:
    """W4."""
    handlers = [jobs.stubborn, jobs.hold_in_c]
    for handler, failure in zip(handlers, fail_in_turn(server, client, journal, *handlers), strict=True):
        assert failure.errtype == "JobTimeout"
        assert "did not end within 0.3 s more, and its process was killed" in failure.message
        assert any(f"in {handler.__name__}" in line for line in failure.backtrace)


@pytest.mark.parametrize("how", ["crash", "hang"])
@pytest.mark.usefixtures("impatient")
def test_what_a_job_has_started_goes_with_its_child(server: Server, client: Client, journal: Journal, how: str) -> None:
    failure = fails(server, client, journal, jobs.beget, how)
    assert failure.errtype == ("JobCrashed" if how == "crash" else "JobTimeout")
    ((pid,),) = journal.words("grandchild")
    if how == "hang":
        return  # the job ended itself at its limit, and its child lives on, until the end
    until(lambda: not is_alive(int(pid)))


def test_a_job_that_forks_is_reported_once(server: Server, client: Client, journal: Journal) -> None:
    """W7."""
    client.push(Job("fork", [journal.path]))
    client.push(Job("work", [journal.path]))
    summary = run(server, ConsumerBuilder().register("fork", jobs.fork).register("work", jobs.work).processes(1))
    assert (summary.succeeded, summary.failed) == (2, 0)
    assert len({words[1] for words in journal.words("work")}) == 1


def test_every_tenth_job_kills_its_child_and_none_is_lost_or_run_twice(
    server: Server, client: Client, journal: Journal
) -> None:
    """T15."""
    client.push_bulk(Job("die", [journal.path, n], retry=3) for n in range(500))
    summary = run(server, ConsumerBuilder().register("die", jobs.perhaps_die).processes(2))
    assert (summary.succeeded, summary.failed) == (450, 50)
    assert len({words[0] for words in journal.words("work")}) == len(journal.words("work")) == 500
    assert len(server.retries) == 50
    assert len(server.working) == 0


def test_the_values_of_a_job_are_let_go_when_it_has_failed(server: Server, client: Client, journal: Journal) -> None:
    """C10: by counting references alone; also when its limit has passed, and with hooks that raise."""
    ways = ["raised", "chained", "logged", "swallowed", "interrupted"]
    builder = ConsumerBuilder().register("hold", jobs.hold_and, timeout=0.1).register("work", jobs.work)
    for way in ways:
        client.push(Job("hold", [journal.path, way], retry=3))
        client.push(Job("work", [journal.path]))
    run(server, builder.on_failure(jobs.fail_beside).processes(1))
    told = [line for line in journal.lines() if line.startswith(("let-go", "work"))]
    assert [line.split()[0] for line in told] == ["let-go", "work"] * len(ways)
    assert [words[0] for words in journal.words("let-go")] == ways


def test_an_exception_that_does_harm_when_it_is_looked_at_fails_its_job_alone(
    server: Server, client: Client, journal: Journal
) -> None:
    """C10."""
    assert fails(server, client, journal, jobs.be_hostile).errtype == "Hostile"
    assert len({words[1] for words in journal.words("work")}) == 1


# -- what children share with threads ---------------------------------------------------------------------------------


def test_a_child_reports_what_a_thread_would(server: Server, client: Client) -> None:
    failures: list[list[Failure]] = []
    for isolated in (False, True):
        builder = ConsumerBuilder()
        jids = []
        for handler in (jobs.odd, jobs.wrong, jobs.leave, jobs.talkative):
            builder.register(handler.__name__, handler)
            jids.append(client.push(Job(handler.__name__, retry=3)))
        run(server, builder.processes(1) if isolated else builder)
        failures.append([failure_of(server, jid) for jid in jids])
    for thread, child in zip(*failures, strict=True):
        assert (thread.errtype, thread.message, thread.backtrace) == (child.errtype, child.message, child.backtrace)


def test_middleware_hooks_and_managed_values_work_in_children(server: Server, client: Client, journal: Journal) -> None:
    good = client.push(Job("look", [journal.path]))
    bad = client.push(Job("odd", retry=0))
    builder = (
        ConsumerBuilder()
        .register("look", jobs.look_around, timeout=50)
        .register("odd", jobs.odd)
        .middleware(jobs.timed)
        .manage(jobs.Value, jobs.make_value)
        .on_failure(jobs.tell_failure)
        .on_death(jobs.tell_death)
        .processes(1, on_child_start=jobs.child_start, on_child_stop=jobs.child_stop)
    )
    run(server, builder)
    ((child,),) = journal.words("child-start")
    assert int(child) != os.getpid()
    assert journal.lines() == [
        f"child-start {child}",
        f"in {good}",
        "left 50 value True",
        f"out {good}",
        f"in {bad}",
        f"out {bad}",
        f"failure {bad} OddError {child}",
        "text no good",
        f"death {bad} OddError {child}",
        f"child-stop {child}",
        f"closed {child}",
    ]


def test_attributes_that_a_handler_has_of_its_own_mean_nothing_to_its_child(
    server: Server, client: Client, journal: Journal
) -> None:
    failure = fails(server, client, journal, jobs.adorned)
    assert (failure.errtype, failure.message) == ("ValueError", "no good")


def test_a_crash_is_told_to_the_hooks_of_the_parent(server: Server, client: Client, journal: Journal) -> None:
    jid = client.push(Job("end", retry=0))
    builder = ConsumerBuilder().register("end", jobs.end).on_failure(jobs.tell_failure).on_death(jobs.tell_death)
    run(server, builder.processes(1))
    assert journal.lines("failure") == [f"failure {jid} JobCrashed {os.getpid()}"]
    assert journal.lines("death") == [f"death {jid} JobCrashed {os.getpid()}"]
    assert "ended with exit code 7" in journal.lines("text")[0]


def test_a_job_of_an_unknown_type_is_told_to_the_hooks_of_the_parent(
    server: Server, client: Client, journal: Journal
) -> None:
    jid = client.push(Job("nothin", retry=0))
    builder = ConsumerBuilder().register("nothing", jobs.nothing).on_failure(jobs.tell_failure)
    run(server, builder.on_death(jobs.tell_death).processes(1))
    assert journal.lines("failure") == [f"failure {jid} UnknownJobType {os.getpid()}"]
    assert journal.lines("death") == [f"death {jid} UnknownJobType {os.getpid()}"]


def test_what_children_print_and_log_comes_out_of_the_parent(
    server: Server, client: Client, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    jid = client.push(Job("say", ["the table"]))
    with caplog.at_level(logging.INFO):
        run(server, ConsumerBuilder().register("say", jobs.say).processes(1))
    out, err = capsys.readouterr()
    assert out == f"a line on stdout from {jid}\ntwo halves\n"
    assert err.startswith("a line on stderr\n")
    info, error = [record for record in caplog.records if record.name == "tests.jobs"]
    assert (info.message, info.levelname, info.funcName) == ("at work on the table", "INFO", "say")
    assert vars(info)["jid"] == vars(error)["jid"] == jid
    assert (vars(info)["jobtype"], vars(info)["queue"], vars(info)["attempt"]) == ("say", "default", 1)
    JobLogFilter().filter(info)  # in the parent, where no job runs
    assert vars(info)["jid"] == jid
    assert vars(info)["colour"] == "blue"
    assert vars(info)["odd"].startswith("{(1, 2): <class")
    assert (info.msg, info.args) == ("at work on %s", ("the table",))
    assert info.process != os.getpid()
    assert error.exc_text is not None
    assert "OddError: no good" in error.exc_text
    assert error.exc_info is not None
    assert type(error.exc_info[1]).__qualname__ == "OddError"


def test_the_workers_memory_is_that_of_all_its_processes_from_the_first_beat_on(
    server: Server, client: Client, journal: Journal
) -> None:
    """W6: a leak where the jobs run is visible."""
    client.push(Job("grow", [journal.path]))
    builder = ConsumerBuilder().register("grow", jobs.grow).heartbeat_interval(0.05)
    with builder.processes(1).connect(server.url) as consumer, Running(consumer):
        until(lambda: journal.lines("work"))
        own = resident_kb() or 0
        until(lambda: server.workers[0].rss_kb > own + 60_000)


# -- which child runs it ----------------------------------------------------------------------------------------------


def test_a_child_is_reused_until_it_has_done_its_share(server: Server, client: Client, journal: Journal) -> None:
    """W6."""
    client.push_bulk(Job("work", [journal.path]) for _ in range(6))
    builder = ConsumerBuilder().register("work", jobs.work)
    run(server, builder.processes(1, max_jobs_per_child=2, on_child_stop=jobs.child_stop))
    pids = [words[1] for words in journal.words("work")]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert len(journal.words("child-stop")) >= 3


def test_a_child_that_has_grown_is_replaced(server: Server, client: Client, journal: Journal) -> None:
    """W6."""
    client.push_bulk(Job(kind, [journal.path]) for kind in ("work", "work", "grow", "work"))
    builder = ConsumerBuilder().register("work", jobs.work).register("grow", jobs.grow)
    run(server, builder.processes(1, max_rss_mb=70))
    pids = [words[1] for words in journal.words("work")]
    assert pids[0] == pids[1] == pids[2] != pids[3]


def test_a_child_that_ends_at_its_start_costs_no_job(
    server: Server, client: Client, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """C1."""
    client.push_bulk(Job("work", [journal.path], retry=0) for _ in range(3))
    builder = ConsumerBuilder().register("work", jobs.work)
    with caplog.at_level(logging.INFO):
        summary = run(server, builder.processes(1, on_child_start=jobs.exit_at_first_start))
    assert (summary.succeeded, summary.failed) == (3, 0)
    assert "ended with exit code 3 while it started; it said last: no database today; no job is fetched" in caplog.text
    assert "child processes start again" in caplog.text


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("call", ["run", "drain", "run_one"])
@pytest.mark.parametrize("max_jobs", [None, 1])
def test_children_that_cannot_start_cost_no_job_and_run_gives_up_after_some_tries(
    server: Server,
    client: Client,
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
    call: str,
    max_jobs: int | None,
) -> None:
    """C1: it heals later, and nothing is lost."""
    client.push_bulk(Job("work", [journal.path], retry=0) for _ in range(5))
    builder = ConsumerBuilder().register("work", jobs.work)
    builder.processes(2, on_child_start=jobs.start_when_allowed, max_jobs_per_child=max_jobs)
    with builder.connect(server.url) as consumer:
        for _ in range(2):
            with pytest.raises(ChildStartFailed, match=r"times in a row.* exit code 1 .*jobs.OddError: not yet"):
                getattr(consumer, call)(["default"])
            assert not consumer.health().is_ready
        assert len(server.queue("default")) == 5
        assert len([record for record in caplog.records if record.name == "faktory.isolation"]) == 1
        note(journal.path, "allowed")
        assert consumer.drain(["default"]).succeeded == 5
    assert len(journal.lines("work")) == 5


@pytest.mark.usefixtures("hasty")
def test_when_all_children_must_be_replaced_and_none_starts_no_job_is_touched(
    server: Server, client: Client, journal: Journal
) -> None:
    """C1: children that have served their time, and a database that is down by then."""
    note(journal.path, "allowed")
    client.push(Job("work", [journal.path], retry=0))
    builder = ConsumerBuilder().register("work", jobs.work).register("forbid", jobs.forbid)
    builder.processes(1, on_child_start=jobs.start_when_allowed, max_jobs_per_child=2)
    client.push(Job("forbid", [journal.path], retry=0))
    client.push_bulk(Job("work", [journal.path], retry=0) for _ in range(5))
    with builder.connect(server.url) as consumer:
        with pytest.raises(ChildStartFailed):
            consumer.run(["default"])
        assert len(server.queue("default")) == 5
        assert len(server.working) == 0
        note(journal.path, "allowed")
        assert consumer.drain(["default"]).succeeded == 5


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_runs_for_ever_goes_on_trying(server: Server, client: Client, journal: Journal) -> None:
    """C1."""
    client.push(Job("work", [journal.path], retry=0))
    builder = ConsumerBuilder().register("work", jobs.work).processes(2, on_child_start=jobs.start_when_allowed)
    with builder.connect(server.url) as consumer:
        run_for_ever = Completing(consumer)
        until(lambda: not consumer.health().is_ready)
        assert len(server.queue("default")) == 1
        note(journal.path, "allowed")
        until(lambda: journal.lines("work"))
        assert consumer.health().is_ready
        consumer.terminate()
        run_for_ever.join()
    assert run_for_ever.code == 0
    assert client.info()["faktory"]["total_processed"] == 1


def test_a_job_whose_child_has_died_meanwhile_runs_in_the_next(
    server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C1: also when nobody has noticed yet."""
    client.push(Job("work", [journal.path], retry=0))
    hand_over = ChildRunner._hand_over
    killed: list[int] = []

    def kill_first(runner: ChildRunner, child: ChildProcess, data: bytes, limit: float) -> bool:
        if not killed:
            until(lambda: child.pid)
            killed.append(child.pid)
            child.signal(signal.SIGKILL)
            until(lambda: not is_alive(child.pid))
        return hand_over(runner, child, data, limit)

    monkeypatch.setattr(ChildRunner, "_hand_over", kill_first)
    summary = run(server, ConsumerBuilder().register("work", jobs.work).processes(1))
    assert (summary.succeeded, summary.failed) == (1, 0)
    assert killed


def test_a_job_larger_than_a_sockets_buffer_reaches_its_child_whole(
    server: Server, client: Client, journal: Journal
) -> None:
    client.push(Job("measure", [journal.path, "x" * 3_000_000], retry=0))
    summary = run(server, ConsumerBuilder().register("measure", jobs.measure).processes(1))
    assert (summary.succeeded, summary.failed) == (1, 0)
    assert journal.words("measured") == [["3000000"]]


@pytest.mark.usefixtures("impatient")
def test_a_child_that_does_not_take_its_job_is_killed_at_the_limit(
    server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    jid = client.push(Job("measure", [journal.path, "x" * 3_000_000], retry=3))
    hand_over = ChildRunner._hand_over
    stopped: list[int] = []

    def stop_first(runner: ChildRunner, child: ChildProcess, data: bytes, limit: float) -> bool:
        until(lambda: child.pid)
        stopped.append(child.pid)
        child.signal(signal.SIGSTOP)
        until(lambda: " T " in Path(f"/proc/{child.pid}/stat").read_text())
        return hand_over(runner, child, data, limit)

    monkeypatch.setattr(ChildRunner, "_hand_over", stop_first)
    summary = run(server, ConsumerBuilder().register("measure", jobs.measure, timeout=0.3).processes(1))
    assert summary.failed == 1
    assert failure_of(server, jid).errtype == "JobTimeout"
    assert not is_alive(stopped[0])
    assert not journal.lines("measured")


class Running:
    """A consumer at work in another thread."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.busy = -1
        self._thread = threading.Thread(target=self._run, name="test-run")

    def _run(self) -> None:
        self.busy = self._consumer.run(["default"])

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._consumer.terminate()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_jobs_are_killed_at_the_deadline_and_failed_when_they_are_dead(
    server: Server, client: Client, journal: Journal
) -> None:
    """P6, P7."""
    jid = client.push(Job("nap", [journal.path, 60], retry=3))
    builder = ConsumerBuilder().register("nap", jobs.nap).processes(1).shutdown_timeout(0.2)
    with builder.connect(server.url) as consumer, Running(consumer) as run_there:
        until(lambda: journal.lines("start"))
        consumer.terminate()
    assert run_there.busy == 0
    ((_, pid),) = journal.words("start")
    assert not is_alive(int(pid))
    failure = failure_of(server, jid)
    assert (failure.errtype, failure.message) == ("JobCancelled", "the worker had to stop before the job was done")
    assert len(server.working) == 0


def test_a_job_that_is_cut_off_before_a_child_has_it_does_not_begin(
    server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6."""
    jid = client.push(Job("work", [journal.path], retry=3))
    ready_child = ChildRunner._ready_child

    def cancel_first(runner: ChildRunner) -> ChildProcess | None:
        child = ready_child(runner)
        if running.get() is not None:
            consumer.terminate()
            runner.cancel()
        return child

    monkeypatch.setattr(ChildRunner, "_ready_child", cancel_first)
    with ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url) as consumer:
        consumer.run(["default"])
    assert not journal.lines("work")
    assert failure_of(server, jid).errtype == "JobCancelled"


def test_a_nursery_that_is_killed_is_started_anew(
    server: Server, client: Client, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    jid = client.push(Job("nap", [journal.path, 60], retry=3))
    after = client.push(Job("work", [journal.path]))
    builder = ConsumerBuilder().register("nap", jobs.nap).register("work", jobs.work).processes(1)
    with builder.connect(server.url) as consumer, Running(consumer):
        until(lambda: journal.lines("start"))
        assert consumer._state.fork_server is not None
        os.kill(consumer._state.fork_server._process.pid, signal.SIGKILL)
        until(lambda: journal.lines("work"))
    assert failure_of(server, jid).errtype == "JobCrashed"
    assert [words[0] for words in journal.words("work")] == [after]
    assert "is started anew" in caplog.text
    ((_, pid),) = journal.words("start")
    assert not is_alive(int(pid))


@pytest.mark.usefixtures("impatient", "hasty")
def test_a_fork_server_that_hangs_holds_up_no_job(
    server: Server,
    client: Client,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C11: a job past its limit is killed without it, and the next one runs in a child of another."""
    monkeypatch.setattr(runner, "KILL_PATIENCE", 0.2)
    monkeypatch.setattr(runner, "CHILD_START_LIMIT", 1.0)
    jid = client.push(Job("nap", [journal.path, 60], retry=3))
    after = client.push(Job("work", [journal.path]))
    builder = ConsumerBuilder().register("nap", jobs.nap, timeout=0.3).register("work", jobs.work).processes(1)
    with builder.connect(server.url) as consumer, Running(consumer):
        until(lambda: journal.lines("start"))
        assert consumer._state.fork_server is not None
        hung = consumer._state.fork_server._process
        os.kill(hung.pid, signal.SIGSTOP)
        until(lambda: journal.lines("work"))
    assert hung.returncode == -signal.SIGKILL
    assert failure_of(server, jid).errtype == "JobTimeout"
    assert [words[0] for words in journal.words("work")] == [after]
    assert "does not answer and is killed" in caplog.text
    ((_, pid),) = journal.words("start")
    assert not is_alive(int(pid))


def test_a_fork_server_that_hangs_does_not_hold_up_the_end(
    server: Server, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C11."""
    monkeypatch.setattr(parent, "CHILD_STOP_LIMIT", 0.3)
    with ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url) as consumer:
        assert consumer._state.fork_server is not None
        hung = consumer._state.fork_server._process
        os.kill(hung.pid, signal.SIGSTOP)
    assert hung.returncode == -signal.SIGKILL


def test_the_time_a_child_takes_to_start_is_not_its_jobs(server: Server, client: Client, journal: Journal) -> None:
    client.push(Job("work", [journal.path], retry=3))
    builder = ConsumerBuilder().register("work", jobs.work, timeout=0.2)
    summary = run(server, builder.processes(1, on_child_start=jobs.slow_start))
    assert (summary.succeeded, summary.failed) == (1, 0)


def test_a_job_that_ended_itself_at_its_limit_was_the_last_of_its_child(
    server: Server, client: Client, journal: Journal
) -> None:
    """The signal that told it could be late, and hit the next one."""
    client.push(Job("work", [journal.path]))
    client.push(Job("sleep", [journal.path], retry=3))
    client.push(Job("work", [journal.path]))
    builder = ConsumerBuilder().register("work", jobs.work).register("sleep", jobs.sleep, timeout=0.2)
    run(server, builder.processes(1))
    before, after = (words[1] for words in journal.words("work"))
    assert before != after


def test_no_descriptors_for_a_child_are_a_reason_to_wait(
    server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []
    pipe = os.pipe

    def exhausted() -> tuple[int, int]:
        tries.append(1)
        if len(tries) in (2, 3):
            raise OSError(24, "Too many open files")
        return pipe()

    client.push(Job("work", [journal.path], retry=3))
    with ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url) as consumer:
        monkeypatch.setattr(os, "pipe", exhausted)
        summary = consumer.drain(["default"])
    assert (summary.succeeded, summary.failed) == (1, 0)
    assert "cannot start a child process: [Errno 24] Too many open files; no job is fetched for it" in caplog.text


def test_a_job_may_end_a_pool_of_processes(server: Server, client: Client) -> None:
    client.push(Job("pool", retry=3))
    summary = run(server, ConsumerBuilder().register("pool", jobs.pool, timeout=10).processes(1))
    assert (summary.succeeded, summary.failed) == (1, 0)


def test_a_job_that_only_logs_is_interrupted_all_the_same(server: Server, client: Client) -> None:
    jid = client.push(Job("log", retry=3))
    logging.getLogger("tests.jobs").setLevel(logging.INFO)
    try:
        run(server, ConsumerBuilder().register("log", jobs.log_for_ever, timeout=0.2).processes(1))
    finally:
        logging.getLogger("tests.jobs").setLevel(logging.NOTSET)
    assert failure_of(server, jid).message == "the job ran past its time limit of 0.2 s"


def test_a_limit_leaves_no_lock_of_logging_taken(server: Server, client: Client, journal: Journal) -> None:
    """C8: on Python 3.11 and 3.12 a handler's lock is taken before the `try` that gives it back."""
    client.push_bulk(Job("log", retry=3) for _ in range(20))
    builder = ConsumerBuilder().register("log", jobs.log_all_the_time, timeout=0.05)
    run(server, builder.on_failure(jobs.log_from_a_thread).processes(2))
    assert len(journal.lines("free")) == 20
    assert not journal.lines("stuck")
    assert {job.failure.message for job in server.retries if job.failure is not None} == {
        "the job ran past its time limit of 0.05 s"
    }


def test_a_fork_of_the_worker_does_not_keep_its_children_alive(server: Server, journal: Journal) -> None:
    """P11, W7."""
    with ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url) as consumer:
        fork_server = consumer._state.fork_server
        assert fork_server is not None
        pid = os.fork()
        if pid == 0:
            os._exit(0 if fork_server._control.fileno() == -1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_killed_between_two_jobs_harms_none(server: Server, client: Client, journal: Journal) -> None:
    client.push(Job("work", [journal.path]))
    with ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url) as consumer, Running(consumer):
        until(lambda: journal.lines("work"))
        until(lambda: len(server.working) == 0)
        ((_, pid),) = journal.words("work")
        os.kill(int(pid), signal.SIGKILL)
        until(lambda: not is_alive(int(pid)))
        client.push(Job("work", [journal.path]))
        until(lambda: len(journal.lines("work")) == 2)
    assert len(server.retries) == 0


def test_run_one_runs_its_job_in_a_child(server: Server, client: Client, journal: Journal) -> None:
    client.push(Job("work", [journal.path]))
    with ConsumerBuilder().register("work", jobs.work).processes(1).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
        assert not consumer.run_one(["default"])
    ((_, pid),) = journal.words("work")
    assert int(pid) != os.getpid()


# -- how it is asked for ----------------------------------------------------------------------------------------------


def test_an_unchanged_program_is_switched_by_the_environment(
    server: Server, client: Client, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKTORY_ISOLATION", "process")
    client.push(Job("work", [journal.path]))
    for processes, expected in ((None, 3), ("2", 2)):
        if processes is not None:
            monkeypatch.setenv("FAKTORY_PROCESSES", processes)
        with ConsumerBuilder().register("work", jobs.work).workers(3).connect(server.url) as consumer:
            assert consumer.health().workers == expected
            consumer.drain(["default"])
    ((_, pid),) = journal.words("work")
    assert int(pid) != os.getpid()


@pytest.mark.parametrize(
    ("name", "value"), [("FAKTORY_ISOLATION", "forking"), ("FAKTORY_PROCESSES", "many"), ("FAKTORY_PROCESSES", "0")]
)
def test_a_bad_environment_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("FAKTORY_ISOLATION", "process")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=r"FAKTORY_ISOLATION|FAKTORY_PROCESSES|workers must be"):
        ConsumerBuilder().register("work", jobs.work).connect(server.url)


def test_what_a_child_could_not_import_is_refused_when_building(server: Server) -> None:
    def closure(job: Job) -> None: ...

    for builder, reason in (
        (ConsumerBuilder().register("x", lambda job: None), "the handler of 'x' .* is a lambda"),
        (ConsumerBuilder().register("x", closure), "the handler of 'x' .*closure.* is defined inside of a function"),
        (ConsumerBuilder().register("x", jobs.work).middleware(lambda job, call_next: None), "the middleware .*lambda"),
        (ConsumerBuilder().register("x", jobs.work).on_failure(lambda job, exc: None), "the on_failure hook .*lambda"),
        (ConsumerBuilder().register("x", jobs.work).manage(int, lambda: 1), "the factory of int .*lambda"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            builder.processes(1).connect(server.url)


@pytest.mark.parametrize("options", [{"max_jobs_per_child": 0}, {"max_rss_mb": 1.5}, {"max_jobs_per_child": True}])
def test_limits_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="must be an integer from 1 on, or None"):
        ConsumerBuilder().processes(1, **options)  # type: ignore[arg-type]


def test_a_child_without_a_job_ends_without_a_word(
    server: Server, journal: Journal, capfd: pytest.CaptureFixture[str]
) -> None:
    builder = ConsumerBuilder().register("work", jobs.work).processes(2, on_child_stop=jobs.child_stop)
    run(server, builder)
    assert len(journal.lines("child-stop")) >= 1
    assert capfd.readouterr().err == ""


# -- typed jobs -------------------------------------------------------------------------------------------------------


def test_a_typed_job_runs_in_a_child_with_the_values_of_its_app(
    server: Server, client: Client, journal: Journal
) -> None:
    job = typed_jobs.typed.to_job(typed_jobs.Place(journal.path, 5))
    client.push(job)
    summary = run(server, typed_jobs.app.consumer().processes(1))
    assert summary.succeeded == 1
    ((jid, line, pid),) = journal.words("typed")
    assert (jid, line) == (job.jid, "5")
    assert int(pid) != os.getpid()
    assert journal.words("closed") == [[pid]]


def test_what_a_consumer_of_an_app_manages_is_there_in_children(server: Server, journal: Journal) -> None:
    """27.3d: above the app's own values, which are closed with them."""
    with Client(server.url) as client:
        for _ in range(2):
            client.push(Job("both", [journal.path]))
    builder = typed_jobs.layered.consumer().manage(typed_jobs.Cache, typed_jobs.Cache).processes(1)
    assert run(server, builder).succeeded == 2
    assert journal.lines("both") == ["both Cache"] * 2
    until(lambda: len(journal.lines("closed")) == 2)


# -- what the environment decides -----------------------------------------------------------------------------------


def describing(builder: ConsumerBuilder, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the children of a builder would be told."""
    from faktory.isolation import fork_client as parent

    told: list[dict[str, Any]] = []

    class Asked(Exception):
        pass

    def ask(document: dict[str, Any]) -> None:
        told.append(document)
        raise Asked

    monkeypatch.setattr(parent, "ForkServer", ask)
    with pytest.raises(Asked):
        builder.connect("tcp://localhost:1")
    return told[0]


def test_settings_of_children_hold_if_children_run_the_jobs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """15.1: as queue_classic's `setup_child` and QC_FORK_WORKER."""
    builder = (
        ConsumerBuilder()
        .register("work", jobs.work)
        .on_child_start(jobs.child_start)
        .on_child_stop(jobs.child_stop)
        .child_limits(max_jobs=50, max_rss_mb=400)
    )
    with builder.connect(server.url) as consumer:
        assert consumer.health().workers == 1  # a thread: nobody has said otherwise
    monkeypatch.setenv("FAKTORY_ISOLATION", "process")
    told = describing(builder, monkeypatch)
    assert told["start"] == ["tests.isolation.jobs:child_start"]
    assert told["stop"] == ["tests.isolation.jobs:child_stop"]
    assert (told["max_jobs"], told["max_rss_mb"]) == (50, 400)
    monkeypatch.setenv("FAKTORY_MAX_JOBS_PER_CHILD", "1")
    assert describing(builder, monkeypatch)["max_jobs"] == 1
    monkeypatch.setenv("FAKTORY_MAX_JOBS_PER_CHILD", "none")
    with pytest.raises(ConfigurationError, match="FAKTORY_MAX_JOBS_PER_CHILD must be an integer from 1 on"):
        builder.connect(server.url)


def test_the_environment_can_decide_for_threads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKTORY_ISOLATION", "thread")
    with ConsumerBuilder().register("work", lambda job: None).processes(4).connect(server.url) as consumer:
        assert consumer.health().workers == 4


# -- the app of the worker, in children -----------------------------------------------------------------------------

SHOP = """
import faktory

app = faktory.App()


@app.job
def first() -> None:
    second.enqueue()  # to the worker's server, which only its `connect` was told


@app.job
def second() -> None: ...
"""

MAIN = """
import sys

import shop


def around(ctx, call_next):
    return call_next()


def main():
    {put_together}
    with shop.app.consumer().processes(1).connect(sys.argv[1]) as consumer:
        print(consumer.drain(["default"]).succeeded)


if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("put_together", "words"),
    [
        ("pass", None),
        (
            "shop.app.use(around)",
            r"the job 'first' has middleware, on_push functions and on_retry hooks .*: around \(main.py:7\)",
        ),
        ("shop.app.manage(dict, dict)", "has managed types in the worker .*: dict"),
    ],
)
def test_children_have_the_app_of_the_worker_or_it_does_not_start(
    server: Server, tmp_path: Path, put_together: str, words: str | None
) -> None:
    """27.11: what is added in a function of the main file was missing in children, without a word."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "main.py").write_text(MAIN.format(put_together=put_together))
    with Client(server.url) as client:
        client.push(Job("first"))
    done = subprocess.run(
        [sys.executable, "main.py", server.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "FAKTORY_URL": "tcp://localhost:1"},
    )
    if words is None:
        assert done.stdout == "2\n", done.stderr
    else:
        assert done.returncode == 1
        assert re.search(words, done.stderr), done.stderr
        assert "not in a function that only the worker calls" in done.stderr
