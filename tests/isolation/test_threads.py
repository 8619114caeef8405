"""Time limits in threads: raised soon, again while they are swallowed, and never outside the handler."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job, JobTimeout
from faktory.isolation import forget_interrupt, interrupt_thread, interrupter, strike, threads
from faktory.isolation.harm import entry_of
from faktory.server import Server
from tests.isolation.targets import Thread, forever, interrupted
from tests.share import share_of
from tests.waiting import until


@pytest.fixture(autouse=True)
def _interrupter() -> Iterator[None]:
    interrupter.start()
    yield
    interrupter.stop()


EVENT, QUEUE, CONDITION, FUTURE = threading.Event(), queue.Queue[int](), threading.Condition(), Future[int]()
SEMAPHORE = threading.Semaphore()
LOCK = threading.Lock()


def wait_for_future() -> None:
    with contextlib.suppress(TimeoutError):
        FUTURE.result(0.01)


def wait_for_queue() -> None:
    with contextlib.suppress(queue.Empty):
        QUEUE.get(timeout=0.01)


def wait_for_condition() -> None:
    with CONDITION:
        CONDITION.wait(0.01)


def hold_semaphore() -> None:
    with SEMAPHORE:
        sum(range(1000))


def hold_on_stack() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(LOCK)
        stack.callback(lambda: sum(range(1000)))
        for _ in range(1000):
            sum(range(10))


@contextlib.contextmanager
def held() -> Iterator[None]:
    with LOCK:
        yield


def hold_in_generator() -> None:
    with held():
        for _ in range(100):
            sum(range(10))


def spin_in_except() -> None:
    try:
        raise ValueError
    except ValueError:
        while True:
            time.sleep(0)


def trace(*_: object) -> Any:
    sum(range(20))
    return trace


def spin_while_traced() -> None:
    sys.settrace(trace)
    while True:
        hold_briefly()
        for _ in range(20):
            sum(range(1000))


def hold_briefly() -> None:
    with SEMAPHORE:
        pass


WAITS: dict[str, Callable[[], Any]] = {
    "spin": lambda: None,
    "sleep": lambda: time.sleep(0.005),
    "event": lambda: EVENT.wait(0.01),
    "queue": wait_for_queue,
    "condition": wait_for_condition,
    "future": wait_for_future,
    "semaphore": hold_semaphore,
    "stack": hold_on_stack,
    "generator": hold_in_generator,
    "except": spin_in_except,
    "trace": spin_while_traced,
}


@pytest.mark.parametrize("step", WAITS.values(), ids=WAITS)
def test_what_polls_is_struck_wherever_it_waits(step: Callable[[], Any]) -> None:
    for _ in range(5):
        caught = interrupted(forever(step))
        assert type(caught) is JobTimeout
        assert str(caught) == "late"
    assert not LOCK.locked()
    assert SEMAPHORE.acquire(timeout=5)
    SEMAPHORE.release()
    with CONDITION, QUEUE.mutex:
        assert not CONDITION._waiters  # type: ignore[attr-defined]
        assert not QUEUE.not_empty._waiters  # type: ignore[attr-defined]


def test_a_limit_that_is_swallowed_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faktory.isolation.threads.AGAIN", 0.02)
    caught: list[str] = []

    def swallow() -> None:
        while len(caught) < 3:
            try:
                while True:
                    time.sleep(0.001)
            except Exception as exc:
                caught.append(str(exc))

    assert interrupted(swallow) is None
    assert caught == ["late", "late", "late"]


def test_several_are_struck_one_after_another() -> None:
    targets = [Thread(forever(lambda: time.sleep(0.002))) for _ in range(8)]
    runs = [target.start() for target in targets]
    asked = time.monotonic()
    for target, run in zip(targets, runs, strict=True):
        interrupter.request(target, run, JobTimeout("late"))
    for target in targets:
        target.join()
        assert type(target.caught) is JobTimeout
    assert time.monotonic() - asked < 0.5 * len(targets) * threads.AGAIN


@pytest.fixture
def strikes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When somebody was struck."""
    moments: list[float] = []
    real = strike.strike

    def counted(*args: Any) -> bool:
        is_struck = real(*args)
        if is_struck:
            moments.append(time.monotonic())
        return is_struck

    monkeypatch.setattr(strike, "strike", counted)
    return moments


@pytest.fixture
def gate() -> Iterator[threading.Lock]:
    """A lock that is taken; who waits for it hears of nothing."""
    gate = threading.Lock()
    gate.acquire()
    yield gate
    assert not gate.locked()


def pass_through(gate: threading.Lock) -> Callable[[], None]:
    def wait() -> None:
        with gate:
            time.sleep(0)

    return wait


