"""Who waits for the server's state to change: threads, and tasks of asyncio and trio."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from .clock import monotonic

Until = Callable[[Callable[[], bool], float | None], Awaitable[bool]]
"""Waits for a condition with a time limit."""


class Changes:
    """Wakes those who wait, at every change. All but `wait_async` is called with the server's `lock` held."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._condition = threading.Condition(lock)
        self._waiting = 0
        self._wakers: list[Callable[[], None]] = []

    def announce(self) -> None:
        """Wake all; they look for themselves."""
        if self._waiting:
            self._condition.notify_all()
        for wake in self._wakers:
            wake()

    def wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition()` is true; False when `timeout` seconds pass first, None for no limit."""
        deadline = None if timeout is None else monotonic() + timeout
        self._waiting += 1
        try:
            while not condition():
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._condition.wait(left)
            return True
        finally:
            self._waiting -= 1

    async def wait_async(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Async twin of `wait`, under asyncio and trio. Takes the lock itself, and never waits for it for long."""
        trio: Any = sys.modules.get("trio")  # whoever runs it has imported it
        is_trio = trio is not None and trio.lowlevel.in_trio_run()
        wake, until = _trio_waiter(trio) if is_trio else _asyncio_waiter()
        with self._lock:
            self._wakers.append(wake)
        try:
            return await until(self._locked(condition), timeout)
        finally:
            with self._lock:
                self._wakers.remove(wake)

    def _locked(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        def ask() -> bool:
            with self._lock:
                return condition()

        return ask


def _asyncio_waiter() -> tuple[Callable[[], None], Until]:
    import asyncio

    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it whoever waited
            loop.call_soon_threadsafe(event.set)

    async def until(condition: Callable[[], bool], timeout: float | None) -> bool:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while True:
                    event.clear()
                    if condition():
                        return True
                    await event.wait()
        except TimeoutError:
            if limit.expired():
                return False
            raise

    return wake, until


def _trio_waiter(trio: Any) -> tuple[Callable[[], None], Until]:
    token = trio.lowlevel.current_trio_token()
    events = [trio.Event()]

    def wake() -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(lambda: events[0].set(), idempotent=False)

    async def until(condition: Callable[[], bool], timeout: float | None) -> bool:
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while True:
                events[0] = trio.Event()
                if condition():
                    return True
                await events[0].wait()
        return False

    return wake, until
