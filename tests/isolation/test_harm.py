"""Where an exception out of nowhere does no harm: by the frames of a thread."""

from __future__ import annotations

import concurrent.futures
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import faktory
from faktory.isolation.harm import entry_of, is_at_work, may_raise_at
from tests.waiting import until


def frame_within(*filenames: str) -> FrameType:
    """Return the innermost frame of functions that seem to stand in these files, each called by the one before."""
    found: list[FrameType] = []

    def look() -> None:
        found.append(sys._getframe(1))

    call: Callable[[], None] = look
    for filename in reversed(filenames):
        names = {"inner": call}
        exec(compile("def call():\n    inner()\n", filename, "exec"), names)  # its file name is what counts
        call = names["call"]
    call()
    return found[0]


USER, LOGGING, IMPORT = "/srv/jobs.py", logging.__file__, "<frozen importlib._bootstrap>"


@pytest.mark.parametrize(
    ("filenames", "is_harmless", "is_harmless_while_logging"),
    [
        ([USER], True, True),
        ([USER, "/srv/other.py"], True, True),
        ([USER, LOGGING], False, True),
        ([LOGGING, USER], False, True),  # a filter, or the text of an argument
        ([USER, IMPORT, USER], False, False),
        ([IMPORT], False, False),
        ([USER, queue.__file__], False, True),
        ([queue.__file__, USER], True, True),
        ([USER, threading.__file__], False, True),
        ([USER, concurrent.futures._base.__file__], False, True),
        ([USER, faktory.__file__], False, True),
        ([faktory.__file__, USER], True, True),
    ],
)
def test_code_that_takes_locks_by_hand_is_not_interrupted(
    filenames: list[str], is_harmless: bool, is_harmless_while_logging: bool
) -> None:
    """C8."""
    frame = frame_within(*filenames)
    assert may_raise_at(frame) is is_harmless
    assert may_raise_at(frame, is_logging=True) is is_harmless_while_logging


def test_no_frame_is_no_place() -> None:
    assert not may_raise_at(None)


@pytest.mark.parametrize("wait", ["event", "queue", "join", "timeout"])
def test_what_waits_may_be_interrupted(wait: str) -> None:
    """C8."""
    go_on = threading.Event()
    numbers: queue.Queue[int] = queue.Queue()
    helper = threading.Thread(target=go_on.wait)
    helper.start()
    waits: dict[str, Callable[[], object]] = {
        "event": go_on.wait,
        "queue": numbers.get,
        "join": helper.join,
        "timeout": lambda: go_on.wait(20),
    }
    thread = threading.Thread(target=waits[wait])
    thread.start()

    def is_harmless() -> bool:
        return thread.ident is not None and may_raise_at(sys._current_frames().get(thread.ident))

    until(is_harmless)
    time.sleep(0.02)
    assert is_harmless()  # all the time
    go_on.set()
    numbers.put(1)
    thread.join()
    helper.join()


def test_an_exit_may_begin_before_it_is_interrupted() -> None:
    class Manager:
        def __exit__(self, *exc_info: object) -> None:
            frames.append(sys._getframe())

    frames: list[FrameType] = []
    Manager().__exit__()
    code = frames[0].f_code
    assert is_at_work(code, entry_of(code))
    assert not is_at_work(code, frames[0].f_lasti)
    assert not is_at_work(until.__code__, entry_of(until.__code__))


def test_a_finalizer_is_not_interrupted_as_nobody_would_hear_of_it() -> None:
    class Dropped:
        def __del__(self) -> None:
            found.append(may_raise_at(sys._getframe()))

    found: list[bool] = []
    Dropped()
    assert found == [False]


def test_what_traces_code_that_keeps_locks_is_part_of_it() -> None:
    numbers: queue.Queue[int] = queue.Queue()
    found: dict[bool, set[bool]] = {True: set(), False: set()}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event != "call":
            found[frame.f_code.co_filename == queue.__file__].add(may_raise_at(sys._getframe()))
        return trace

    def user() -> None:
        numbers.put(1)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        user()
    finally:
        sys.settrace(before)
    assert found == {True: {False}, False: {True, False}}  # False in the locks that the queue takes
