"""Log records on their way from a child to its parent: to what JSON can carry, and back. Pure.

What a formatter or an error tracker looks at is there again in the parent: the message's template and its arguments as
far as they travel, what `extra` has added, and an exception with its type's name, text, notes, causes and traceback.
Its class is one made up here: nothing is imported, or unpickled, by a name that a child has said.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

from ..core.failure import describe
from .program import MAIN

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CARRIED: Final = (
    "name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created", "msecs",
    "thread", "threadName", "process",
)  # fmt: skip
_PLAIN: Final = (str, int, float, bool, type(None))
_MOST_FRAMES: Final = 100
_MOST_LINKS: Final = 10
"""Causes of causes that travel with an exception."""
_MOST_TEXT: Final = 10_000

_formatter: Final = logging.Formatter()


class ChildError(Exception):
    """Stands for an exception that was logged in a child process: named as its type was, with its text."""


class ChildErrorGroup(ExceptionGroup[Exception]):
    """The same for a group of them."""


# -- in the child -----------------------------------------------------------------------------------------------------


def document_of(record: logging.LogRecord, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON can carry it; `facts` of the job are added where the record has none."""
    found = vars(record)
    document = {str(key): _portable(value) for key, value in found.items() if key not in _STANDARD}
    document |= {key: value for key, value in facts.items() if document.get(key) is None}
    document |= {key: found.get(key) for key in _CARRIED}
    document["msg"], document["args"] = _template_of(record)
    if record.exc_info:
        try:
            document["exc_text"] = as_main(_formatter.formatException(record.exc_info))
            if record.exc_info[1] is not None:
                document["exception"] = _exception_document(record.exc_info[1], _MOST_LINKS)
        except BaseException:  # an exception can do anything when it is looked at; the record is kept
            document.setdefault("exc_text", "<an exception that cannot be shown>")
    if record.stack_info:
        document["stack_info"] = record.stack_info
    return document


def as_main(text: str) -> str:
    """Return a text about exceptions that calls those of the main file as the parent would: by their names alone."""
    return text.replace(f"{MAIN}.", "")


def _template_of(record: logging.LogRecord) -> tuple[str, Any]:
    """Return the template and its arguments; the message and none where it would read otherwise in the parent."""
    message = record.getMessage()
    template, args = record.msg, record.args
    if type(template) is str and args:
        if isinstance(args, Mapping):
            there: Any = {str(key): _portable_argument(value) for key, value in args.items()}
            wanted = there
        else:
            there = [_portable_argument(value) for value in args]
            wanted = tuple(there)
        try:
            if template % wanted == message:
                return template, there
        except Exception:  # a number that has become a text
            return message, None
    return message, None


def _portable_argument(value: object) -> Any:
    if type(value) in _PLAIN:
        return value
    return _portable(value) if type(value) in (list, dict) else _text_of(value, str)


def _portable(value: object) -> Any:
    """Return a value as it comes out of JSON; what JSON cannot carry at all becomes a text."""
    if type(value) in _PLAIN:
        return value
    try:
        return json.loads(json.dumps(value, default=lambda inner: _text_of(inner, repr)))
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, circles
        return _text_of(value, repr)


def _text_of(value: object, show: type[str] | Any) -> str:
    try:
        return str.__str__(show(value))[:_MOST_TEXT]
    except Exception:  # whatever it is, the record is kept
        return f"<{type(value).__qualname__} that cannot be shown>"


def _exception_document(exc: BaseException, links: int) -> dict[str, Any]:
    kind = type(exc)
    frames = [
        (frame.f_code.co_filename, frame.f_code.co_name, line, frame.f_globals.get("__name__"))
        for frame, line in traceback.walk_tb(exc.__traceback__)
    ]
    document: dict[str, Any] = {
        "module": "__main__" if kind.__module__ == MAIN else kind.__module__,
        "name": kind.__qualname__,
        "text": describe(exc)[:_MOST_TEXT],
        "notes": [_text_of(note, str) for note in getattr(exc, "__notes__", ())],
        "frames": frames[-_MOST_FRAMES:],
        "suppress": exc.__suppress_context__,
    }
    if links > 0:
        for link, other in (("cause", exc.__cause__), ("context", exc.__context__)):
            if other is not None:
                document[link] = _exception_document(other, links - 1)
        if isinstance(exc, BaseExceptionGroup):
            document["text"] = _text_of(exc.message, str)
            document["group"] = [_exception_document(each, links - 1) for each in exc.exceptions[:_MOST_FRAMES]]
    return document


# -- in the parent ----------------------------------------------------------------------------------------------------


def record_of(document: dict[str, Any]) -> logging.LogRecord:
    """Return the record that a document tells of. Raises `KeyError`, `TypeError` and the like for what is none."""
    exception = document.pop("exception", None)
    if isinstance(document["args"], list):
        document["args"] = tuple(document["args"])
    record = logging.makeLogRecord(document)
    if exception is not None:
        exc = _exception_of(exception)
        record.exc_info = (type(exc), exc, exc.__traceback__)
    return record


def _exception_of(document: dict[str, Any]) -> Exception:
    named = {"__module__": document["module"], "__qualname__": document["name"]}
    name = document["name"].rpartition(".")[2]
    group = document.get("group")
    exc: Exception
    if group:
        exc = type(name, (ChildErrorGroup,), named)(document["text"], [_exception_of(each) for each in group])
    else:
        exc = type(name, (ChildError,), named)(document["text"])
    for note in document["notes"]:
        exc.add_note(note)
    exc.__traceback__ = _traceback_of(document["frames"])
    for link in ("cause", "context"):
        if link in document:
            setattr(exc, f"__{link}__", _exception_of(document[link]))
    exc.__suppress_context__ = document["suppress"]
    return exc


def _traceback_of(frames: list[tuple[str, str, int, str | None]]) -> TracebackType | None:
    found: TracebackType | None = None
    for filename, function, line, module in reversed(frames):
        found = TracebackType(found, _frame_of(filename, function, line, module), -1, line)
    return found


class _Here(Exception):
    pass


_RAISES: Final[CodeType] = compile("raise here", "<child>", "exec")


def _frame_of(filename: str, function: str, line: int, module: str | None) -> FrameType:
    """Return a frame that looks like a child's: of a code object that has its file, name and line."""
    code = _RAISES.replace(co_filename=filename, co_name=function, co_qualname=function, co_firstlineno=line)
    own: TracebackType | None = None
    try:
        exec(code, {"here": _Here, "__name__": module, "__file__": filename})  # noqa: S102  # raises, and does no more
    except _Here as exc:
        own = exc.__traceback__
    if own is None or own.tb_next is None:
        raise TypeError("a frame that cannot be made")
    return own.tb_next.tb_frame
