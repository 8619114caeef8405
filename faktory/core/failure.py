"""An exception to the report that goes to the server. Pure; never raises, whatever the exception's own methods do."""

from __future__ import annotations

from dataclasses import dataclass
from opcode import opmap
from types import TracebackType
from typing import Any

from ..commands import Fail, cut
from ..errors import FaktoryError, JobCancelled, JobTimeout
from ..job import Job
from ..options import MAX_BACKTRACE, MAX_MESSAGE
from ..protocol.blotting import blot
from ..runtime.package import FOLDER

_RAISE = opmap["RAISE_VARARGS"]
_MAX_PART = 10 * MAX_MESSAGE

_get_traceback = BaseException.__dict__["__traceback__"].__get__

CUT_OFF = "the worker had to stop before the job was done"


def overran(limit: float) -> JobTimeout:
    """Return what a job gets that ran past its time limit, in seconds."""
    return JobTimeout(f"the job ran past its time limit of {limit:g} s")


def cut_off() -> JobCancelled:
    """Return what a job gets that a shutdown cuts off."""
    return JobCancelled(CUT_OFF)


def again(error: Exception) -> Exception:
    """Return a fresh one like it, to be raised: with a traceback it would keep a job's values alive."""
    return type(error)(*error.args)


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of a failed job; `place` is where the user's code raised, for the log, empty when it did not."""

    errtype: str
    message: str
    backtrace: tuple[str, ...] = ()
    place: str = ""
    asks: dict[str, Any] | None = None
    """What a plain handler in a child process asks its consumer for: {"retry": seconds} or {"discard": reason}."""

    def command(self, jid: str) -> Fail:
        """Return the FAIL of the job."""
        message = blot(self.message[:_MAX_PART])  # cut later: half a password would not be found
        return Fail(jid, blot(self.errtype), message, [blot(line) for line in self.backtrace])


class ReportedFailure(Exception):
    """A job failed where somebody else has made the report: a child process.

    `error` is what the hooks are to be told; None when they were told there.
    """

    def __init__(self, report: Report, error: FaktoryError | None = None) -> None:
        super().__init__(report.message)
        self.report = report
        self.error = error


def report_on(
    job: Job, exc: BaseException, *, limit: float, interrupted_by: type[BaseException] | None = None
) -> Report:
    """Return the report for a job whose handler raised `exc`.

    `limit` is the job's time limit in seconds; `interrupted_by` is what the consumer has had raised in the handler. The
    backtrace starts at the user's code and has at most as many lines as the job asks for, 50 when it does not say.
    """
    try:
        lines = MAX_BACKTRACE if job.backtrace is None else min(job.backtrace, MAX_BACKTRACE)
        message = _message(job, exc, limit, interrupted_by)
        return Report(type_name(exc), message, tuple(_backtrace(exc, lines)) if lines > 0 else (), place_of(exc))
    except BaseException:  # an exception's class can do anything when it is looked at
        return Report(type_name(exc), "<an exception that cannot be told>")


def account_of(
    job: Job, exc: BaseException, *, limit: float = 0.0, interrupted_by: type[BaseException] | None = None
) -> tuple[Report, BaseException | None]:
    """Return the report on a failure, and what the hooks are to be told: None when they were told elsewhere."""
    if issubclass(type(exc), ReportedFailure):  # isinstance would ask the exception itself
        return exc.report, exc.error  # type: ignore[attr-defined]
    return report_on(job, exc, limit=limit, interrupted_by=interrupted_by), exc


def _message(job: Job, exc: BaseException, limit: float, interrupted_by: type[BaseException] | None) -> str:
    """Return the exception's text, or a better one where there is one."""
    if type(exc) is interrupted_by and not exc.args:
        return f"the job ran past its time limit of {limit:g} s" if isinstance(exc, JobTimeout) else CUT_OFF
    if issubclass(type(exc), TypeError) and not reached_user_code(traceback_of(exc)):
        return f"the handler of {job.jobtype!a} cannot be called with the job: {describe(exc)}"
    return describe(exc)


def describe(exc: BaseException) -> str:
    """Return the text of an exception, or a substitute when it has none or cannot tell it."""
    try:
        text = str.__str__(str(exc))  # a plain one: the methods of a subclass could raise
    except BaseException:  # an error in telling of an error: the job is failed all the same
        return f"<{type_name(exc)}, whose text could not be made>"
    return text if text.strip() else f"<{type_name(exc)} without a text>"


def type_name(exc: BaseException) -> str:
    """Return the name of an exception's class, or a substitute when it cannot tell it."""
    try:
        return str.__str__(type(exc).__name__)
    except BaseException:  # a metaclass can do anything
        return "Exception"


def _backtrace(exc: BaseException, limit: int) -> list[str]:
    # Imported late: traceback costs milliseconds that only a failure needs to pay.
    from traceback import TracebackException

    try:
        told = TracebackException(type(exc), exc, user_traceback(traceback_of(exc)), limit=-200, compact=True)
        # A part can be a text of megabytes, or of millions of lines: it is cut before it is split.
        parts = [_without_carets(part[:_MAX_PART].rstrip("\n").split("\n")) for part in told.format()]
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


def _without_carets(part: list[str]) -> list[str]:
    """Return the lines of a frame without those that underline source: a report has few lines, and no fixed pitch."""
    if not part[0].lstrip(" |").startswith('File "'):
        return part
    return [line for line in part if line.strip(" |^~")]


def traceback_of(exc: BaseException) -> TracebackType | None:
    """Return an exception's traceback, whatever a subclass has put in its place."""
    found: TracebackType | None = _get_traceback(exc)
    return found


def user_traceback(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the user's code; all of it when none of it is the user's."""
    found = traceback
    while found is not None and found.tb_frame.f_code.co_filename.startswith(FOLDER):
        found = found.tb_next
    return found if found is not None else traceback


def reached_user_code(traceback: TracebackType | None) -> bool:
    """Tell whether an exception came from the user's code, not from the call of it."""
    found = user_traceback(traceback)
    return found is not None and not found.tb_frame.f_code.co_filename.startswith(FOLDER)


def raised_by_code(exc: BaseException) -> bool:
    """Tell whether a `raise` statement raised it; a Ctrl-C strikes between others."""
    found = traceback_of(exc)
    if found is None:
        return True
    while found.tb_next is not None:
        found = found.tb_next
    return found.tb_frame.f_code.co_code[found.tb_lasti] == _RAISE


def place_of(exc: BaseException) -> str:
    """Return where the user's code raised: file, line and function; empty when it did not."""
    found = traceback_of(exc)
    place = ""
    while found is not None:
        code = found.tb_frame.f_code
        if not code.co_filename.startswith(FOLDER):
            place = f" at {code.co_filename}:{found.tb_lineno} in {code.co_name}"
        found = found.tb_next
    return place
