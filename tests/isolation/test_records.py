"""Log records on their way out of a child: what formatters and error trackers look at is there in the parent."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from faktory.isolation.records import as_main, document_of, record_of
from tests.isolation.jobs import OddError, deeper


def record(message: object, *args: object, exc: BaseException | None = None, extra: Any = None) -> logging.LogRecord:
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    logger = logging.getLogger("tests.records")
    return logger.makeRecord("tests.records", logging.INFO, __file__, 7, message, args, exc_info, "work", extra)


def travelled(sent: logging.LogRecord, facts: dict[str, Any] | None = None) -> logging.LogRecord:
    return record_of(json.loads(json.dumps(document_of(sent, facts or {}))))


def caught(function: Callable[..., object], *args: object) -> BaseException:
    try:
        function(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


DAY = datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    ("message", "args", "template", "there"),
    [
        ("plain", (), "plain", ()),
        ("100 %", (), "100 %", ()),
        ("%s of %d, %.1f", ("a", 2, 0.5), "%s of %d, %.1f", ("a", 2, 0.5)),
        ("on %s", (DAY,), "on %s", ("2026-01-02",)),
        ("%(a)s and %(b)d", ({"a": DAY, "b": 2},), "%(a)s and %(b)d", {"a": "2026-01-02", "b": 2}),
        ("%s", ([1, "b"],), "%s", ([1, "b"],)),
        ("%r", (DAY,), "datetime.date(2026, 1, 2)", None),  # as a text it would read otherwise
        ("%d", (decimal.Decimal(3),), "3", None),
        ("%s", ((1, 2),), "%s", ("(1, 2)",)),
        (DAY, (), "2026-01-02", None),
    ],
)
def test_a_message_keeps_its_template_and_what_travels_of_its_arguments(
    message: object, args: tuple[object, ...], template: str, there: object
) -> None:
    """C9."""
    sent = record(message, *args)
    found = travelled(sent)
    assert found.getMessage() == sent.getMessage()
    assert (found.msg, found.args or None) == (template, there or None)


class Unshowable:
    def __repr__(self) -> str:
        raise OddError("never")


def test_what_extra_adds_is_kept_whatever_it_is() -> None:
    """C9: as JSON has it, else as a text."""
    circle: list[Any] = []
    circle.append(circle)
    extra = {
        "colour": "blue",
        "pair": (1, 2),
        "day": DAY,
        "nested": {"day": DAY},
        "keys": {(1, 2): 3},
        "circle": circle,
        "unshowable": Unshowable(),
        "jid": None,
    }
    found = vars(travelled(record("x", extra=extra), {"jid": "abc", "queue": "default"}))
    assert {key: found[key] for key in [*extra, "queue"]} == {
        "colour": "blue",
        "pair": [1, 2],
        "day": "datetime.date(2026, 1, 2)",
        "nested": {"day": "datetime.date(2026, 1, 2)"},
        "keys": "{(1, 2): 3}",
        "circle": "[[...]]",
        "unshowable": "<Unshowable that cannot be shown>",
        "jid": "abc",
        "queue": "default",
    }


def test_where_and_when_it_was_logged_is_kept() -> None:
    sent = record("x")
    found = travelled(sent)
    for name in ("name", "levelno", "levelname", "pathname", "lineno", "funcName", "created", "process", "threadName"):
        assert getattr(found, name) == getattr(sent, name)


def raise_with_cause() -> None:
    try:
        deeper(None)  # type: ignore[arg-type]
    except OddError as exc:
        error = LookupError("not there")
        error.add_note("a note")
        raise error from exc


def test_an_exception_has_its_type_text_cause_notes_and_traceback() -> None:
    """C9: for formatters that look at it, as well as for those that print its text."""
    sent = record("failed", exc=caught(raise_with_cause))
    found = travelled(sent)
    assert found.exc_info is not None
    kind, exc, tb = found.exc_info
    assert kind is not None
    assert exc is not None
    assert (kind.__module__, kind.__qualname__, str(exc)) == ("builtins", "LookupError", "not there")
    assert exc.__notes__ == ["a note"]
    cause = exc.__cause__
    assert cause is not None
    assert (type(cause).__module__, type(cause).__name__, str(cause)) == ("tests.isolation.jobs", "OddError", "no good")
    own = [(frame.f_code.co_name, line) for frame, line in traceback.walk_tb(tb)]
    assert sent.exc_info is not None
    assert own == [(frame.f_code.co_name, line) for frame, line in traceback.walk_tb(sent.exc_info[2])]
    frame = next(iter(traceback.walk_tb(cause.__traceback__)))[0]
    assert (frame.f_code.co_filename, frame.f_globals["__name__"]) == (__file__, __name__)
    told = logging.Formatter().format(found)
    assert told == logging.Formatter().format(sent)
    found.exc_text = None
    told_anew = logging.Formatter().format(found).splitlines()
    assert told_anew == [line for line in told.splitlines() if not line or set(line) - set(" ^~")]  # but for the carets


def raise_without_context() -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        raise ValueError("outer") from None


def test_a_context_that_is_suppressed_stays_so() -> None:
    found = travelled(record("failed", exc=caught(raise_without_context)))
    assert found.exc_info
    text = "".join(traceback.format_exception(*found.exc_info))
    assert "outer" in text
    assert "inner" not in text
    assert found.exc_info[1] is not None
    assert found.exc_info[1].__suppress_context__


def raise_group() -> None:
    error = caught(deeper, None)
    assert isinstance(error, OddError)
    raise ExceptionGroup("two", [error, KeyError("b")])


def test_a_group_of_exceptions_is_one_again() -> None:
    found = travelled(record("failed", exc=caught(raise_group)))
    assert found.exc_info is not None
    exc = found.exc_info[1]
    assert isinstance(exc, ExceptionGroup)
    assert exc.message == "two"
    assert [(type(each).__name__, str(each)) for each in exc.exceptions] == [
        ("OddError", "no good"),
        ("KeyError", "'b'"),
    ]


def climb(left: int) -> None:
    if left:
        climb(left - 1)
    raise RecursionError("deep")


class Silent(Exception):
    def __str__(self) -> str:
        raise OddError("never")


def test_exceptions_that_are_deep_or_cannot_be_shown_travel() -> None:
    """C9."""
    found = travelled(record("failed", exc=caught(climb, 500)))
    assert found.exc_info is not None
    assert len(list(traceback.walk_tb(found.exc_info[2]))) == 100
    silent = Silent()
    silent.__context__ = silent  # no text, and a circle
    found = travelled(record("failed", exc=silent))
    assert found.exc_info is not None
    assert "whose text could not be made" in str(found.exc_info[1])


class Hostile(Exception):
    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise SystemExit(3)


def test_an_exception_that_exits_when_it_is_looked_at_costs_no_record() -> None:
    """C9."""
    sent = record("failed")
    sent.exc_info = (Hostile, Hostile("x"), None)
    found = travelled(sent)
    assert found.getMessage() == "failed"
    assert found.exc_text is not None


def test_a_traceback_without_an_exception_is_no_fault() -> None:
    sent = record("failed")
    sent.exc_info = sys.exc_info()
    assert travelled(sent).getMessage() == "failed"


def test_the_main_file_has_no_other_name_in_children() -> None:
    assert as_main("__mp_main__.Boom: no") == "Boom: no"


def test_handlers_of_the_parent_print_what_a_child_would_have_printed() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    handler.handle(travelled(record("at %s", DAY)))
    assert stream.getvalue() == "INFO tests.records at 2026-01-02\n"
