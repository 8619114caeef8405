"""Log records as JSON, one line each, with the facts of the job that they belong to. Never a job's arguments."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final

from ..core.again import runs_before
from ..core.hand import in_hand

_USUAL: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""What every record has; all else came as `extra=`."""
_JOB: Final = ("jid", "jobtype", "queue", "attempt")
_OUTCOME: Final = ("outcome", "duration_s", "wait_s")
_OURS: Final = frozenset(("ts", "level", "logger", "msg", "pid", "thread", "error", "trace_id", "span_id"))


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON.

    `ts` (RFC 3339, UTC, microseconds), `level`, `logger`, `msg`, `pid`, `thread`; in a job `jid`, `jobtype`, `queue`,
    `attempt`; on an outcome `outcome`, `duration_s`, `wait_s`; `error` with `type`, `message`, `stack`; `trace_id` and
    `span_id` where OpenTelemetry has a span; and what a call gives as `extra=`, what JSON cannot carry as text. ::

        handler.setFormatter(faktory.observe.JsonFormatter())
    """

    def __init__(self) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON. Never raises for what cannot be shown."""
        document: dict[str, Any] = {
            "ts": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": _message(record),
            "pid": record.process,
            "thread": record.threadName,
        }
        fields = vars(record)
        facts = _facts(fields)
        document |= {name: facts[name] for name in _JOB if facts.get(name) is not None}
        document |= {name: fields[name] for name in _OUTCOME if fields.get(name) is not None}
        document |= _span(fields)
        error = _error(record)
        if error is not None:
            document["error"] = error
        if record.stack_info:
            document["stack"] = record.stack_info
        for name, value in fields.items():
            if name not in _USUAL and name not in document and name not in _JOB and name not in _OURS:
                document[name] = value
        return _encoded(document)


def _stamp(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return f"{text.removesuffix('+00:00')}Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as exc:  # arguments that do not fit the template: the line is still worth having
        return f"{record.msg!r} (which could not be filled in: {type(exc).__name__})"


def _facts(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of the record's job: its own fields, else those of the job that logs."""
    if fields.get("jid") is not None:
        return fields
    holding = in_hand.get()
    if holding is None:
        return {}
    job = holding.job
    return {"jid": job.jid, "jobtype": job.jobtype, "queue": job.queue, "attempt": job.attempt + runs_before(job)}


def _span(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the ids of the span that the code runs in, when the program has imported OpenTelemetry."""
    given = {name: fields[name] for name in ("trace_id", "span_id") if isinstance(fields.get(name), str)}
    trace = sys.modules.get("opentelemetry.trace")
    if given or trace is None:
        return given
    try:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    except Exception:  # half imported, or another version: no reason to lose the line
        return {}


def _error(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return the exception of a record; of one whose text is all that is left, as out of a child, the stack alone."""
    info = record.exc_info
    exc = info[1] if isinstance(info, tuple) else None
    if exc is None and not record.exc_text:
        return None
    try:
        stack = record.exc_text or "".join(traceback.format_exception(*info)) if info else record.exc_text
        found = {"stack": str(stack).rstrip("\n")}
        if exc is None:
            return found
        return {"type": type(exc).__qualname__, "message": str(exc), **found}
    except Exception as problem:
        return {"type": type(exc).__qualname__, "message": f"cannot be told: {type(problem).__name__}", "stack": ""}


def _encoded(document: dict[str, Any]) -> str:
    try:
        return json.dumps(document, default=_text)
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, circles
        return json.dumps({name: value if _is_plain(value) else _text(value) for name, value in document.items()})


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__qualname__} that cannot be shown>"
