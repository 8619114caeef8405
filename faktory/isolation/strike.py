"""One strike: an exception raised in another thread, at a place where it can break nothing.

CPython raises such an exception at the target's next *check*: the entry of a Python function, a jump backward, the
return of a call into C. At some of them it does harm: `acquire(); try:`, as the standard library writes it, is left
with the lock taken. So the target's stack is looked at first, and the strike is put off where it could hurt:

* Only within `enter`, which the consumers put around a handler and its middleware and around nothing else.
* Never anywhere within logging or an import: both take locks by hand, and logging swallows exceptions.
* Never while this package, or a room of the standard library that keeps locks in order, is at work itself. Their
  functions in the midst of the stack have called somebody, and unwind as for any exception. `Condition.wait`, where
  everything that polls an event, a queue or a future spends its time, may be struck while it is blocked.

The look and the strike are one step: a chain of C functions during which the interpreter's lock is never given up, as
nothing in it reaches a check. It compares where the target is with the place that was judged. On Python 3.11 a garbage
collection could run code in the midst of it, so the collector is held meanwhile.

A thread that was suspended at a check is struck there on 3.11 and 3.12. 3.13 notices the strike at the next check. The
next check may be the entry of a function that gives a lock back; such a function is then run to its end first.
"""

from __future__ import annotations

import _weakrefset
import contextlib
import dis
import gc
import logging
import os
import queue
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from ctypes import c_int, c_ulong, c_void_p, py_object, pythonapi
from itertools import chain, compress, repeat, starmap, tee
from operator import attrgetter, itemgetter
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, Protocol

from .entry import enter

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


def place_of(target: Target, run: object) -> Place | None:
    """Return where a target is just now; None when its thread has ended."""
    top = sys._current_frames().get(target.thread_id)
    return None if top is None else (run, top, top.f_lasti)


def is_waiting(place: Place) -> bool:
    """Tell whether a target is in `Condition.wait`, where two looks are needed."""
    return place[1].f_code is _WAIT


def may_be_struck(place: Place, before: Place | None) -> bool:
    """Tell whether a strike at a place does no harm. `before` is where the target was when last looked at."""
    _, top, instruction = place
    code = top.f_code
    if is_waiting(place):
        # Still there after the interpreter's lock was free: it is blocked, and not just about to go on.
        if instruction not in _BLOCKED or before is None or place != before:
            return False
    elif code.co_filename in _ROOMS or code.co_filename.startswith(_PACKAGE):
        return False
    frame: FrameType | None = top
    while frame is not None:
        code = frame.f_code
        if code is _ENTRY:
            return True
        if code.co_filename.startswith(_NEVER_WITHIN):
            return False
        frame = frame.f_back
    return False


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
    with contextlib.suppress(_Nothing):
        deque(steps, maxlen=0)


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
    """Run a function that gives a lock back, when the strike has hit its entry: nothing of it has happened yet."""
    found = _RELEASES.get(struck.f_code)
    if found is not None and struck.f_lasti == found[1]:
        code, names = struck.f_code, struck.f_locals
        args = [names[name] for name in code.co_varnames[: code.co_argcount]]
        if code.co_flags & _TAKES_ANY:
            args += names[code.co_varnames[code.co_argcount]]
        found[0](*args)


def _set_of(function: Any, *types: Any) -> Any:
    function.argtypes = types
    function.restype = c_int
    return function


# Functions of our own, whatever others have told those of `ctypes.pythonapi`. None of them gives the lock up.
_set_async_exc: Final[Any] = _set_of(pythonapi["PyThreadState_SetAsyncExc"], c_ulong, py_object)
_clear_async_exc: Final[Any] = _set_of(pythonapi["PyThreadState_SetAsyncExc"], c_ulong, c_void_p)


def _file_of(function: object) -> str:
    code = getattr(function, "__code__", None)  # none where somebody has put another one there
    return code.co_filename if isinstance(code, CodeType) else ""


def _blocked_in(code: CodeType | None) -> frozenset[int]:
    """Return the instructions of `Condition.wait` that wait: its lock is given back, and a `try` is around them."""
    found: set[int] = set()
    has_released = is_acquire = False
    for instruction in dis.get_instructions(code) if code is not None else ():
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            has_released |= instruction.argval == "_release_save"
            is_acquire = instruction.argval == "acquire"
        elif instruction.opname in ("PRECALL", "CALL") and has_released and is_acquire:
            found.add(instruction.offset)
            is_acquire = instruction.opname == "PRECALL"  # which makes some calls itself, on 3.11
    return frozenset(found)


def _entry_of(code: CodeType) -> int:
    return next(instruction.offset for instruction in dis.get_instructions(code) if instruction.opname == "RESUME")


_TAKES_ANY = 0x04  # *args
_ENTRY: Final = enter.__code__
_PACKAGE: Final = __file__.removesuffix(os.path.join("isolation", os.path.basename(__file__)))  # noqa: PTH118, PTH119
_NEVER_WITHIN: Final = (_file_of(logging.getLogger).removesuffix("__init__.py"), "<frozen importlib.")
_ROOMS: Final = frozenset(
    map(
        _file_of,
        (
            threading.Thread.join,
            queue.Queue.get,
            weakref.WeakValueDictionary.get,
            _weakrefset.WeakSet.add,
            contextlib.ExitStack.push,
            Future.result,
        ),
    )
)
_WAIT: Final = getattr(threading.Condition.wait, "__code__", None)
_BLOCKED: Final = _blocked_in(_WAIT)
_RELEASES: Final = {
    function.__code__: (function, _entry_of(function.__code__))
    for function in (
        threading.Condition.__exit__,
        vars(threading.Condition).get("_acquire_restore"),
        threading.Semaphore.__exit__,
        threading.Semaphore.release,
        threading.BoundedSemaphore.release,
    )
    if isinstance(function, FunctionType)
}
