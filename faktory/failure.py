"""An exception to the FAIL that reports it. Pure, and cannot raise, whatever the exception's own methods do."""

from __future__ import annotations

import os
from opcode import opmap
from types import TracebackType

from .commands import Fail, cut
from .job import Job
from .options import MAX_BACKTRACE, MAX_MESSAGE

_RAISE = opmap["RAISE_VARARGS"]
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120  # pathlib is slow to import
_MAX_PART = 10 * MAX_MESSAGE


def fail_command(job: Job, exc: BaseException, message: str | None = None) -> Fail:
    """Return the FAIL for a job whose handler raised `exc`; `message` replaces the exception's own text.

    The backtrace starts at the user's code and has at most as many lines as the job asks for, 50 when it does not say.
    """
    limit = MAX_BACKTRACE if job.backtrace is None else min(job.backtrace, MAX_BACKTRACE)
    return Fail(
        job.jid,
        _type_name(exc),
        describe(exc) if message is None else message,
        _backtrace(exc, limit) if limit > 0 else (),
    )


def describe(exc: BaseException) -> str:
    """Return the text of an exception, or a substitute when it has none or cannot tell it."""
    try:
        text = str.__str__(str(exc))  # a plain one: the methods of a subclass could raise
    except BaseException:  # an error in telling of an error: the job is failed all the same
        return f"<{_type_name(exc)}, whose text could not be made>"
    return text if text.strip() else f"<{_type_name(exc)} without a text>"


def _type_name(exc: BaseException) -> str:
    try:
        return str.__str__(type(exc).__name__)
    except BaseException:  # a metaclass can do anything
        return "Exception"


def _backtrace(exc: BaseException, limit: int) -> list[str]:
    # Imported late: traceback costs milliseconds that only a failure needs to pay.
    from traceback import TracebackException

    try:
        told = TracebackException(type(exc), exc, user_traceback(exc.__traceback__), limit=-200, compact=True)
        # A part can be a text of megabytes, or of millions of lines: it is cut before it is split.
        parts = [part[:_MAX_PART].rstrip("\n").split("\n") for part in told.format()]
    except BaseException:
        return []
    lines = [cut(line, MAX_MESSAGE) for part in parts for line in part]
    lines = lines[1:] if lines[0].startswith("Traceback ") else lines
    if len(lines) <= limit:
        return lines
    # The end says what happened and the start where it began: the middle goes.
    head = limit // 3
    tail = limit - head - 1
    middle = f"... {len(lines) - head - tail} lines left out ..."
    return [*lines[:head], middle, *lines[len(lines) - tail :]] if tail > 0 else lines[-limit:]


def user_traceback(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the user's code; all of it when none of it is the user's."""
    found = traceback
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        found = found.tb_next
    return found if found is not None else traceback


def reached_user_code(traceback: TracebackType | None) -> bool:
    """Tell whether an exception came from the user's code, not from the call of it."""
    found = user_traceback(traceback)
    return found is not None and not found.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def raised_by_code(exc: BaseException) -> bool:
    """Tell whether a `raise` statement raised it; a Ctrl-C strikes between others."""
    found = exc.__traceback__
    if found is None:
        return True
    while found.tb_next is not None:
        found = found.tb_next
    return found.tb_frame.f_code.co_code[found.tb_lasti] == _RAISE


def place_of(exc: BaseException) -> str:
    """Return where the user's code raised: file, line and function; empty when it did not."""
    found = exc.__traceback__
    place = ""
    while found is not None:
        code = found.tb_frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            place = f" at {code.co_filename}:{found.tb_lineno} in {code.co_name}"
        found = found.tb_next
    return place
