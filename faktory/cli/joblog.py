"""What a worker tells: a line for each job where one is watched, and log records as lines for a terminal, text or JSON.

`ran` and `failed` are middleware and a hook: functions at the top of a module, which child processes can import. They
log below `faktory.jobs`, so that what they say in a child arrives here like any record. Their message begins with the
word that the terminal shows in front.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from ..core.callables import is_awaitable
from ..core.failure import describe, place_of
from ..core.run import facts_of
from ..job import Job
from ..observe.jsonlog import JsonFormatter
from ..protocol.blotting import blot
from ..runtime.ticking import monotonic
from .output import Output, escaped

JOBS: Final = "faktory.jobs"
COMMAND: Final = "faktory.cli"
log: logging.Logger = logging.getLogger(JOBS)

_STYLES: Final = {"ok": "32", "FAIL": "1;31", "ERROR": "1;31", "WARNING": "33"}
_FAILED: Final = "job %a (%a) failed"
_TERMINATING: Final = "terminating: "
# How records of `faktory.consumer` begin that the lines of `failed` and of the worker's end say better.
_READY: Final = "working as %s at "
_ENDED: Final = "ended: %d jobs succeeded"
_SHOWN: Final = 8
"""Letters of a jid that are shown: enough to tell the jobs of an hour apart."""


# -- jobs -------------------------------------------------------------------------------------------------------------


def ran(job: Job, call_next: Callable[..., Any]) -> Any:
    """Middleware: tell of a job that has run, and how long it took and had waited."""
    waited = _waited(job, datetime.now(UTC))
    started = monotonic()
    result = call_next()
    if is_awaitable(result):
        return _ran_async(job, result, started, waited)
    _tell(job, monotonic() - started, waited)
    return result


async def _ran_async(job: Job, result: Awaitable[Any], started: float, waited: float | None) -> Any:
    found = await result
    _tell(job, monotonic() - started, waited)
    return found


def failed(job: Job, exc: BaseException) -> None:
    """Hook: tell of a job that has failed, and what becomes of it."""
    place = place_of(exc).removeprefix(" at ").removeprefix(os.path.realpath(".") + os.sep)
    text = blot(f"{type(exc).__name__}: {describe(exc)}"[:2000])
    facts = facts_of(job) | {"outcome": "dead" if job.is_last_attempt else "failed"}
    log.warning(
        "FAIL %s\n%s", f"{_named(job)} {fate_of(job)}", f"{escaped(text)[:500]}   {place}".rstrip(), extra=facts
    )


def _tell(job: Job, seconds: float, waited: float | None) -> None:
    facts = facts_of(job) | {"outcome": "succeeded", "duration_s": round(seconds, 6)}
    if waited is not None:
        facts["wait_s"] = round(waited, 6)
    shown = "" if waited is None else f" (waited {duration(waited)})"
    log.info("ok %s  %s%s", _named(job), duration(seconds), shown, extra=facts)


def _waited(job: Job, now: datetime) -> float | None:
    return None if job.enqueued_at is None else max(0.0, (now - job.enqueued_at).total_seconds())


def _named(job: Job) -> str:
    return named(job.jobtype, job.jid)


def named(jobtype: str, jid: str) -> str:
    """Return what a line calls a job."""
    return escaped(f"{jobtype[:60]} {jid[:_SHOWN]}")


def fate_of(job: Job) -> str:
    """Return what becomes of a job that has failed; the server's delays are those of manager/retry.go."""
    if job.retry < 0:
        return "has no retry and is dropped"
    if job.is_last_attempt:
        return f"attempt {job.attempt} of {job.retry + 1}, the last: it is dead"
    count = job.attempt - 1
    least = count**4 + 15
    most = least + 29 * (count + 1)
    return f"attempt {job.attempt} of {job.retry + 1}, again in {_span(least, most)}"


def _span(least: int, most: int) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if least >= 2 * unit:
            low, high = f"{least / unit:.1f}", f"{most / unit:.1f}"
            return f"{low} {name}" if low == high else f"{low} to {high} {name}"
    return f"{least} to {most} s"


def duration(seconds: float) -> str:
    """Return seconds as a reader takes them in."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


# -- records ----------------------------------------------------------------------------------------------------------


class Terminal(logging.Handler):
    """Writes records as short lines with the time of day. With `shows_jobs` jobs have lines of their own."""

    def __init__(self, output: Output, *, shows_jobs: bool) -> None:
        super().__init__()
        self._output = output
        self._shows_jobs = shows_jobs

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            is_said = str(record.msg).startswith((_TERMINATING, _FAILED) if self._shows_jobs else _TERMINATING)
            if not is_said:
                self._output.tell(self._line(record))
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        word, text = words_of(record)
        first, *rest = text.split("\n")
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        padded = self._output.styled(f"{word:<6}", _STYLES.get(word, ""), sys.stderr)
        start = "\r" if word == "ending" else ""  # over the ^C that the terminal has shown
        lines = [f"{start}{moment} {padded} {escaped(first)}", *(f"{'':16}{escaped(line)}" for line in rest)]
        return "\n".join(lines + _traceback(record))


def words_of(record: logging.LogRecord) -> tuple[str, str]:
    """Return what the terminal shows of a record: the word in front, and the text. Pure."""
    template, args = str(record.msg), record.args
    if record.name == JOBS or record.name == COMMAND:
        word, _, text = record.getMessage().partition(" ")
        return word, text
    if isinstance(args, tuple):
        if template.startswith(_READY):
            return "ready", str(args[0])
        if template.startswith(_ENDED) and len(args) == 4:
            succeeded, failures, skipped, cut_off = args
            also = f", {skipped} skipped" if skipped else ""
            return "ended", f"{succeeded} succeeded, {failures} failed{also}, {cut_off} cut off"
    word = "info" if record.levelno == logging.INFO else record.levelname
    name = "" if record.name.startswith("faktory") else f"{record.name}: "
    return word, f"{name}{record.getMessage()}"


def _traceback(record: logging.LogRecord) -> list[str]:
    if record.exc_text:  # without passwords, or out of a child
        return record.exc_text.split("\n")
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip().split("\n")
    return []


def handler_for(output: Output, kind: str, *, is_terminal: bool, shows_jobs: bool) -> logging.Handler:
    """Return the handler for a format: "json", or "text", which on a terminal is short lines."""
    if kind == "text" and is_terminal:
        return Terminal(output, shows_jobs=shows_jobs)
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if kind == "json" else text)
    return handler
