"""Plain functions in threads of our own. They are daemons: one that cannot be stopped holds up no exit."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from ..core.failure import again
from ..core.run import running
from ..isolation import enter, interrupter
from ..runtime.forks import end_copy
from .backend import Backend, Event

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.worker")


class Call:
    """A function's run in a thread, and how it can be interrupted."""

    def __init__(self, function: Callable[[], Any], context: Context, ended: Event) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.thread_id: int = 0
        self.current: object = object()
        """What stands for the run, until the function was left: only then may it be interrupted."""
        self._interruption: Exception | None = None
        self._function = function
        self._context = context
        self._ended = ended
        self._pid = os.getpid()
        self._lock = threading.Lock()  # for those who interrupt; the thread itself never takes it

    def interrupt(self, error: Exception) -> bool:
        """Have an exception raised in the function until it ends, and no other after it. Any thread may call it."""
        with self._lock:
            run = self.current
            if run is None or self._interruption is not None:
                return False
            self._interruption = error  # before it can be raised
            interrupter.request(self, run, error)
            return True

    def carry_out(self) -> None:
        """Run the function in this thread. Everything is caught, for the task that waits; an interrupt, too."""
        try:
            self.thread_id = threading.get_ident()
            try:
                self.result = enter(self._context.run, self._function)
            finally:
                self._leave()
            if os.getpid() != self._pid:
                end_copy()
            run = self._context.get(running)
            if self._interruption is not None and not (run is not None and run.is_settled):
                raise again(self._interruption)  # which the function has swallowed
        except BaseException as exc:
            self._leave()
            if os.getpid() != self._pid:
                end_copy(exc)
            self.error = exc

    def _leave(self) -> None:
        """End the time in which the function may be interrupted, and take back what was not raised."""
        self.current = None
        if self._interruption is not None:
            interrupter.take_back(self.thread_id)

    def done(self) -> None:
        """Wake the task that waits. In the scheduler's thread."""
        self._ended.set()


class Threads:
    """Threads that are made when no idle one is left. Used by one task for each call, so never more than tasks."""

    def __init__(self, backend: Backend) -> None:
        self.busy: int = 0
        """Threads at work, those included that nobody waits for any more."""
        self._backend = backend
        self._post = backend.bind_call_soon()
        self._idle: list[SimpleQueue[Call | None]] = []
        self._count = 0
        self._is_closed = False
        self._may_interrupt = False  # does the thread that interrupts live for these?

    async def run(self, function: Callable[[], T], *, started: Callable[[Call], None] | None = None) -> T:
        """Run a function in a thread, within a copy of the task's context; a cancelled caller leaves it to itself.

        `started(call)` is told by what it can be interrupted.
        """
        ended = self._backend.event()
        if started is not None and not self._may_interrupt:
            interrupter.start()
            self._may_interrupt = True
        call = Call(function, copy_context(), ended)
        inbox = self._idle.pop() if self._idle else self._new_thread()
        self.busy += 1
        if started is not None:
            started(call)
        inbox.put(call)
        await ended.wait()
        error, call.error = call.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # no cycle through this frame
        result: T = call.result
        return result

    def close(self) -> None:
        """End the idle threads now, and each other one when its function has ended."""
        self._is_closed = True
        if self._may_interrupt:
            self._may_interrupt = False
            interrupter.stop()
        while self._idle:
            self._idle.pop().put(None)

    def _new_thread(self) -> SimpleQueue[Call | None]:
        self._count += 1
        inbox: SimpleQueue[Call | None] = SimpleQueue()
        name = f"faktory-worker-{self._count}"
        threading.Thread(target=self._live, args=[inbox], name=name, daemon=True).start()
        return inbox

    def _live(self, inbox: SimpleQueue[Call | None]) -> None:
        """Carry out calls until there are no more. The thread's outermost line."""
        try:
            while (call := inbox.get()) is not None:
                call.carry_out()
                self._post(self._has_ended, inbox, call)
                if self._is_closed:
                    return
                del call  # an idle thread keeps no job alive
        except Exception:
            log.exception("a worker thread ended unexpectedly")

    def _has_ended(self, inbox: SimpleQueue[Call | None], call: Call) -> None:
        self.busy -= 1
        if not self._is_closed:
            self._idle.append(inbox)
        else:
            inbox.put(None)
        call.done()


async def run_in_thread(backend: Backend, function: Callable[[], T]) -> T:
    """Run one blocking function in a thread of its own, to its end or until the caller is cancelled."""
    threads = Threads(backend)
    try:
        return await threads.run(function)
    finally:
        threads.close()
