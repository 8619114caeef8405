"""Time limits in threads: raised soon, again while they are swallowed, and never outside the handler."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job, JobTimeout
from faktory.isolation import enter, interrupter, strike, threads
from faktory.server import Server
from tests.share import share_of
from tests.waiting import until


class Thread:
    """A target: a thread that runs a function as a consumer runs a handler."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.thread_id = 0
        self.current: object = object()
        self.caught: BaseException | None = None
        self.outside: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._live, name="target")

    def start(self) -> object:
        run = self.current
        self._thread.start()
        return run

    def _live(self) -> None:
        self.thread_id = threading.get_ident()
        try:
            try:
                enter(lambda _: self._function(), None)
            except BaseException as exc:
                self.caught = exc
            self.current = None
            interrupter.take_back(self.thread_id)
            for _ in range(1000):
                time.sleep(0)
        except BaseException as exc:
            self.outside = exc

    def join(self, seconds: float = 10.0) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it was not interrupted"
        assert self.outside is None


@pytest.fixture(autouse=True)
def _interrupter() -> Iterator[None]:
    interrupter.start()
    yield
    interrupter.stop()


def interrupted(function: Callable[[], Any]) -> BaseException | None:
    """Run a function in a thread, interrupt it, and return what it ended with."""
    target = Thread(function)
    run = target.start()
    interrupter.request(target, run, JobTimeout("late"))
    target.join()
    return target.caught


def forever(step: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        while True:
            step()

    return run


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


class Holding:
    """A context manager as an application writes it."""

    def __enter__(self) -> None:
        LOCK.acquire()

    def __exit__(self, *exc_info: object) -> None:
        LOCK.release()


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


def test_an_exit_that_is_struck_at_its_entry_is_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python 3.13 a strike is noticed a check later, which may be there."""
    manager = Holding()
    manager.__enter__()
    made: list[BaseException] = []

    def enter_exit(frame: FrameType, *_: object) -> None:
        if not made and frame.f_code is Holding.__exit__.__code__:
            sys.settrace(None)
            monkeypatch.setattr("faktory.isolation.strike.sys._getframe", lambda _: frame)
            made.append(strike._copies_of(JobTimeout("late"))())
            monkeypatch.undo()

    before = sys.gettrace()
    sys.settrace(enter_exit)
    try:
        with contextlib.suppress(RuntimeError):  # it was released already
            manager.__exit__(None, None, None)
    finally:
        sys.settrace(before)
    assert [str(error) for error in made] == ["late"]
    assert not LOCK.locked()


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


def test_a_strike_waits_for_its_thread_to_enter_the_handler() -> None:
    target = Thread(forever(lambda: None))
    interrupter.request(target, target.current, JobTimeout("late"))
    time.sleep(0.02)
    target.start()
    target.join()
    assert type(target.caught) is JobTimeout


def test_nothing_is_struck_that_was_not_entered() -> None:
    has_been_seen = False

    def outside() -> None:
        while not has_been_seen:
            pass

    thread = threading.Thread(target=outside)
    thread.start()
    target = Thread(lambda: None)
    target.thread_id = thread.ident or 0
    place = strike.place_of(target, target.current)
    is_allowed = place is None or strike.may_be_struck(place, None)
    has_been_seen = True
    thread.join(10)
    assert not is_allowed


def test_a_handler_that_logs_is_never_struck_within_logging(tmp_path: Any) -> None:
    log = logging.getLogger("tests.struck")
    handler = logging.FileHandler(tmp_path / "log")
    log.addHandler(handler)
    log.propagate = False

    def spin_and_log() -> None:
        sum(range(2000))
        log.warning("x")

    try:
        for _ in range(4):
            target = Thread(forever(spin_and_log))
            run = target.start()
            interrupter.request(target, run, JobTimeout("late"))
            target.join()
            assert type(target.caught) is JobTimeout
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
