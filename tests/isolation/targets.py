"""Threads that run a function as a consumer runs a handler, to be struck."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from faktory import JobTimeout
from faktory.isolation import enter, interrupter


class Thread:
    """A target: a thread that runs a function as a consumer runs a handler."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.thread_id = 0
        self.current: object = object()
        self.caught: BaseException | None = None
        self.outside: BaseException | None = None
        self._function = function
        # Daemonic: one that is not interrupted fails its test, and would keep the run from ending.
        self._thread = threading.Thread(target=self._live, name="target", daemon=True)

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
