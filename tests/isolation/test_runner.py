"""The runner of a worker's child, with children that these tests play themselves."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from faktory import JobCancelled
from faktory.core.backoff import Backoff
from faktory.core.chain import Skipped
from faktory.core.failure import ReportedFailure
from faktory.isolation import runner as module
from faktory.isolation.fork_client import ChildProcess
from faktory.isolation.frames import DONE, DUMP, JOB, SOFT_LIMIT, Answer
from faktory.isolation.runner import ChildRunner
from faktory.isolation.starts import Starts

FOR_EVER = 3600.0


class Child:
    """A child, and what its runner has of it."""

    def __init__(self, number: int, signals: Callable[[Child, int], None]) -> None:
        ours, self.socket = socket.socketpair()
        self.signals: list[int] = []
        self._obey = signals
        self.process = ChildProcess(number, ours, self._signal)
        self.process.pid = 4_000_000 + number  # no process has it

    def _signal(self, _number: int, signum: int) -> None:
        self.signals.append(signum)
        self._obey(self, signum)

    def say(self, answer: Answer, payload: bytes = b"", *, is_last: bool = False) -> None:
        self.socket.sendall(DONE.pack(answer, is_last, len(payload)) + payload)

    def job(self) -> bytes:
        """Return the next job that it is given."""
        _, length = JOB.unpack(self.socket.recv(JOB.size, socket.MSG_WAITALL))
        return self.socket.recv(length, socket.MSG_WAITALL)

    def end(self, code: int) -> None:
        """End, as the fork server tells of it."""
        self.process.note_end(code)
        self.process.tail_is_whole.set()


class Nursery:
    """Stands in for the fork server. Children end when they are killed."""

    def __init__(self, backoff: Backoff) -> None:
        self.starts = Starts(backoff)
        self.is_closing = False
        self.buries = True
        self.children: list[Child] = []
        self.ends: list[str] = []
        self.cut: list[int] = []
        self.replaced = 0
        self.error: OSError | None = None
        self.obey: Callable[[Child, int], None] = lambda child, signum: None
        self._numbers = count(1)

    def fork(self) -> ChildProcess:
        if self.error is not None:
            raise self.error
        self.children.append(Child(next(self._numbers), self._obey))
        return self.children[-1].process

    def _obey(self, child: Child, signum: int) -> None:
        self.obey(child, signum)
        if self.buries and signum == signal.SIGKILL and not child.process.has_ended.is_set():
            child.end(-signum)

    def note_end(self, reason: str) -> None:
        self.ends.append(reason)

    def cut_off(self, child: ChildProcess) -> None:
        self.cut.append(child.number)

    def replace(self) -> None:
        self.replaced += 1


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery(Backoff(first=0.001, limit=0.001))
    yield nursery
    for child in nursery.children:
        child.socket.close()
        child.process.jobs.close()


@pytest.fixture
def runner(nursery: Nursery) -> ChildRunner:
    return runner_of(nursery)


def runner_of(nursery: Any) -> ChildRunner:
    return ChildRunner(nursery)


@pytest.fixture
def child(nursery: Nursery, runner: ChildRunner) -> Child:
    """A child that is ready."""
    assert not runner.make_ready()
    (child,) = nursery.children
    child.say(Answer.READY)
    assert runner.make_ready()
    return child


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that these children never do is waited for."""
    for name in ("CHILD_START_LIMIT", "STACK_PATIENCE", "KILL_GRACE"):
        monkeypatch.setattr(module, name, 0.001)


# -- starts -----------------------------------------------------------------------------------------------------------


def test_a_child_that_has_ended_before_it_was_ready_puts_the_next_one_off(
    nursery: Nursery, runner: ChildRunner
) -> None:
    runner.make_ready()
    nursery.children[0].end(3)
    assert not runner.make_ready()
    assert nursery.ends == ["start"]
    assert nursery.starts.rounds == 1
    assert "ended with exit code 3 while it started" in nursery.starts.reason


def test_a_child_that_was_ready_and_has_ended_since_is_replaced_at_once(nursery: Nursery, runner: ChildRunner) -> None:
    runner.make_ready()
    nursery.children[0].say(Answer.READY)
    nursery.children[0].end(-9)
    assert not runner.make_ready()
    assert nursery.ends == []
    assert nursery.starts.rounds == 0
    assert len(nursery.children) == 2


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("pid", [0, 4_000_001])
def test_a_child_that_does_not_start_in_time_is_killed_after_its_stacks(
    nursery: Nursery, runner: ChildRunner, pid: int
) -> None:
    """One that nobody has told of hangs in the fork server, which is replaced."""
    runner.make_ready()
    (child,) = nursery.children
    child.process.pid = pid
    runner.await_start()
    assert child.signals == [DUMP, signal.SIGKILL]
    assert nursery.replaced == (pid == 0)
    assert "did not start within" in nursery.starts.reason


def test_what_ends_while_the_worker_ends_is_no_failed_start(nursery: Nursery, runner: ChildRunner) -> None:
    runner.make_ready()
    runner.cancel()
    nursery.children[0].end(-9)
    assert not runner.make_ready()
    assert nursery.ends == []
    assert nursery.starts.rounds == 0
    assert len(nursery.children) == 1


