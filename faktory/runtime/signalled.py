"""Tells an exception that a signal handler raised from one that a call of ours raised.

A handler may raise anything, between any two steps of ours: `raise TimeoutError` for an alarm, or whatever its own work
on a file brings. That is the business of whoever set it, so it must pass our `except OSError` as it is: taken for the
network's, it would vanish in a retry, and the job be stored twice.
"""

from __future__ import annotations

import signal
from types import CodeType, FrameType, TracebackType
from typing import Any


def was_signalled(exc: BaseException) -> bool:
    """Tell whether an exception, where it is caught, came from a signal handler that struck in the `try` block.

    Two marks tell a handler among the frames that the exception has come through: it has been called with a frame, the
    interrupted one, as hardly anything else is; or it is what is set for a signal, if it has let go of that frame.
    """
    here: TracebackType | None = exc.__traceback__
    below = None if here is None else here.tb_next
    if below is None:
        return False  # raised by the very call
    frames: list[FrameType] = []
    while below is not None:
        frames.append(below.tb_frame)
        below = below.tb_next
    return any(map(_has_a_frame, frames)) or not {frame.f_code for frame in frames}.isdisjoint(_handlers())


def _has_a_frame(frame: FrameType) -> bool:
    """Tell whether a function was called with a frame."""
    code, values = frame.f_code, frame.f_locals
    arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _TAKES_MORE:
        arguments += values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount]) or ()
    return any(isinstance(argument, FrameType) for argument in arguments)


_TAKES_MORE = 0x04  # inspect.CO_VARARGS, without the cost of importing inspect


def _handlers() -> set[CodeType]:
    """Return the code of the handlers that are set now."""
    found = (_code_of(signal.getsignal(number)) for number in signal.valid_signals())
    return {code for code in found if code is not None}


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a function, a method, a partial or an object that can be called."""
    for part in (handler, getattr(handler, "func", None), getattr(type(handler), "__call__", None)):  # noqa: B004
        code = getattr(part, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None
