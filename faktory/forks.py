"""The end of a process that a job, or a hook, has forked, and that came back into our code.

It is a copy of the worker with one thread: it must neither report the job a second time nor fetch others, and the
sockets and the children are its parent's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NoReturn


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
