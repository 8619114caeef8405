"""Where a job may be interrupted: an exception out of nowhere must leave no lock behind. Pure.

`acquire(); try:`, as the standard library writes it, is left with the lock taken when the exception comes between the
two. So a job is not interrupted while such code is at work itself; with its functions in the midst of the stack, which
have called something, it unwinds as for any exception. `Condition.wait`, in which all waits for events, queues and
futures are spent, may be interrupted where it waits. An `__exit__` that has not done anything yet is let begin, and a
`__del__` end: what is raised there vanishes.
"""

from __future__ import annotations

import _weakrefset
import concurrent.futures
import contextlib
import dis
import logging
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from ..runtime.package import FOLDER


def may_raise_at(frame: FrameType | None, *, is_logging: bool = False) -> bool:
    """Tell whether an exception may be raised at a frame, the innermost of its thread, just now and here.

    Never anywhere within an import, nor within logging but where it `is_logging` and is known to clean up.
    """
    if frame is None:
        return False
    if frame.f_code is WAIT:
        if not is_blocked(frame.f_code, frame.f_lasti):
            return False
    elif frame.f_code in _JOINS:  # made for a Ctrl-C that comes here
        pass
    elif not is_logging and is_at_work(frame.f_code, frame.f_lasti):
        return False
    return may_be_left(frame, is_logging=is_logging)


def may_be_left(frame: FrameType | None, *, is_logging: bool = False, within: CodeType | None = None) -> bool:
    """Tell whether a function, and all that have called it, bear an exception: out to the one `within` which they are.

    What traces a function is called by it anywhere, also between two steps that belong together.
    """
    while frame is not None and frame.f_code is not within:
        if is_whole(frame.f_code, is_logging=is_logging):
            return False
        outer = frame.f_back
        if outer is not None and outer.f_trace is not None and not is_logging:
            is_tracer = code_of(outer.f_trace) is frame.f_code
            if is_tracer and is_at_work(outer.f_code, outer.f_lasti):
                return False
        frame = outer
    return within is None or frame is not None


def is_blocked(code: CodeType, instruction: int) -> bool:
    """Tell whether `Condition.wait` waits there, its lock given back, within a `try`."""
    return code is WAIT and instruction in _WAITS_AT


def is_at_work(code: CodeType, instruction: int) -> bool:
    """Tell whether an exception does harm in a function that is the innermost."""
    if code.co_filename in _ROOMS or code.co_filename.startswith(FOLDER):
        return True
    return code.co_name == "__exit__" and instruction == entry_of(code)


def is_whole(code: CodeType, *, is_logging: bool = False) -> bool:
    """Tell whether a function must not be left by an exception out of nowhere, whatever it has called."""
    return (
        code.co_filename.startswith(_IMPORT if is_logging else _NEVER_WITHIN)
        or code.co_name == "__del__"
        or code in _UNWINDING
    )


def entry_of(code: CodeType) -> int:
    """Return the instruction at which a function is entered; -1 for one without."""
    return next((found.offset for found in dis.get_instructions(code) if found.opname == "RESUME"), -1)


def code_of(function: Callable[..., Any] | None) -> CodeType | None:
    """Return the code of a function; None where there is none."""
    code = getattr(function, "__code__", None)  # none where somebody has put another thing there
    return code if isinstance(code, CodeType) else None


def _file_of(function: Callable[..., Any]) -> str:
    code = code_of(function)
    return "" if code is None else code.co_filename


def _waits_at(code: CodeType | None) -> frozenset[int]:
    """Return the instructions of `Condition.wait` at which it waits, its lock given back, within a `try`."""
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


_IMPORT: Final = "<frozen importlib."
_NEVER_WITHIN: Final = (_IMPORT, os.path.join(os.path.dirname(_file_of(logging.getLogger)), ""))  # noqa: PTH118, PTH120
_GUARDED: Final[tuple[Callable[..., Any], ...]] = (
    threading.Thread.join,
    queue.Queue.get,
    weakref.WeakValueDictionary.get,
    _weakrefset.WeakSet.add,
    contextlib.ExitStack.push,
    concurrent.futures.Future.result,
)
_ROOMS: Final = frozenset(map(_file_of, _GUARDED))
"""Files of the standard library in which locks are kept in order by hand."""
_JOINS: Final = {
    code_of(threading.Thread.join),
    code_of(getattr(threading.Thread, "_wait_for_tstate_lock", None)),  # up to Python 3.12
}
_UNWINDING: Final = (
    {code_of(contextlib.ExitStack.__exit__), code_of(contextlib.AsyncExitStack.__aexit__)}
    if sys.version_info >= (3, 13)
    else set()
)
"""What has taken a callback out of its list and not called it yet, when a thread that was suspended in the callback
before is struck a check later: see `strike`."""
WAIT: Final = code_of(threading.Condition.wait)
_WAITS_AT: Final = _waits_at(WAIT)
