"""Time limits, cut-offs, forks and odd exceptions of plain functions: nothing of a job ends or wedges its worker."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import pytest

from faktory import ConsumerBuilder, Job, JobCancelled, JobTimeout, current_job
from faktory.core.run import running
from tests.contract.conftest import Backend
from tests.contract.fronts import PATIENCE, Front, ThreadFront
from tests.loops import pause

TIMED_OUT = "the job ran past its time limit of 0.05 s"
CUT_OFF = "the worker had to stop before the job was done"


def in_time() -> Any:
    """Return a function that tells whether there is time left; a test that hangs fails."""
    limit = time.monotonic() + PATIENCE
    return lambda: time.monotonic() < limit


def spin(job: Job) -> None:
    go_on = in_time()
    while go_on():
        time.sleep(0.001)


Told = list[tuple[str, str, str | None]]


def telling(builder: ConsumerBuilder) -> Told:
    """Have `on_failure` note what it is told, and the job that it belongs to."""
    told: Told = []

    def note(job: Job, exc: BaseException) -> None:
        found = current_job()
        told.append((type(exc).__name__, str(exc), None if found is None else found.jid))

    builder.on_failure(note)
    return told


def test_a_limit_is_told_to_hooks_with_the_text_that_the_server_gets(front: Front, ours: Backend) -> None:
    """W4."""
    jid = ours.push("spin", retry=0)
    builder = ConsumerBuilder().register("spin", spin, timeout=0.05)
    told = telling(builder)
    summary = front.drain(builder, ours.url, [ours.queue])
    assert (summary.succeeded, summary.failed) == (0, 1)
    assert told == [("JobTimeout", TIMED_OUT, jid)]


@pytest.mark.slow
def test_a_job_that_is_cut_off_has_time_to_clean_up_and_counts_as_failed(front: Front, ours: Backend) -> None:
    """P6: its `finally`, what it polls, and the hooks."""
    seen: list[str] = []
    begun = threading.Event()

    def work(job: Job) -> None:
        run = running.get()
        assert run is not None
        begun.set()
        go_on = in_time()
        try:
            while go_on():
                time.sleep(0.001)
        except JobCancelled as exc:
            seen.append(str(exc))
            raise
        finally:
            seen.append(f"cancelled: {run.is_cancelled}, stopping: {run.stopping}")
            time.sleep(0.3)
            seen.append("cleaned up")

    jid = ours.push("work", retry=3)
    builder = ConsumerBuilder().register("work", work).shutdown_timeout(0.05)
    told = telling(builder)
    run = front.start(builder, ours.url, [ours.queue])
    assert begun.wait(PATIENCE)
    run.consumer.terminate()
    assert run.wait() == 0
    assert seen == [CUT_OFF, "cancelled: True, stopping: True", "cleaned up"]
    assert told == [("JobCancelled", CUT_OFF, jid)]
    assert ours.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


@pytest.mark.slow
@pytest.mark.usefixtures("brief_wind_down")
def test_a_hook_that_nothing_ends_keeps_no_failure_from_the_server(front: Front, ours: Backend) -> None:
    """27.14."""
    begun, gate = threading.Event(), threading.Event()

    def fail(job: Job) -> None:
        raise ValueError("why")

    def hold(job: Job, exc: BaseException) -> None:
        begun.set()
        gate.wait(PATIENCE)

    async def hold_on_loop(job: Job, exc: BaseException) -> None:
        begun.set()
        go_on = in_time()
        while go_on() and not gate.is_set():
            await pause(0.001)

    builder = ConsumerBuilder().register("fail", fail).shutdown_timeout(0.05)
    builder.on_failure(hold if isinstance(front, ThreadFront) else hold_on_loop)
    ours.push("fail", retry=3)
    run = front.start(builder, ours.url, [ours.queue])
    assert begun.wait(PATIENCE)
    run.consumer.terminate()
    assert run.wait() == 0
    assert ours.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}
    gate.set()


@pytest.mark.slow
@pytest.mark.usefixtures("brief_wind_down")
def test_a_job_that_nothing_ends_is_told_to_the_hooks_all_the_same(front: Front, ours: Backend) -> None:
    """P6."""
    begun, gate = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        gate.wait(PATIENCE)  # without any polling

    ours.push("work", retry=3)
    builder = ConsumerBuilder().register("work", work).shutdown_timeout(0.05)
    told = telling(builder)
    run = front.start(builder, ours.url, [ours.queue])
    assert begun.wait(PATIENCE)
    run.consumer.terminate()
    assert run.wait() == 1
    gate.set()
    assert [each[:2] for each in told] == [("JobCancelled", CUT_OFF)]
    assert ours.sets() == {"dead": 0, "retries": 1, "scheduled": 0, "working": 0}


@pytest.mark.slow
@pytest.mark.usefixtures("brief_wind_down")
def test_traced_threads_go_on_when_a_job_was_left_behind(front: Front, ours: Backend) -> None:
    """W4: on 3.11 a strike that waits to be raised holds up what a debugger or coverage traces."""
    begun, gate = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        gate.wait(PATIENCE)

    ours.push("work", retry=3)
    builder = ConsumerBuilder().register("work", work).shutdown_timeout(0.05)
    before = threading.gettrace()
    threading.settrace(lambda *args: None)
    try:
        run = front.start(builder, ours.url, [ours.queue])
        assert begun.wait(PATIENCE)
        run.consumer.terminate()
        assert run.wait() == 1
        traced = threading.Thread(target=lambda: [nothing() for nothing in [list] * 10])
        traced.start()
        traced.join(5)
        is_held_up = traced.is_alive()
    finally:
        threading.settrace(before)
        gate.set()
    traced.join(PATIENCE)
    assert not is_held_up


class OddClass(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise SystemExit("of the metaclass")


class BadName(Exception, metaclass=OddClass):
    pass


class BadClass(Exception):
    @property
    def __class__(self) -> Any:
        raise SystemExit("of __class__")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise SystemExit


class BadArgs(Exception):
    args = property(lambda self: sys.exit("of args"))


class BadTraceback(Exception):
    __traceback__ = property(lambda self: sys.exit("of __traceback__"))


class BadContext(Exception):
    __cause__ = property(lambda self: sys.exit("of __cause__"))
    __context__ = property(lambda self: sys.exit("of __context__"))
    __notes__ = property(lambda self: sys.exit("of __notes__"))


class BadAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class BadText(Exception):
    def __str__(self) -> str:
        raise SystemExit("of __str__")

    __repr__ = __str__


class Recurses(Exception):
    def __str__(self) -> str:
        return str(self)


ODD = [BadName, BadClass, BadArgs, BadTraceback, BadContext, BadAttributes, BadText, Recurses]


def test_exceptions_that_misbehave_when_looked_at_fail_their_jobs_alone(front: Front, ours: Backend) -> None:
    """W3."""
    left = list(ODD)
    lock = threading.Lock()

    def work(job: Job) -> None:
        with lock:
            odd = left.pop() if left else None
        if odd is not None:
            raise odd("no good")

    for _ in range(3 * len(ODD)):
        ours.push("work", retry=0)

    def hook(job: Job, exc: BaseException) -> None:
        raise exc

    builder = ConsumerBuilder().register("work", work).on_failure(hook).workers(2)
    summary = front.drain(builder, ours.url, [ours.queue])
    assert (summary.succeeded, summary.failed) == (2 * len(ODD), len(ODD))
    assert ours.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("place", ["handler", "hook"])
@pytest.mark.parametrize("end", ["return", "raise", "exit"])
def test_a_copy_of_the_worker_that_a_job_forks_is_no_worker(front: Front, ours: Backend, place: str, end: str) -> None:
    """W7: it ends where it comes back to us, and reports nothing."""
    codes: list[int | None] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            if end == "raise":
                raise ValueError("in the copy")
            if end == "exit":
                sys.exit(7)
            return
        go_on, found = in_time(), (0, 0)
        while not found[0] and go_on():
            found = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.005)
        codes.append(os.waitstatus_to_exitcode(found[1]) if found[0] else None)

    def work(job: Job) -> None:
        if place == "handler":
            fork()
        else:
            raise ValueError("for the hook")

    ours.push("work", retry=0)
    builder = ConsumerBuilder().register("work", work).on_failure(lambda job, exc: fork())
    summary = front.drain(builder, ours.url, [ours.queue])
    assert summary.total == 1
    assert codes == [{"return": 0, "raise": 1, "exit": 7}[end]]
    assert ours.sets() == {"dead": 0, "retries": 0, "scheduled": 0, "working": 0}


def test_a_limit_that_is_swallowed_again_and_again_ends_the_job(front: Front, ours: Backend) -> None:
    """W4: raised each second until the handler is left."""
    caught: list[float] = []

    def stubborn(job: Job) -> None:
        go_on = in_time()
        while len(caught) < 2 and go_on():
            try:
                time.sleep(0.002)
            except JobTimeout:
                caught.append(time.monotonic())

    ours.push("stubborn", retry=0)
    builder = ConsumerBuilder().register("stubborn", stubborn, timeout=0.05)
    summary = front.drain(builder, ours.url, [ours.queue])
    assert (summary.succeeded, summary.failed) == (0, 1)
    assert 0.9 < caught[1] - caught[0] < 3