# -- jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_whose_reservation_is_over_before_a_child_could_start_has_crashed(
    nursery: Nursery, runner: ChildRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = count(0.0, 0.3)
    monkeypatch.setattr(module, "monotonic", lambda: next(moments))
    nursery.error = OSError(24, "Too many open files")
    with pytest.raises(ReportedFailure) as caught:
        runner.run(b"{}", FOR_EVER, 2.0)
    assert caught.value.report.errtype == "JobCrashed"
    assert "could be started in its time: cannot start a child process" in caught.value.report.message
    assert "Too many open files" in caught.value.report.message


def test_ctrl_c_ends_the_child_whose_job_nobody_waits_for_any_more(
    nursery: Nursery, runner: ChildRunner, child: Child
) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        assert child.job() == b"{}"
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        runner.run(b"{}", FOR_EVER, FOR_EVER)
    thread.join()
    assert child.signals == [signal.SIGKILL]
    assert not runner.is_ready()


def test_an_answer_that_came_before_the_child_was_killed_counts(
    nursery: Nursery, runner: ChildRunner, child: Child, impatient: None
) -> None:
    def answer_late(child: Child, signum: int) -> None:
        if signum == DUMP:
            child.say(Answer.SKIPPED, json.dumps({"by": "the middleware"}).encode())

    nursery.obey = answer_late
    skipped = runner.run(b"{}", 0.001, FOR_EVER)
    assert skipped == Skipped("the middleware")
    assert SOFT_LIMIT in child.signals
    assert child.signals[-2:] == [DUMP, signal.SIGKILL]
    assert len(nursery.children) == 2  # the next one is on its way


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),  # of those for real time, which have no names
        (-signal.SIGKILL, "was killed by SIGKILL (as the kernel does when memory runs out)"),
        (7, "ended with exit code 7"),
    ],
)
def test_how_a_child_ended_is_said_of_its_job(runner: ChildRunner, child: Child, code: int, words: str) -> None:
    def crash() -> None:
        child.job()
        child.process.tail.append("my last words")
        child.end(code)

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(ReportedFailure) as caught:
        runner.run(b"{}", FOR_EVER, FOR_EVER)
    thread.join()
    assert caught.value.report.message == f"the child process {child.process.pid} {words}; it said last: my last words"


def test_stacks_are_asked_of_a_child_if_there_is_one(nursery: Nursery, runner: ChildRunner) -> None:
    assert runner.dump_stacks() == 0
    runner.make_ready()
    (child,) = nursery.children
    assert runner.dump_stacks() == child.process.pid
    assert child.signals == [DUMP]


# -- the end ----------------------------------------------------------------------------------------------------------


def test_who_was_cut_off_without_a_child_starts_none(nursery: Nursery, runner: ChildRunner) -> None:
    runner.cancel()
    assert runner.is_cancelled
    with pytest.raises(JobCancelled):
        runner.run(b"{}", 1.0, 1.0)
    assert (nursery.children, nursery.cut) == ([], [])


def test_a_job_that_waits_for_a_child_is_cut_off_at_once() -> None:
    nursery = Nursery(Backoff(first=FOR_EVER, limit=FOR_EVER))
    nursery.error = OSError(24, "Too many open files")
    runner = runner_of(nursery)
    threading.Timer(0.02, runner.cancel).start()
    with pytest.raises(JobCancelled):
        runner.run(b"{}", FOR_EVER, 3.0)


def test_a_job_that_is_cut_off_before_its_child_has_it_is_not_handed_over(
    nursery: Nursery, runner: ChildRunner, child: Child
) -> None:
    runner.cancel()
    assert nursery.cut == [child.process.number]
    with pytest.raises(JobCancelled):
        runner.run(b"{}", 1.0, FOR_EVER)
    assert child.socket.recv(1) == b""  # the end, and no job


def test_a_job_that_is_cut_off_past_its_limit_was_cut_off(
    nursery: Nursery, runner: ChildRunner, child: Child, impatient: None
) -> None:
    nursery.obey = lambda child, signum: runner.cancel() if signum == DUMP else None
    with pytest.raises(JobCancelled):
        runner.run(b"{}", 0.001, FOR_EVER)
    assert len(nursery.children) == 1


def test_after_the_last_job_of_a_worker_that_ends_no_child_is_started(
    nursery: Nursery, runner: ChildRunner, child: Child
) -> None:
    def answer() -> None:
        child.job()
        runner.cancel()
        child.say(Answer.SUCCEEDED, is_last=True)

    thread = threading.Thread(target=answer)
    thread.start()
    assert runner.run(b"{}", FOR_EVER, FOR_EVER) is None
    thread.join()
    assert nursery.ends == ["limit"]
    assert len(nursery.children) == 1


def test_a_child_that_nobody_buries_is_told_of_and_left(
    nursery: Nursery,
    runner: ChildRunner,
    child: Child,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KILL_PATIENCE", 0.001)
    nursery.buries = False
    child.process.pid = 0
    with caplog.at_level(logging.ERROR), pytest.raises(ReportedFailure, match="ran past its time limit"):
        runner.run(b"{}", 0.001, FOR_EVER)
    assert "the child process 0 was killed, and nobody tells that it is gone; going on" in caplog.text
