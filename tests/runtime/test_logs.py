"""Log lines of threads that must not wait."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from faktory.runtime import logs
from faktory.runtime.logs import LateLog, close
from tests.waiting import until


class Held(logging.Handler):
    """A handler whose lock a job holds: no line gets through meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if record.getMessage() == "bad":
            raise SystemExit(3)


def test_who_logs_waits_for_nobody() -> None:
    handler = Held()
    logging.getLogger("faktory.late").addHandler(handler)
    log = LateLog("faktory.late")
    handler.acquire()
    try:
        log.warning("%d", 1)
        log.error("%d", 2)
        close(0.01)
        assert handler.lines == []
    finally:
        handler.release()
    log.error("bad")
    log.warning("%d", 3)
    close(5)
    until(lambda: len(handler.lines) == 4)  # the first thread, for which `close` has not waited, writes its own
    logging.getLogger("faktory.late").removeHandler(handler)
    assert sorted(handler.lines) == ["1", "2", "3", "bad"]


def test_an_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log = LateLog("faktory.late")
    caplog.set_level(logging.INFO)
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("it %s", "broke")
    log.info("after")
    close(5)
    close(5)  # nothing to wait for
    assert "ValueError: why" in caplog.text
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "it broke"),
        ("INFO", "after"),
    ]


def test_the_thread_ends_when_nobody_logs_and_comes_back_with_the_next_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "faktory-log"]

    monkeypatch.setattr(logs, "IDLE", 0.01)
    log = LateLog("faktory.late")
    log.warning("first")
    until(lambda: not threads())
    log.warning("second")
    close(5)
    assert [record.getMessage() for record in caplog.records] == ["first", "second"]


def test_lines_without_a_thread_to_be_had_are_written_by_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = LateLog("faktory.late")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        log.warning("first")
    close(5)
    assert caplog.text == ""
    log.warning("second")
    close(5)
    assert [record.getMessage() for record in caplog.records] == ["first", "second"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the point of it: a fork beside a thread
def test_a_forked_process_logs_by_a_thread_of_its_own() -> None:
    log = LateLog("faktory.late")
    log.warning("before")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            close(5)  # its parent's thread, which is not there
            handler = logging.StreamHandler(os.fdopen(writer, "w"))
            logging.getLogger("faktory.late").addHandler(handler)
            log.warning("in the child")
            close(5)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert stream.read() == "in the child\n"
    os.waitpid(pid, 0)
    close(5)
