"""The end of processes that were forked.

One that a job or a hook has forked, and that came back into our code, is a copy of the worker with one thread: it must
neither report the job a second time nor fetch others, and the sockets and the children are its parent's. One of
multiprocessing's ends without `atexit`, and has ways of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, cast


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process, as a program that returned, or raised `error`; nothing of ours is closed or flushed."""
    code: object = 0
    if error is not None:
        code = 1
        with suppress(BaseException):  # whatever the exception's own methods do
            if issubclass(type(error), SystemExit):
                code = error.code  # type: ignore[attr-defined]
            else:
                from traceback import print_exception

                print_exception(error)
    os._exit(code if type(code) is int else int(code is not None))


def call_at_end(close: Callable[[], object]) -> Callable[[], object]:
    """Have `close` called at the end of this process if that is a child of multiprocessing's: a process pool's, say.

    Returns what takes it back.
    """
    util: Any = sys.modules.get("multiprocessing.util")  # there in each of its children
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process.parent_process() is None:
        return lambda: None
    return cast(Callable[[], object], util.Finalize(None, close, exitpriority=0).cancel)
