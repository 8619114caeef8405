"""Time limits: how to stop what a handler does. In threads, that is what Python can do, and no more.

An exception can be raised in another thread between two of its bytecodes. Code that waits inside C (a long `sleep`, a
lock, a socket without a time limit) gets it only when it comes back, and a handler may catch it.
"""

from __future__ import annotations

import os
import sys

from ..errors import ConfigurationError

is_child = False
"""True in the nursery and in its children, where no consumer with children of its own is started."""


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


def interrupt_thread(thread_id: int, exc_type: type[Exception]) -> None:
    """Have `exc_type()` raised in a thread, soon. The caller makes sure that the thread expects it."""
    from ctypes import c_ulong, py_object, pythonapi  # slow to import, and rarely needed

    pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread_id), py_object(exc_type))


def forget_interrupt(thread_id: int) -> None:
    """Take back an exception that the thread has not raised yet."""
    from ctypes import c_ulong, pythonapi

    pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread_id), None)