def test_one_that_is_blocked_in_c_keeps_nobody_from_being_struck(strikes: list[float], gate: threading.Lock) -> None:
    blocked, other = Thread(pass_through(gate)), Thread(forever(lambda: time.sleep(0.002)))
    try:
        interrupter.request(blocked, blocked.start(), JobTimeout("late"))
        until(lambda: strikes)
        asked = time.monotonic()
        interrupter.request(other, other.start(), JobTimeout("late"))
        other.join()
        assert time.monotonic() - asked < 0.5 * threads.AGAIN
        assert type(other.caught) is JobTimeout
    finally:
        gate.release()
    blocked.join()


@pytest.mark.parametrize(
    "is_traced",
    [False, pytest.param(True, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="it must be let go there"))],
)
def test_one_that_is_blocked_in_c_alone_is_struck_once_a_second(
    strikes: list[float], gate: threading.Lock, is_traced: bool
) -> None:
    """Struck again and again it would cost a processor's time until it comes back."""
    blocked = Thread(pass_through(gate))
    before = threading.gettrace()
    threading.settrace((lambda *_: None) if is_traced else None)
    try:
        interrupter.request(blocked, blocked.start(), JobTimeout("late"))
        until(lambda: strikes)
        time.sleep(10 * threads.TURN)
        assert len(strikes) == 1
    finally:
        threading.settrace(before)
        gate.release()
    blocked.join()
    assert type(blocked.caught) is JobTimeout


def test_several_that_are_blocked_in_c_take_turns(strikes: list[float], gate: threading.Lock) -> None:
    """Each has a while to raise its own; let go at once, it might never get so far on a busy machine."""
    targets = [Thread(pass_through(gate)) for _ in range(2)]
    runs = [target.start() for target in targets]
    try:
        for target, run in zip(targets, runs, strict=True):
            interrupter.request(target, run, JobTimeout("late"))
        until(lambda: len(strikes) >= 2)
        began = len(strikes)
        time.sleep(10 * threads.TURN)
        assert len(strikes) - began < 20
    finally:
        gate.release()
    for target in targets:
        target.join()


def test_who_is_always_found_where_nothing_may_be_raised_is_looked_at_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's lock then changes hands at other moments; the program has its own interval again afterwards."""
    before = sys.getswitchinterval()
    real = strike.may_be_struck
    monkeypatch.setattr(threads, "LAST_DELAY", threads.FIRST_DELAY)
    monkeypatch.setattr(strike, "may_be_struck", lambda *args: sys.getswitchinterval() < before / 2 and real(*args))
    assert type(interrupted(forever(lambda: None))) is JobTimeout
    until(lambda: sys.getswitchinterval() == before)


def test_a_close_look_leaves_an_interval_alone_that_the_program_has_set_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sys.getswitchinterval()
    monkeypatch.setattr(threads, "LAST_DELAY", threads.FIRST_DELAY)
    has_looked = threading.Event()

    def set_own(*_: object) -> bool:
        if sys.getswitchinterval() < before / 2:
            sys.setswitchinterval(0.75 * before)
            has_looked.set()
        return False

    monkeypatch.setattr(strike, "may_be_struck", set_own)
    target = Thread(forever(lambda: None))
    interrupter.request(target, target.start(), JobTimeout("late"))
    try:
        assert has_looked.wait(10)
        monkeypatch.undo()
        target.join()
        assert sys.getswitchinterval() == pytest.approx(0.75 * before)
    finally:
        sys.setswitchinterval(before)


def test_a_look_that_fails_is_logged_and_done_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "AGAIN", 0.02)
    real = strike.place_of
    looks: list[object] = []

    def fail_first(*args: Any) -> Any:
        looks.append(args)
        if len(looks) == 1:
            raise RuntimeError("a mistake of ours")
        return real(*args)

    monkeypatch.setattr(strike, "place_of", fail_first)
    assert type(interrupted(forever(lambda: None))) is JobTimeout
    until(lambda: "a job could not be interrupted; trying again" in caplog.text)
    assert "RuntimeError: a mistake of ours" in caplog.text


def test_one_that_has_moved_on_since_it_was_looked_at_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = strike.strike
    tries: list[object] = []

    def miss_first(*args: Any) -> bool:
        tries.append(args)
        return len(tries) > 1 and real(*args)

    monkeypatch.setattr(strike, "strike", miss_first)
    began = time.monotonic()
    assert type(interrupted(forever(lambda: None))) is JobTimeout
    assert time.monotonic() - began < 0.5 * threads.AGAIN


