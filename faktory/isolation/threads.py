"""Time limits and cut-offs in threads: a thread of its own strikes those that are due, each at a place that bears it.

An exception can be raised in another thread between two of its bytecodes. Code that waits inside C (a long `sleep`, a
lock, a socket without a time limit) gets it only when it comes back, and a handler may catch it: it is raised again
each second until the handler is left. `strike` tells where it may be raised at all; elsewhere it is put off a moment.

The striking thread takes no lock that a handler can hold, and does not log. It is not the heartbeat's: while it looks
at a stack it may be the last to let go of a handler's values, whose `__del__` could do anything.

One strike at a time waits to be raised: on Python 3.11 and 3.12 threads share one flag, and the first that raises
takes it down, so that another would raise its own long after the place that was judged.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..runtime.interpreter import async_exc_functions
from ..runtime.launch import launch
from ..runtime.logs import LateLog
from ..runtime.ticking import monotonic

if TYPE_CHECKING:
    from .strike import Place, Target

log: Final = LateLog("faktory.isolation")

is_child = False
"""True in the fork server and in its children, where no consumer with children of its own is started."""

FIRST_DELAY = 0.001
"""Seconds until a strike that was put off is tried again ..."""
LAST_DELAY = 0.03
"""... which grows up to this."""
SECOND_LOOK = 0.0002
"""Seconds until a target that was found waiting is looked at again: still there, it is blocked."""
AGAIN = 1.0
"""Seconds after which an exception is raised once more in a handler that goes on."""
CLOSE_LOOK = 0.005
"""Seconds of looking closely, after several tries ..."""
CLOSE_INTERVAL = 2e-5
"""... with threads that may be suspended after so many seconds instead of 5 ms."""
TURN = 0.02
"""Seconds that a strike waits to be raised while others want their turn."""


def check_can_isolate() -> None:
    """Raise `ConfigurationError` where no consumer can have children."""
    if not hasattr(os, "fork"):
        raise ConfigurationError("child processes need a POSIX system; leave out processes(...) to run jobs in threads")
    if getattr(sys, "frozen", False) or not sys.executable:
        raise ConfigurationError(
            "child processes need a Python to start, and this is a frozen program (as PyInstaller makes them), whose "
            "executable would start the program itself, without end; leave out processes(...) to run jobs in threads, "
            "or run the program by Python"
        )
    if is_child:
        raise ConfigurationError(
            "the program starts its consumer when it is imported, as a child process does; put that part of it under "
            '`if __name__ == "__main__":`'
        )


class Request:
    """What is to be raised in a target until its run is over."""

    __slots__ = ("at", "before", "delay", "error", "run", "target")

    def __init__(self, target: Target, run: object, error: Exception) -> None:
        self.target: Target = target
        self.run: object = run
        self.error: Exception = error
        self.at: float = 0.0
        self.delay: float = FIRST_DELAY
        self.before: Place | None = None
        """Where the target was blocked when it was last looked at."""

    def is_over(self) -> bool:
        """Tell whether the handler was left."""
        return self.target.current is not self.run

    def look_again(self, now: float, place: Place) -> None:
        """Look once more, at once: what waits for a moment only is somewhere else later."""
        self.before = place
        self.at = now + SECOND_LOOK

    def put_off(self, now: float) -> None:
        """Try again soon."""
        self.before = None
        self.at = now + self.delay
        self.delay = min(1.5 * self.delay, LAST_DELAY)

    def struck(self, now: float) -> None:
        """Have it raised once more, should the handler go on for long."""
        self.before = None
        self.at = now + AGAIN
        self.delay = FIRST_DELAY


class Interrupter:
    """The thread that strikes; one in a process, whoever its consumers are."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._users = 0
        self._inbox: SimpleQueue[Request | None] = SimpleQueue()  # None: look again
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._strikes: ModuleType | None = None
        self._due: list[Request] = []
        self._out: Request | None = None
        """Whose strike may still wait to be raised."""
        self._out_at = (0, 0)  # where its target was: the frame's id, as the frame would keep a job's values alive
        self._out_until = 0.0  # when others get their turn

    def start(self) -> None:
        """Start the thread, unless it lives, for one more consumer. Raises `ThreadStartFailed`."""
        if self._pid != os.getpid():
            self._reset()  # a fork has taken only the thread that made it along
        with self._lock:
            if self._thread is None:
                self._inbox, self._is_over = SimpleQueue(), threading.Event()
                self._thread = launch("faktory-interrupter", partial(self._live, self._inbox, self._is_over))
            self._users += 1

    def stop(self) -> None:
        """End the thread with its last consumer; handlers that go on are interrupted no more."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._users -= 1
            if self._users:
                return
            thread, self._thread = self._thread, None
            self._is_over.set()
            self._inbox.put(None)
        if thread is not None:
            thread.join(AGAIN)  # the last to let go of a handler's values, it may have to wait for them

    def request(self, target: Target, run: object, error: Exception) -> None:
        """Have a copy of `error` raised in the handler of a run. Waits for nothing; any thread may call it."""
        self._inbox.put(Request(target, run, error))

    def take_back(self, thread_id: int) -> None:
        """Have a thread not raise what it has not raised yet. The thread itself calls it when it has left a handler."""
        strikes = self._strikes
        if strikes is None:  # nobody was struck yet
            return
        if self._thread is None:  # ended with its last consumer, before this handler did: nobody else does it
            strikes.calm_down([thread_id])
            return
        strikes.take_back(thread_id)
        self._inbox.put(None)

    def _live(self, inbox: SimpleQueue[Request | None], is_over: threading.Event) -> None:
        """Strike until told to end. The thread's outermost line."""
        if sys.version_info < (3, 12):
            sys.settrace(None)  # a traced thread stands still while a strike waits: this one has to end that
        request = inbox.get()
        if is_over.is_set():
            return
        from . import strike  # slow to import, and needed by no consumer whose jobs keep their limits

        strike.be_punctual()
        self._strikes = strike
        self._due, self._out = [], None
        while not is_over.is_set():
            if request is not None:
                self._due.append(request)
            try:
                wait = self._round(strike, monotonic())
            except Exception:
                log.exception("a job could not be interrupted; trying again")
                wait = AGAIN
            request = None
            with suppress(Empty):
                request = inbox.get(timeout=wait)
        self._let_go(strike)

    def _let_go(self, strike: ModuleType) -> None:
        """End the turn of the last strike, raised or not."""
        request, self._out = self._out, None
        strike.calm_down([] if request is None or request.is_over() else [request.target.thread_id])

    def _round(self, strike: ModuleType, now: float) -> float | None:
        """Strike who may be struck. Returns the seconds until the next round, None when there is none to come."""
        self._due = due = [request for request in self._due if not request.is_over()]
        if self._out is not None and not self._has_had_its_turn(strike, now):
            return FIRST_DELAY if self._is_turn_short() else max(0.0, self._out.at - now)
        self._let_go(strike)
        for request in sorted(due, key=lambda request: request.at):
            if request.at > now:
                break
            place = strike.place_of(request.target, request.run)
            if place is None and request.target.thread_id:  # its thread has ended
                self._due.remove(request)
            elif place is None or not strike.may_be_struck(place, request.before):
                if place is not None and request.before is None and strike.is_waiting(place):
                    request.look_again(now, place)
                    continue
                request.put_off(now)
                if request.delay < LAST_DELAY or not self._look_closely(strike, request):
                    continue
            elif not strike.strike(request.target, place, request.error):
                request.put_off(now)
                continue
            else:
                self._note_strike(request, place)
            return FIRST_DELAY if self._is_turn_short() else AGAIN
        return max(0.0, min(request.at for request in self._due) - now) if self._due else None

    def _note_strike(self, request: Request, place: Place) -> None:
        now = monotonic()
        request.struck(now)
        self._out, self._out_at, self._out_until = request, (id(place[1]), place[2]), now + TURN

    def _look_closely(self, strike: ModuleType, request: Request) -> bool:
        """Try at many moments that follow one another closely. Returns whether the target was struck.

        One that logs, or pushes jobs, in a loop gives up the interpreter's lock only where it must not be struck, and
        so is always found there. Now it has to give it up elsewhere, too. Other threads do so as well, for a moment.
        """
        interval = sys.getswitchinterval()
        sys.setswitchinterval(CLOSE_INTERVAL)
        changed = sys.getswitchinterval()
        try:
            limit = monotonic() + CLOSE_LOOK
            while monotonic() < limit and not request.is_over():
                self._is_over.wait(CLOSE_INTERVAL)
                place = strike.place_of(request.target, request.run)
                if place is None or not strike.may_be_struck(place, None):
                    continue
                if strike.strike(request.target, place, request.error):
                    self._note_strike(request, place)
                    return True
        finally:
            if sys.getswitchinterval() == changed:  # else the program has changed it itself meanwhile
                sys.setswitchinterval(interval)
        return False

    def _has_had_its_turn(self, strike: ModuleType, now: float) -> bool:
        """Tell whether the last strike was raised, as far as can be seen, or is to make room for another."""
        request = self._out
        if request is None or request.is_over() or request.at <= now:
            return True
        place = strike.place_of(request.target, request.run)
        if place is None or (id(place[1]), place[2]) != self._out_at:
            return True  # it went on, and so has raised it
        if not self._is_turn_short() or now < self._out_until:
            return False
        request.put_off(now)
        return True

    def _is_turn_short(self) -> bool:
        """Tell whether somebody else waits: another who is due, or threads that are traced and stand still."""
        return len(self._due) > 1 or (sys.version_info < (3, 12) and threading.gettrace() is not None)


interrupter: Final = Interrupter()


def interrupt_thread(thread_id: int, exc_type: type[BaseException]) -> None:
    """Have `exc_type()` raised in a thread, soon and wherever it is: for what is no handler, and bears it."""
    set_async_exc, _ = async_exc_functions()
    set_async_exc(thread_id, exc_type)


class _Nothing(Exception):
    pass


def forget_interrupt() -> None:
    """Take back what the calling thread has not raised yet."""
    with suppress(_Nothing):  # raised at once, in its place
        interrupt_thread(threading.get_ident(), _Nothing)
