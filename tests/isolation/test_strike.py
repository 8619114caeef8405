"""One strike: what it leaves as it was, and what is carried out where it has hit an entry.

A function is stopped at a place by a trace function in a thread of its own; then an exception is made as for a strike
that hit it there.
"""

from __future__ import annotations

import contextlib
import gc
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest

from faktory import JobTimeout
from faktory.isolation import strike
from tests.waiting import until


class Target:
    """A thread, and the run that it has in hand."""

    def __init__(self, thread_id: int) -> None:
        self.thread_id = thread_id
        self.current: object = object()


@contextlib.contextmanager
def stopped(function: Callable[[], Any], code: CodeType, event: str) -> Iterator[FrameType]:
    """Have a function run up to an event in a code; yields the frame."""
    frames: queue.SimpleQueue[FrameType] = queue.SimpleQueue()
    goes_on = threading.Event()

    def trace(frame: FrameType, what: str, _: object) -> Any:
        if frame.f_code is code and what == event:
            sys.settrace(None)
            frames.put(frame)
            goes_on.wait(10)
        return trace

    def run() -> None:
        sys.settrace(trace)
        try:
            function()
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield frames.get(timeout=10)
    finally:
        goes_on.set()
        thread.join()


def made_at(frame: FrameType) -> BaseException:
    """Return the exception that is raised by a strike that has hit a frame."""
    copies = strike._copies_of(JobTimeout("late"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faktory.isolation.strike.sys._getframe", lambda _: frame)
        return copies()


class Manager:
    """A context manager as an application writes it; counts how often it is left."""

    def __init__(self) -> None:
        self.left = 0

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None:
        self.left += 1


class Heir(Manager):
    """One whose `__exit__` is its parent's."""


def leave(manager: Manager) -> Callable[[], None]:
    return lambda: manager.__exit__(None, None, None)


@pytest.mark.parametrize("kind", [Manager, Heir])
def test_an_exit_that_is_struck_at_its_entry_is_run_all_the_same(kind: type[Manager]) -> None:
    """On Python 3.13 a strike is noticed a check later, which may be there."""
    manager = kind()
    with stopped(leave(manager), Manager.__exit__.__code__, "call") as frame:
        error = made_at(frame)
        assert (type(error).__name__, str(error)) == ("JobTimeout", "late")
        assert isinstance(error, JobTimeout)
        assert manager.left == 1


def test_an_exit_that_has_begun_is_not_run_twice() -> None:
    manager = Manager()
    with stopped(leave(manager), Manager.__exit__.__code__, "line") as frame:
        made_at(frame)
        assert manager.left == 0


def test_a_semaphore_that_is_struck_where_it_is_released_is_released() -> None:
    semaphore = threading.Semaphore(0)
    with stopped(semaphore.release, threading.Semaphore.release.__code__, "call") as frame:
        made_at(frame)
        assert semaphore.acquire(blocking=False)


def test_a_function_that_is_only_called_like_an_exit_is_not_run() -> None:
    called: list[object] = []

    def __exit__(*args: object) -> None:
        called.append(args)

    with stopped(lambda: __exit__(5), __exit__.__code__, "call") as frame:
        made_at(frame)
        assert not called


def test_a_generator_that_was_entered_is_closed() -> None:
    """Else it would hold what it holds until its traceback is dropped."""
    lock = threading.Lock()

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        with lock:
            yield

    manager = held()
    entered = strike._ENTER_GENERATOR
    assert entered is not None
    with stopped(manager.__enter__, entered, "return") as frame:
        assert lock.locked()
        made_at(frame)
        assert not lock.locked()


def test_an_exception_that_was_made_already_is_raised_as_it_is() -> None:
    """On Python 3.11 a trace function has it made before."""
    made = ValueError("made before")
    copies: Any = strike._copies_of(JobTimeout("late"))
    assert copies(made) is made


@pytest.fixture(params=[True, False], ids=["collecting", "not-collecting"])
def collects(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the program has garbage collected."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_a_strike_at_a_thread_that_has_ended_changes_nothing(collects: bool) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    target = Target(thread.ident or 0)
    assert strike.place_of(target, target.current) is None
    place = (target.current, sys._getframe(), 0)
    until(lambda: target.thread_id not in sys._current_frames())
    assert strike.strike(target, place, JobTimeout("late")) is False
    assert gc.isenabled() is collects


def test_a_strike_at_another_place_than_was_judged_does_not_happen(collects: bool) -> None:
    goes_on = threading.Event()
    thread = threading.Thread(target=goes_on.wait)
    thread.start()
    try:
        target = Target(thread.ident or 0)
        place = (target.current, sys._getframe(), 0)
        assert strike.strike(target, place, JobTimeout("late")) is False
        assert gc.isenabled() is collects
    finally:
        goes_on.set()
        thread.join()


def test_calming_down_leaves_the_collector_as_it_was(collects: bool) -> None:
    strike.calm_down([threading.get_ident()])
    assert gc.isenabled() is collects


def test_nothing_is_struck_that_was_not_entered() -> None:
    has_been_seen = False

    def outside() -> None:
        while not has_been_seen:
            pass

    thread = threading.Thread(target=outside)
    thread.start()
    target = Target(thread.ident or 0)
    place = strike.place_of(target, target.current)
    is_allowed = place is None or strike.may_be_struck(place, None)
    has_been_seen = True
    thread.join(10)
    assert not is_allowed
