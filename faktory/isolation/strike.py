"""One strike: an exception raised in another thread, at a place where it can break nothing.

CPython raises such an exception at the target's next *check*: the entry of a Python function, a jump backward, the
return of a call into C. At some of them it does harm: `acquire(); try:`, as the standard library writes it, is left
with the lock taken. So the target's stack is looked at first, and the strike is put off where it could hurt:

* Only within `enter`, which the consumers put around a handler and its middleware and around nothing else.
* Only where `harm` allows it, which knows what code keeps locks in order by hand.

The look and the strike are one step: a chain of C functions during which the interpreter's lock is never given up, as
nothing in it reaches a check. It compares where the target is with the place that was judged. On Python 3.11 a garbage
collection could run code in the midst of it, so the collector is held meanwhile.

A thread that was suspended at a check is struck there on 3.11 and 3.12. 3.13 notices the strike at the next check. The
next check may be the entry of a function that gives a lock back, or of an `__exit__`; it is then run to its end first.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, compress, repeat, starmap, tee
from operator import attrgetter, itemgetter
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, Protocol

from ..runtime.interpreter import async_exc_functions
from .entry import enter
from .harm import WAIT, code_of, entry_of, is_at_work, is_blocked, may_be_left

_PR_SET_TIMERSLACK: Final = 29

Place = tuple[object, FrameType, int]
"""Where a target is: its run, its innermost frame, and the instruction there."""


class Target(Protocol):
    """A thread that runs a handler by `enter`."""

    @property
    def thread_id(self) -> int: ...

    @property
    def current(self) -> object:
        """The run in hand. It is replaced before the handler is entered, and when it was left."""
        ...


def be_punctual() -> None:
    """Have the waits of the calling thread end when they should: Linux gives itself 50 µs more.

    A look at a handler that logs in a loop must come between two of its writes. Without this, one was interrupted after
    4 s on the average, and with it after 1.5.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library may have no such call
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


def place_of(target: Target, run: object) -> Place | None:
    """Return where a target is just now; None when its thread has ended."""
    top = sys._current_frames().get(target.thread_id)
    return None if top is None else (run, top, top.f_lasti)


def is_waiting(place: Place) -> bool:
    """Tell whether a target is in `Condition.wait`, where two looks are needed."""
    return place[1].f_code is WAIT


def may_be_struck(place: Place, before: Place | None) -> bool:
    """Tell whether a strike at a place does no harm. `before` is where the target was when last looked at."""
    _, top, instruction = place
    if is_waiting(place):
        # Still there after the interpreter's lock was free: it is blocked, and not just about to go on.
        if not is_blocked(top.f_code, instruction) or before is None or place != before:
            return False
    elif is_at_work(top.f_code, instruction):
        return False
    return may_be_left(top, within=_ENTRY)


def strike(target: Target, place: Place, error: Exception) -> bool:
    """Have a copy of `error` raised in the target if it is still at the place. Returns whether it will be."""
    thread_id = target.thread_id
    done: list[int] = []
    collects: list[bool] = []
    tops, again = tee(map(itemgetter(thread_id), starmap(sys._current_frames, [()])))
    now = zip(map(attrgetter("current"), [target]), tops, map(attrgetter("f_lasti"), again), strict=True)
    blow = map(_set_async_exc, compress([thread_id], map(place.__eq__, now)), [_copies_of(error)])
    steps = chain(
        map(collects.append, starmap(gc.isenabled, [()])),
        starmap(gc.disable, [()]),
        map(done.append, blow),
        starmap(gc.enable, compress([()], collects)),
    )
    try:
        deque(steps, maxlen=0)  # all of it in here: look, compare, strike
    except KeyError:  # its thread has ended
        if collects == [True]:
            gc.enable()
    return done == [1]


def take_back(thread_id: int) -> None:
    """Have a thread not raise what it has not raised yet."""
    _clear_async_exc(thread_id, None)


def calm_down(thread_ids: Sequence[int]) -> None:
    """Take back the last strikes and their flag: on 3.11 and 3.12 it would slow down every check from then on.

    Only who raises something takes it down. On 3.11 a thread that is traced even stands still while it is up.
    """
    steps = chain(
        map(_clear_async_exc, thread_ids, repeat(None)), map(_set_async_exc, [threading.get_ident()], [_Nothing])
    )
    collects = gc.isenabled()
    gc.disable()  # else a callback of the collector's could be what it is raised in
    try:
        with contextlib.suppress(_Nothing):
            deque(steps, maxlen=0)
    finally:
        if collects:
            gc.enable()


class _Nothing(Exception):
    """Raised in the calling thread, for nothing."""


def _copies_of(error: Exception) -> type[BaseException]:
    """Return a class whose every call gives a new exception like `error`: what is raised is told by a class alone."""
    kind: Any = type(error)
    args = error.args

    def copy(_: type, *made_before: BaseException) -> BaseException:
        if made_before:  # a trace function on 3.11 has had the exception made already, and this is not its class
            return made_before[0]
        _carry_out(sys._getframe(1))
        made: BaseException = kind(*args)
        return made

    return type(kind.__name__, (kind,), {"__new__": copy})


def _carry_out(struck: FrameType) -> None:
    """Run a function that gives something back, when the strike has hit its entry: nothing of it has happened yet.

    A generator that has been entered, and would not be left before its traceback is dropped, is closed.
    """
    code = struck.f_code
    if code is _ENTER_GENERATOR:
        struck.f_locals["self"].gen.close()
        return
    if code not in _RELEASES and code.co_name != "__exit__":
        return
    if struck.f_lasti != entry_of(code):
        return
    values = struck.f_locals
    args = [values[name] for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _TAKES_ANY:
        args += values[code.co_varnames[code.co_argcount + code.co_kwonlyargcount]]
    function = _RELEASES.get(code) or _exit_of(code, args[0] if args else None)
    if function is not None:
        function(*args)


def _exit_of(code: CodeType, manager: object) -> Callable[..., Any] | None:
    """Return the `__exit__` of a context manager's class that has this code."""
    found = (vars(kind).get("__exit__") for kind in type(manager).__mro__)
    return next((each for each in found if isinstance(each, FunctionType) and each.__code__ is code), None)


_set_async_exc, _clear_async_exc = async_exc_functions()
_TAKES_ANY = 0x04  # *args
_ENTRY: Final = enter.__code__
_ENTER_GENERATOR: Final = code_of(contextlib._GeneratorContextManager.__enter__)
_RELEASES: Final = {
    function.__code__: function
    for function in (
        vars(threading.Condition).get("_acquire_restore"),
        threading.Semaphore.release,
        threading.BoundedSemaphore.release,
    )
    if isinstance(function, FunctionType)
}
