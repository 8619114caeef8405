"""Log lines of threads that must never wait, written by a thread of their own.

`logging` holds a handler's lock while a line is written, and a job can hold that for as long as it likes: by logging to
a full pipe, say. A heartbeat that waited for it would stop, and the server would give the worker up.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

IDLE = 0.5
"""Seconds without a line after which the thread ends."""

Line = tuple[logging.Logger, int, str, tuple[object, ...], Any, Mapping[str, object] | None]


class LateLog:
    """What a room logs with instead of a `logging.Logger` when one of its threads must not wait. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, message: str, *args: object) -> None:
        """Log soon, as `Logger.info` does."""
        _writer.write((self._logger, logging.INFO, message, args, None, None))

    def warning(self, message: str, *args: object, extra: Mapping[str, object] | None = None) -> None:
        """Log soon, as `Logger.warning` does."""
        _writer.write((self._logger, logging.WARNING, message, args, None, extra))

    def error(self, message: str, *args: object, extra: Mapping[str, object] | None = None) -> None:
        """Log soon, as `Logger.error` does."""
        _writer.write((self._logger, logging.ERROR, message, args, None, extra))

    def exception(self, message: str, *args: object) -> None:
        """Log soon, as `Logger.exception` does, with the exception that is being handled now."""
        _writer.write((self._logger, logging.ERROR, message, args, sys.exc_info(), None))


class Writer:
    """The thread that writes. Started by the first line, and by the next one after `close`."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        # Never held for long. Reentrant: a signal handler of the user's may call `terminate`, which logs.
        self._lock = threading.RLock()
        self._inbox: SimpleQueue[Line | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def write(self, line: Line) -> None:
        """Have a line written."""
        if self._pid != os.getpid():
            self._reset()  # a fork has taken only the thread that made it along
        with self._lock:
            self._inbox.put(line)
            if self._thread is None:
                thread = threading.Thread(target=self._live, args=[self._inbox], name="faktory-log", daemon=True)
                with suppress(RuntimeError):  # no thread is to be had now; the next line tries again
                    thread.start()
                    self._thread = thread

    def close(self, seconds: float) -> None:
        """Wait until all lines are written, but not for long: a job may hold them up."""
        if self._pid != os.getpid():
            return
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._inbox.put(None)
            self._inbox = SimpleQueue()  # the next thread has one of its own
        thread.join(seconds)

    def _live(self, inbox: SimpleQueue[Line | None]) -> None:
        """Write until told to end, or until nobody has logged for a while. The thread's outermost line."""
        while (line := self._next(inbox)) is not None:
            logger, level, message, args, exc_info, extra = line
            with suppress(BaseException):  # what a handler of logging raises must not end all lines
                logger.log(level, message, *args, exc_info=exc_info, extra=extra)
            del line, args, exc_info, extra  # nothing that a line is about is kept

    def _next(self, inbox: SimpleQueue[Line | None]) -> Line | None:
        with suppress(Empty):
            return inbox.get(timeout=IDLE)
        with self._lock:
            if self._inbox is inbox and inbox.empty():
                self._thread = None
                self._inbox = SimpleQueue()
                return None
        return inbox.get()


_writer = Writer()


def close(seconds: float) -> None:
    """Wait until all lines of before are written, at most so many seconds."""
    _writer.close(seconds)
