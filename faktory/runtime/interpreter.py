"""What CPython has and documents nowhere: each such name stands here alone, with a test that each Python runs.

Where another Python has not got one, what is documented takes its place, slower. Nothing slow is imported before it is
needed.
"""

from __future__ import annotations

import atexit
import json
import json.encoder
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

json_scan: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""Reads one JSON value that begins at an index of a text; returns it and where it ends. Raises `StopIteration`."""


def json_parts(encoder: json.JSONEncoder) -> Callable[[Any, int], Iterable[str]]:
    """Return what yields the parts of a document's compact JSON, as `encoder` writes it.

    Made once: `encode` makes it anew at each call, 1 µs of each push. It looks for no cycles. Its second argument is
    the depth to begin with, 0.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda document, _: encoder.iterencode(document)
    quote = json.encoder.encode_basestring_ascii
    parts: Callable[[Any, int], Iterable[str]] = make(None, encoder.default, quote, None, ":", ",", False, False, False)
    return parts


def async_exc_functions() -> tuple[Callable[[int, type[BaseException]], int], Callable[[int, None], int]]:
    """Return two C functions: one has an exception raised in a thread, the other takes that back.

    They are functions of our own, whatever others have told those of `ctypes.pythonapi`. Neither gives up the
    interpreter's lock. Both return how many threads they have found.
    """
    from ctypes import c_int, c_ulong, c_void_p, py_object, pythonapi  # slow to import, and rarely needed

    def typed(*types: Any) -> Any:
        function = pythonapi["PyThreadState_SetAsyncExc"]
        function.argtypes, function.restype = types, c_int
        return function

    return typed(c_ulong, py_object), typed(c_ulong, c_void_p)


def own_flags() -> list[str]:
    """Return the options that another Python is started with to be as this one is, as `multiprocessing` does."""
    import subprocess

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return flags


def is_asyncio_running() -> bool:
    """Tell whether an asyncio loop runs in this thread. Asked when asyncio was imported, and else False."""
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def end_threads() -> None:
    """Wait for executors and other threads, as the interpreter does at its end."""
    threading._shutdown()  # type: ignore[attr-defined]


def run_exit_functions() -> None:
    """Call what was registered with `atexit`. Raises what the last of it raises."""
    atexit._run_exitfuncs()
