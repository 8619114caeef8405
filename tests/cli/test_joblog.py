"""What is told of jobs and of log records."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest

from faktory import Job
from faktory.cli import joblog
from faktory.cli.joblog import Terminal, duration, failed, fate_of, handler_for, ran, words_of
from faktory.cli.output import Output
from faktory.observe import JsonFormatter
from faktory.protocol import blotting


def fetched(attempt: int = 1, retry: int = 25, **fields: Any) -> Job:
    document = {"jid": "2389ab1c5555", "jobtype": "add", "args": [], "retry": retry, "queue": "default", **fields}
    if attempt > 1:
        document["failure"] = {"retry_count": attempt - 2, "remaining": retry - attempt + 1}
    return Job.decode(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("attempt", "retry", "expected"),
    [
        (1, 25, "attempt 1 of 26, again in 15 to 44 s"),
        (4, 25, "attempt 4 of 26, again in 96 to 212 s"),
        (6, 25, "attempt 6 of 26, again in 10.7 to 13.6 min"),
        (11, 25, "attempt 11 of 26, again in 2.8 to 2.9 h"),
        (25, 25, "attempt 25 of 26, again in 3.8 d"),
        (26, 25, "attempt 26 of 26, the last: it is dead"),
        (1, -1, "has no retry and is dropped"),
    ],
)
def test_what_becomes_of_a_failed_job(attempt: int, retry: int, expected: str) -> None:
    assert fate_of(fetched(attempt, retry)) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0 ms"), (0.9994, "999 ms"), (0.9999, "1.0 s"), (9.94, "9.9 s"), (75, "75 s"), (600, "10 min"),
     (9_000, "2 h"), (400_000, "5 d")],
)  # fmt: skip
def test_durations_are_short(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_job_that_has_run_is_told_with_its_wait(caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC).isoformat()
    with caplog.at_level("INFO"):
        assert ran(fetched(enqueued_at=now), lambda: 5) == 5
        coroutine = ran(fetched(), lambda: done())
        assert isinstance(coroutine, Awaitable)
        with pytest.raises(StopIteration) as stopped:
            coroutine.__await__().send(None)
        assert stopped.value.value == 6
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("ok add 2389ab1c  ")
    assert first.endswith("ms)")
    assert " (waited " in first
    assert " (waited " not in second


async def done() -> int:
    return 6


def test_a_failed_job_is_told_without_passwords_or_control_characters(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blotting, "_patterns", {"secret": blotting.pattern_of("secret")})
    try:
        raise ValueError("tcp://:secret@host \x1b[31m")
    except ValueError as exc:
        failed(fetched(), exc)
    message = caplog.records[0].getMessage()
    assert message.startswith("FAIL add 2389ab1c attempt 1 of 26, again in 15 to 44 s\nValueError: tcp://")
    assert "secret" not in message
    assert "\x1b" not in message
    assert "test_joblog.py:" in message.splitlines()[1]


def record(name: str, message: str, *args: object, level: int = logging.INFO, exc: Any = None) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, message, args, exc)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (record("faktory.jobs", "ok %s", "add"), ("ok", "add")),
        (record("faktory.consumer", "working as %s at %s", "wid", "x"), ("ready", "wid")),
        (
            record("faktory.consumer", "ended: %d jobs succeeded, %d, %d, %d", 4, 1, 2, 0),
            ("ended", "4 succeeded, 1 failed, 2 skipped, 0 cut off"),
        ),
        (record("faktory.heartbeat", "beats"), ("info", "beats")),
        (record("shop", "sold", level=logging.WARNING), ("WARNING", "shop: sold")),
    ],
)  # fmt: skip
def test_the_words_of_a_record(given: logging.LogRecord, expected: tuple[str, str]) -> None:
    assert words_of(given) == expected


class Told(Output):
    def __init__(self) -> None:
        super().__init__("prog", environ={"NO_COLOR": "1"})
        self.lines: list[str] = []

    def tell(self, text: str) -> None:
        self.lines.append(text)


def error() -> Any:
    try:
        raise ValueError("x")
    except ValueError:
        return sys.exc_info()


def test_a_terminal_shows_tracebacks_and_leaves_out_what_is_said_elsewhere() -> None:
    told = Told()
    terminal = Terminal(told, shows_jobs=True)
    terminal.emit(record("faktory.consumer", "job %a (%a) failed%s", 1, 2, 3))
    terminal.emit(record("faktory.consumer", "terminating: running jobs have %g s to end", 25))
    assert told.lines == []
    terminal.emit(record("faktory.hooks", "it raised", level=logging.ERROR, exc=error()))
    lines = told.lines[0].splitlines()
    assert lines[0].endswith(" ERROR  it raised")
    assert lines[-1] == "ValueError: x"
    Terminal(told, shows_jobs=False).emit(record("faktory.consumer", "job %a (%a) failed", 1, 2))
    assert told.lines[1].endswith(" info   job 1 (2) failed")


def test_a_record_that_cannot_be_shown_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(Told(), shows_jobs=True).emit(record("x", "%d", "no number"))
    assert "--- Logging error ---" in capsys.readouterr().err


def test_the_handler_is_that_of_the_format() -> None:
    told = Told()
    assert isinstance(handler_for(told, "text", is_terminal=True, shows_jobs=True), Terminal)
    assert isinstance(handler_for(told, "json", is_terminal=True, shows_jobs=True).formatter, JsonFormatter)
    assert handler_for(told, "text", is_terminal=False, shows_jobs=True).formatter is not None
    assert joblog.named("a\nb", "0123456789") == "a\\nb 01234567"