def test_nobody_looks_for_a_thread_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler was never left: that is so when the process ends, say."""
    looked: list[object] = []
    real = strike.place_of

    def noted(target: Any, run: object) -> Any:
        looked.append(target)
        return real(target, run)

    monkeypatch.setattr(strike, "place_of", noted)
    ended = Thread(lambda: None)
    ended.start()
    ended.join()
    ended.current = run = object()
    interrupter.request(ended, run, JobTimeout("late"))
    until(lambda: looked)
    assert type(interrupted(forever(lambda: None))) is JobTimeout
    assert looked.count(ended) == 1


def test_a_fork_has_a_thread_of_its_own_that_strikes() -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            interrupter.stop()  # what has ended with the fork is none of the child's
            interrupter.start()
            code = 0 if type(interrupted(forever(lambda: None))) is JobTimeout else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_handler_that_outlives_the_last_consumer_takes_back_what_it_has_not_raised(gate: threading.Lock) -> None:
    blocked = Thread(pass_through(gate))
    run = blocked.start()
    try:
        interrupter.request(blocked, run, JobTimeout("late"))
        until(lambda: blocked.thread_id)
        interrupter.stop()
    finally:
        gate.release()
    blocked.join()
    interrupter.start()


def test_what_is_no_handler_is_interrupted_wherever_it_is() -> None:
    """As the test kit does with a test that lasts too long; what comes too late is forgotten."""
    caught: list[type[BaseException]] = []
    is_running = threading.Event()

    def spin() -> None:
        try:
            is_running.set()
            while True:
                pass
        except KeyError as exc:
            caught.append(type(exc))
        forget_interrupt()
        for _ in range(1000):
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    assert is_running.wait(10)
    interrupt_thread(thread.ident or 0, KeyError)
    thread.join(10)
    assert caught == [KeyError]


def test_a_strike_waits_for_its_thread_to_enter_the_handler() -> None:
    target = Thread(forever(lambda: None))
    interrupter.request(target, target.current, JobTimeout("late"))
    time.sleep(0.02)
    target.start()
    target.join()
    assert type(target.caught) is JobTimeout


@pytest.mark.slow
def test_a_handler_that_logs_is_never_struck_within_logging(tmp_path: Any) -> None:
    log = logging.getLogger("tests.struck")
    handler = logging.FileHandler(tmp_path / "log")
    log.addHandler(handler)
    log.propagate = False

    def spin_and_log() -> None:
        sum(range(2000))
        log.warning("x")

    try:
        for _ in range(share_of(4)):
            target = Thread(forever(spin_and_log))
            run = target.start()
            interrupter.request(target, run, JobTimeout("late"))
            target.join(14)
            assert type(target.caught) is JobTimeout
            # At the entry of a function of logging it may be: nothing of that has been run yet.
            within = [
                (frame.f_code.co_qualname, line)
                for frame, line in walk_tb(target.caught.__traceback__)
                if Path(frame.f_code.co_filename).parent == Path(logging.__file__).parent
                and frame.f_lasti > entry_of(frame.f_code)
            ]
            assert within == []
            assert handler.lock is not None
            assert handler.lock.acquire(timeout=5)
            handler.lock.release()
    finally:
        log.removeHandler(handler)
        handler.close()


def test_a_limit_that_strikes_at_the_end_of_a_job_never_hits_the_worker(server: Server, client: Client) -> None:
    """Jobs that end just when their limit does: each is done or failed, and the worker lives."""
    done: list[str] = []

    def spin(job: Job) -> None:
        limit = time.monotonic() + 0.01
        while time.monotonic() < limit:
            pass
        done.append(job.jid)

    jobs = share_of(100)
    client.push_bulk(Job("spin", [n], retry=0) for n in range(jobs))
    builder = ConsumerBuilder().register("spin", spin, timeout=0.0101).workers(2)
    with builder.connect(server.url) as consumer:
        summary = consumer.drain(["default"])
    assert summary.total == jobs
    assert summary.succeeded <= len(done)
    assert len(server.working) == 0


def test_who_waits_only_for_moments_is_interrupted_too(server: Server, client: Client) -> None:
    """W4: found waiting, it is looked at again at once, before it waits for something else."""
    never = threading.Event()
    took: list[float] = []

    def poll(job: Job) -> None:
        started = time.monotonic()
        try:
            while not never.wait(0.002):
                pass
        finally:
            took.append(time.monotonic() - started)

    client.push_bulk(Job("poll", retry=3) for _ in range(8))
    with ConsumerBuilder().register("poll", poll, timeout=0.05).workers(2).connect(server.url) as consumer:
        for _ in range(8):
            assert consumer.run_one(["default"])
    assert len(took) == 8
    assert max(took) < 3.0, took
    assert len(server.retries) == 8
