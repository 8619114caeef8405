"""What children write and log, put out by their parent. Called by the thread that listens to them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Final

from .records import record_of

_LONGEST_LINE: Final = 64 * 1024


class Lines:
    """Cuts what comes through a pipe into lines, and passes on whole ones; none at the pipe's end."""

    def __init__(self, sink: Callable[[list[bytes]], None]) -> None:
        self._sink = sink
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        """Take what has come; nothing is the end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > _LONGEST_LINE):
            lines.append(self._rest)
            self._rest = b""
        if lines:
            self._sink(lines)
        if not data:
            self._sink([])


def print_lines(stream: IO[str] | None, lines: list[bytes]) -> None:
    """Print lines that a child has printed."""
    if lines and stream is not None:
        with suppress(OSError, ValueError):  # closed: there is nobody to tell
            text = "".join(f"{line.decode('utf-8', 'replace')}\n" for line in lines)
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()


def print_on_stdout(lines: list[bytes]) -> None:
    """Print lines on this process's stdout, whatever that is now."""
    print_lines(sys.stdout, lines)


def log_records(lines: list[bytes]) -> None:
    """Give log records to the handlers of this process."""
    for line in lines:
        try:
            record = record_of(json.loads(line))
        except (ValueError, TypeError, LookupError):  # the child was killed in the middle of it
            continue
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
