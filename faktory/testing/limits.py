"""A time limit for what runs in the test's own thread, to which databases of tests are bound."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from ..isolation import forget_interrupt, interrupt_thread

_SIGNAL = getattr(signal, "SIGURG", None)
"""Nobody waits for it, and without a handler it does nothing. SIGALRM is pytest-timeout's."""
_INSIST = 0.2
"""Seconds after which what was caught is raised again."""


class Overrun(BaseException):
    """Raised in what ran too long; a job cannot take it for an error of its own."""


@contextmanager
def at_most(seconds: float, describe: Callable[[], str]) -> Generator[None, None, None]:
    """Raise `AssertionError(describe())` in a block that takes longer.

    In the main thread that ends a call that waits, too; in another, or on Windows, only one that comes back to Python.
    """
    thread = threading.get_ident()
    has_ended = threading.Event()
    is_main = _SIGNAL is not None and threading.current_thread() is threading.main_thread()

    def interrupt() -> None:
        wait = seconds
        while not has_ended.wait(wait):
            if is_main and _SIGNAL is not None:
                signal.pthread_kill(thread, _SIGNAL)
            else:
                interrupt_thread(thread, Overrun)
            wait = _INSIST

    def overrun(_number: int, _frame: FrameType | None) -> None:
        if not has_ended.is_set():
            raise Overrun

    before = signal.signal(_SIGNAL, overrun) if is_main and _SIGNAL is not None else None
    watch = threading.Thread(target=interrupt, name="faktory-testing-limit", daemon=True)
    watch.start()
    try:
        yield
    except Overrun as exc:
        raise AssertionError(describe()) from exc
    finally:
        has_ended.set()
        watch.join()
        if before is not None and _SIGNAL is not None:
            signal.signal(_SIGNAL, before)
        elif not is_main:
            forget_interrupt()
