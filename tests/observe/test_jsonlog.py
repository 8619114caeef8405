"""Records as JSON."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from faktory import Job
from faktory.core.managed import Managed
from faktory.core.run import Run, running
from faktory.observe import JsonFormatter


def record_of(message: str = "hello %s", *args: object, **extra: Any) -> logging.LogRecord:
    record = logging.getLogger("shop").makeRecord("shop", logging.WARNING, "f.py", 1, message, args, None, extra=extra)
    record.created = 1_700_000_000.000001
    return record


def written(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_record_has_time_level_logger_and_place() -> None:
    record = record_of("hello %s", "world\nand all")
    assert written(record) == {
        "ts": "2023-11-14T22:13:20.000001Z",
        "level": "warning",
        "logger": "shop",
        "msg": "hello world\nand all",
        "pid": record.process,
        "thread": "MainThread",
    }


def test_a_record_of_a_job_has_its_facts_but_no_arguments() -> None:
    job = Job("resize", ["secret"], queue="images")
    token = running.set(Run(job, 0.0, Managed()))
    try:
        found = written(record_of("x"))
    finally:
        running.reset(token)
    assert {name: found[name] for name in ("jid", "jobtype", "queue", "attempt")} == {
        "jid": job.jid,
        "jobtype": "resize",
        "queue": "images",
        "attempt": 1,
    }
    assert "secret" not in str(found)
    assert "jid" not in written(record_of("x"))


def test_fields_of_a_record_win_over_the_job_in_hand() -> None:
    token = running.set(Run(Job("resize"), 0.0, Managed()))
    try:
        found = written(record_of("x", jid="of-a-child", jobtype="other", queue=None, attempt=None))
    finally:
        running.reset(token)
    assert (found["jid"], found["jobtype"], "queue" in found) == ("of-a-child", "other", False)


def test_an_outcome_and_what_a_call_gives_are_kept() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    class Worse:
        def __str__(self) -> str:
            raise ValueError

    found = written(record_of("x", outcome="failed", duration_s=1.5, wait_s=0.1, user=7, odd=Odd(), worse=Worse()))
    assert (found["outcome"], found["duration_s"], found["wait_s"]) == ("failed", 1.5, 0.1)
    assert (found["user"], found["odd"]) == (7, "odd")
    assert "cannot be shown" in found["worse"]


def test_what_json_cannot_carry_becomes_text() -> None:
    circle: list[Any] = []
    circle.append(circle)
    found = written(record_of("x", circle=circle, keys={(1, 2): 3}, fine=[1]))
    assert (found["circle"], found["keys"], found["fine"]) == ("[[...]]", "{(1, 2): 3}", [1])


def test_a_message_that_does_not_fit_is_kept() -> None:
    assert written(record_of("%d apples", "no"))["msg"] == "'%d apples' (which could not be filled in: TypeError)"


def test_an_error_has_type_message_and_stack() -> None:
    record = record_of("x")
    try:
        raise KeyError("cat")
    except KeyError:
        record.exc_info = sys.exc_info()
    error = written(record)["error"]
    assert (error["type"], error["message"]) == ("KeyError", "'cat'")
    assert error["stack"].startswith("Traceback (most recent call last):")
    assert error["stack"].endswith("KeyError: 'cat'")


def test_an_error_that_cannot_be_told_is_no_reason_to_lose_the_line() -> None:
    class Untellable(Exception):
        def __str__(self) -> str:
            raise ValueError

    record = record_of("x")
    record.exc_info = (Untellable, Untellable(), None)
    assert written(record)["error"]["type"].endswith("Untellable")


def test_the_text_of_an_exception_without_itself_is_kept() -> None:
    record = record_of("x")
    record.exc_text = "Traceback ...\nKeyError: ***"
    record.stack_info = "Stack ..."
    found = written(record)
    assert found["error"] == {"stack": "Traceback ...\nKeyError: ***"}
    assert found["stack"] == "Stack ..."
    record.exc_info = (None, None, None)
    assert written(record)["error"] == {"stack": "Traceback ...\nKeyError: ***"}


def test_the_ids_of_a_span_are_there_when_a_span_is() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    assert "trace_id" not in written(record_of("x"))
    context = trace.SpanContext(1, 2, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        found = written(record_of("x"))
        given = written(record_of("x", trace_id="a", span_id="b"))
    assert (found["trace_id"], found["span_id"]) == (f"{1:032x}", f"{2:016x}")
    assert (given["trace_id"], given["span_id"]) == ("a", "b")


def test_a_broken_opentelemetry_is_no_reason_to_lose_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", object())
    assert "trace_id" not in written(record_of("x"))
