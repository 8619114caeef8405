"""Signals in `run_to_completion`: which are taken, and what each one asks for. For every front end.

The signal handler itself only notes the signal and its moment (`taking`); what it means is a pure decision (`Signals`),
made where the consumer waits.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from types import FrameType
from typing import Any, Final

from ..options import SECOND_SIGNAL
from .launch import launch
from .ticking import monotonic

log: logging.Logger = logging.getLogger("faktory.signals")

_ENDING: Final = ("SIGTERM", "SIGINT", "SIGHUP")
_HANDLED: Final = (*_ENDING, "SIGTSTP", "SIGTTIN")

Note = Callable[[int, float], None]
"""Called with a signal's number and its moment in monotonic seconds."""


class Wish(Enum):
    """What a signal asks a consumer for."""

    TERMINATE = auto()
    FORCE = auto()
    QUIET = auto()
    DUMP = auto()
    """Log the stacks."""
    NOTHING = auto()


class Signals:
    """What the signals of one process mean. Pure: moments are monotonic seconds, of when a signal came."""

    __slots__ = ("_first_at", "forced_by")

    def __init__(self) -> None:
        self.forced_by: int = 0
        """The number of the signal that ended it at once; 0 before."""
        self._first_at: float | None = None

    def meaning(self, signum: int, at: float) -> Wish:
        """Return what a signal asks for.

        The first of TERM, INT and HUP terminates, and another ends at once when it comes at least a second later: a
        wrapper and its process group send the same signal twice in a moment (`timeout`, shells, `uv run`), and they
        mean one.
        """
        name = signal.Signals(signum).name
        if name == "SIGTTIN":
            return Wish.DUMP
        if name == "SIGTSTP":
            return Wish.QUIET
        if self._first_at is None:
            self._first_at = at
            return Wish.TERMINATE
        if at - self._first_at < SECOND_SIGNAL:
            return Wish.NOTHING
        self.forced_by = self.forced_by or signum
        return Wish.FORCE


@contextmanager
def taking(note: Note, wake: Note) -> Generator[None, None, None]:
    """Have `note` called for the signals that a consumer takes; in the main thread only, others are told.

    `wake` is called with the same, but from a thread of its own, when a signal has come, and must make the main thread
    go on. HUP is taken where it would kill: one that is ignored (nohup) stays so, and one with a handler is the
    program's.
    """
    if threading.current_thread() is not threading.main_thread():
        log.warning("not in the main thread: signals are not taken")
        yield
        return

    def take(signum: int, _frame: FrameType | None) -> None:
        note(signum, monotonic())

    with _waking(wake):
        before: dict[int, Any] = {}
        for name in _HANDLED:
            if hasattr(signal, name):
                signum = getattr(signal, name)
                if name != "SIGHUP" or signal.getsignal(signum) is signal.SIG_DFL:
                    before[signum] = signal.signal(signum, take)
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


@contextmanager
def _waking(wake: Note) -> Generator[None, None, None]:
    """Have `wake` called for every signal, whatever the main thread does, which alone runs signal handlers.

    The kernel wakes it for a process's signal, but when a second one comes in that moment another thread may take
    both: the main thread then finds nothing and sleeps on, for as long as nothing else wakes it. Or it is in C, and
    runs no handler. The interpreter writes to the wake-up descriptor whichever thread takes a signal. An event loop
    that has set one gets what is written there.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    is_over = threading.Event()
    theirs = -1

    def pass_on() -> None:
        while True:
            numbers = os.read(reader, 1024)
            if is_over.is_set():
                return
            if theirs != -1:
                with suppress(OSError):  # full, so that it wakes anyway, or closed
                    os.write(theirs, numbers)
            for number in numbers:
                wake(number, monotonic())

    try:
        thread = launch("faktory-signals", pass_on)
        theirs = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            now_set = signal.set_wakeup_fd(-1)
            with suppress(OSError):  # closed meanwhile
                signal.set_wakeup_fd(theirs if now_set == writer else now_set, warn_on_full_buffer=False)
            is_over.set()
            os.write(writer, b"0")
            thread.join()
    finally:
        os.close(reader)
        os.close(writer)
