"""Where a job may be interrupted: an exception out of nowhere must leave no lock behind. Pure.

`acquire(); try:`, as the standard library writes it, is left with the lock taken when the exception comes between the
two. So a job is not interrupted while such code is at work itself; with its functions in the midst of the stack, which
have called something, it unwinds as for any exception. `Condition.wait`, in which all waits for events, queues and
futures are spent, may be interrupted where it waits.
"""

from __future__ import annotations

import _weakrefset
import concurrent.futures
import contextlib
import dis
import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final


def may_raise_at(frame: FrameType | None, *, is_logging: bool = False) -> bool:
    """Tell whether an exception may be raised at a frame, the innermost of its thread.

    Never anywhere within an import, nor within logging but where it `is_logging` and is known to clean up.
    """
    if frame is None:
        return False
    if frame.f_code is _WAIT:
        if frame.f_lasti not in _WAITS_AT:
            return False
    elif frame.f_code in _JOINS:  # made for a Ctrl-C that comes here
        pass
    elif not is_logging and (frame.f_code.co_filename in _ROOMS or frame.f_code.co_filename.startswith(_PACKAGE)):
        return False
    never = (_IMPORT,) if is_logging else (_IMPORT, _LOGGING)
    outer: FrameType | None = frame
    while outer is not None:
        if outer.f_code.co_filename.startswith(never):
            return False
        outer = outer.f_back
    return True


def _code_of(function: Callable[..., Any] | None) -> CodeType | None:
    code = getattr(function, "__code__", None)  # none where somebody has put another thing there
    return code if isinstance(code, CodeType) else None


def _file_of(function: Callable[..., Any]) -> str:
    code = _code_of(function)
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


_PACKAGE: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")  # noqa: PTH100, PTH118, PTH120
_IMPORT: Final = "<frozen importlib."
_LOGGING: Final = os.path.join(os.path.dirname(_file_of(logging.getLogger)), "")  # noqa: PTH118, PTH120
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
    _code_of(threading.Thread.join),
    _code_of(getattr(threading.Thread, "_wait_for_tstate_lock", None)),  # up to Python 3.12
}
_WAIT: Final = _code_of(threading.Condition.wait)
_WAITS_AT: Final = _waits_at(_WAIT)
