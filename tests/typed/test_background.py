"""`faktory.typed.background`: jobs run in threads of this process, each at its time, and the end waits for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from faktory import ConfigurationError, Job
from faktory.typed.background import THREADS, Background, in_thread


class Work:
    """Runs jobs by their types, and notes them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.changed = threading.Condition()
        self.release = threading.Event()

    def __call__(self, job: Job) -> None:
        with self.changed:
            self.seen.append(job.jobtype)
            self.threads.add(threading.current_thread())
            self.changed.notify_all()
        if job.jobtype == "slow":
            self.release.wait(20)
        if job.jobtype == "bad":
            raise SystemExit("no")

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= count, 20)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.release.set()


def test_jobs_run_at_once_and_in_parallel(work: Work) -> None:
    background = Background(work)
    for _ in range(THREADS + 1):
        background.push(Job("slow"))
    work.wait_for(THREADS)
    assert len(work.seen) == THREADS  # one more waits for its turn
    work.release.set()
    work.wait_for(THREADS + 1)
    background.close(20)


def test_an_idle_thread_takes_the_next_job(work: Work) -> None:
    background = Background(work)
    for n in range(5):
        background.push(Job("quick"))
        work.wait_for(n + 1)
    background.close(20)
    assert len(work.threads) <= 2


def test_a_delay_is_kept(work: Work) -> None:
    background = Background(work)
    started = time.monotonic()
    background.push(Job("later", at=0.1))
    background.push(Job("now"))
    work.wait_for(2)
    assert work.seen == ["now", "later"]
    assert time.monotonic() - started >= 0.09
    background.close(20)


def test_a_job_that_fails_is_logged_and_ends_no_thread(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    background = Background(work)
    background.push(Job("bad", ["secret"]))
    background.push(Job("quick"))
    background.close(20)
    assert sorted(work.seen) == ["bad", "quick"]
    assert "('bad') failed, and is not run again in this mode" in caplog.text


def test_the_end_waits_for_what_runs_but_not_for_ever(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    background = Background(work)
    background.push(Job("slow"))
    work.wait_for(1)
    background.push(Job("later", at=3600))
    background.close(0.05)
    assert "ended with 1 jobs still running and 1 not begun" in caplog.text
    with pytest.raises(ConfigurationError, match="came too late"):
        background.push(Job("late"))
    work.release.set()
    for thread in work.threads:
        thread.join(20)
        assert not thread.is_alive()
    assert work.seen == ["slow"]


def test_a_blocking_call_is_awaited_in_a_thread() -> None:
    async def main() -> int:
        return await in_thread(threading.get_ident)

    assert asyncio.run(main()) != threading.get_ident()
    trio = pytest.importorskip("trio")
    assert trio.run(main) != threading.get_ident()


# -- the end of the program -----------------------------------------------------------------------------------------


def test_without_a_thread_a_job_is_run_here_or_refused(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """P19: in a process out of threads."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    background = Background(work)
    background.push(Job("quick"))
    background.push(Job("bad"))
    assert work.seen == ["quick", "bad"]
    with pytest.raises(ConfigurationError, match="'late' is due in 60 s"):
        background.push(Job("late", at=60))
    background.close(20)
    assert work.seen == ["quick", "bad"]


def test_threads_that_are_there_go_on_where_no_more_can_be_started(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    background = Background(work)
    background.push(Job("quick"))
    work.wait_for(1)

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    background.push(Job("slow"))
    work.wait_for(2)
    background.push(Job("quick"))  # must wait for the one thread
    assert len(work.seen) == 2
    work.release.set()
    background.close(20)
    assert work.seen == ["quick", "slow", "quick"]


AT_THE_END = """
import atexit, sys, threading
import faktory
def add():
    work.enqueue()
    try:
        work.enqueue_in(60)
    except faktory.ConfigurationError:
        print("refused")
if sys.argv[1] == "atexit":
    atexit.register(add)
elif sys.argv[1] == "thread":
    def later():
        threading.main_thread().join()
        add()
    threading.Thread(target=later).start()
app = faktory.App(mode="background")
@app.job
def work() -> None:
    print("ran", flush=True)
if sys.argv[1] == "after others":
    atexit.register(add)  # before the end that the first push registers, so run after it
    work.enqueue()
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["atexit", "thread", "after others"])
def test_a_job_that_is_added_at_the_end_is_run_or_refused(when: str) -> None:
    """P19: nothing is lost without a word, on no version of Python."""
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, when], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["ran"] * (2 if when == "after others" else 1) + ["refused"]
