"""A child process: read a job, run it, say how it went, and again, until there are no more or its time is served."""

from __future__ import annotations

import atexit
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from time import monotonic
from typing import Any, Final, NoReturn

from ..chain import Skipped, check_ran, check_result
from ..context import NO_FACTS, Run, facts_of, running
from ..errors import JobTimeout
from ..failure import Report, report_on
from ..hooks import named
from ..hooks import run as run_hooks
from ..job import Job
from ..options import CHILD_STOP_LIMIT
from ..registry import handler_of
from .frames import DONE, DUMP, GROUP_SIGNALS, JOB, SOFT_LIMIT, Answer
from .program import Program

_UNREPORTED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def live(program: Program, jobs: socket.socket, log_pipe: int) -> int:
    """Run jobs from the socket until its end. Returns the exit code."""
    with suppress(AttributeError):  # the application has put something else there
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable(file=2)
    faulthandler.register(DUMP, file=2)
    child = Child(program, jobs)
    signal.signal(SOFT_LIMIT, child.interrupt)
    os.register_at_fork(after_in_child=_hear_signals)
    os.register_at_fork(after_in_child=child.forget_parent)
    _redirect_logs(LogPipe(child, log_pipe), program.levels)
    for hook in program.start:
        check_ran(named("on_child_start", hook), hook())  # a child that cannot start ends, and says why on stderr
    with suppress(ConnectionError):  # the parent has no more jobs, or is gone
        child.answer(Answer.READY)
        child.serve()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(CHILD_STOP_LIMIT))  # nobody waits for a child that has been replaced
    run_hooks("on_child_stop", list(program.stop))
    threading._shutdown()  # type: ignore[attr-defined]  # waits for executors and other threads, as multiprocessing does
    of_apps = {getattr(handler.function, "managed", program.managed) for handler in program.handlers.values()}
    for managed in {program.managed, *of_apps}:
        managed.close()
    with suppress(BaseException):  # each has been told of
        atexit._run_exitfuncs()
    return 0


def _hear_signals() -> None:
    """Be killed by signals as usual, in what a job forks: a pool of processes ends its workers by SIGTERM."""
    for signum in (*GROUP_SIGNALS, SOFT_LIMIT):
        signal.signal(signum, signal.SIG_DFL)


class Child:
    """The one job at a time of this process."""

    def __init__(self, program: Program, jobs: socket.socket) -> None:
        self.run: Run | None = None
        """The run of the job in hand; None between jobs."""
        self._program = program
        self._jobs = jobs
        self._received = bytearray()
        self._pid = os.getpid()
        self._is_armed = False
        self._is_held = False
        self._is_due = False  # did the limit come while it was put off?
        self._interrupted_by: type[BaseException] | None = None

    @contextmanager
    def undisturbed(self) -> Generator[None, None, None]:
        """Put off the soft limit while something is written that must be whole; in other threads it never strikes."""
        if threading.current_thread() is not threading.main_thread() or self._is_held:
            yield
            return
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            if self._is_due:
                self._is_due = False
                self.interrupt()

    def interrupt(self, *_: object) -> None:
        """Take the soft limit's signal: raise in the handler, and only there."""
        if self._is_held:
            self._is_due = True
        elif self._is_armed:
            self._is_armed = False
            self._interrupted_by = JobTimeout
            if self.run is not None:
                self.run.is_cancelled = True
            raise JobTimeout

    def serve(self) -> None:
        """Run jobs until there are no more, or enough were run."""
        done = 0
        while len(head := self._read(JOB.size)) == JOB.size:
            limit, length = JOB.unpack(head)
            outcome = self._do(Job.decode(self._read(length)), limit)
            done += 1
            is_last = self._program.limits.are_reached(done, _resident_kb(self._program))
            if outcome is None:
                self.answer(Answer.SUCCEEDED, is_last=is_last)
            else:
                answer = Answer.SKIPPED if isinstance(outcome, Skipped) else Answer.FAILED
                self.answer(answer, asdict(outcome), is_last=is_last)
            if is_last:
                return

    def _read(self, size: int) -> bytes:
        """Return the next bytes from the parent, fewer at their end."""
        received = self._received
        while len(received) < size and (data := self._jobs.recv(65536)):
            received += data
        found = bytes(received[:size])
        del received[:size]
        return found

    def forget_parent(self) -> None:
        """Let go of the parent's socket, in the copy of this process that a job's fork makes."""
        self._jobs.close()

    def _leave_if_copy(self, exc: BaseException | None = None) -> None:
        """End a copy of this process, as Python would end: the job's outcome is the original's to tell."""
        if os.getpid() != self._pid:
            _leave(exc)

    def answer(self, answer: Answer, document: dict[str, Any] | None = None, *, is_last: bool = False) -> None:
        """Tell the parent."""
        payload = b"" if document is None else json.dumps(document).encode()
        self._jobs.sendall(DONE.pack(answer, is_last, len(payload)) + payload)

    def _do(self, job: Job, limit: float) -> Report | Skipped | None:
        """Run a job; return how it failed, or who skipped it. Everything is caught: it must not end its process."""
        handler = self._program.handlers[job.jobtype]
        managed = getattr(handler.function, "managed", self._program.managed)  # an app's own, when it has any
        self.run = Run(job, monotonic() + limit, managed)
        self._interrupted_by = None
        try:
            try:
                running.set(self.run)
                self._is_armed = True  # from here on
                result = handler.call(job)
            finally:
                self._is_armed = False
            self._leave_if_copy()
            return check_result(handler_of(job.jobtype), result)
        except BaseException as exc:
            self._is_armed = False
            self._leave_if_copy(exc)
            if type(exc) is self._interrupted_by:
                _forget_signal(exc)
            report = report_on(job, exc, limit=limit, interrupted_by=self._interrupted_by)
            self._program.hooks.failed(job, exc)
            return report
        finally:
            running.set(None)
            self.run = None


def _leave(exc: BaseException | None) -> NoReturn:
    """End this process at once, with the output and the exit code that Python's own end would have."""
    code = 0
    try:
        if isinstance(exc, SystemExit) and (exc.code is None or isinstance(exc.code, int)):
            code = exc.code or 0
        elif exc is not None:
            code = 1
            sys.stderr.write(f"{exc.code}\n") if isinstance(exc, SystemExit) else traceback.print_exception(exc)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


def _forget_signal(exc: BaseException) -> None:
    """Have a traceback end where the handler was when its time was up, not in the function that told it so."""
    found = exc.__traceback__
    while found is not None and found.tb_next is not None:
        if found.tb_next.tb_frame.f_code is Child.interrupt.__code__:
            found.tb_next = None
        found = found.tb_next


def _resident_kb(program: Program) -> int | None:
    if program.limits.max_rss_mb is None:
        return None
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # pathlib is slow to import
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        import resource  # its peak, where the system does not tell the present size

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


# -- logging ----------------------------------------------------------------------------------------------------------


class LogPipe(logging.Handler):
    """Sends log records to the parent, which has the program's handlers: one JSON object a line."""

    def __init__(self, child: Child, pipe: int) -> None:
        super().__init__()
        self._child = child
        self._pipe = pipe
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, with the jid of the job that the process runs."""
        with self._child.undisturbed():
            try:
                data = json.dumps(self._document(record), default=repr).encode() + b"\n"
                while data:
                    data = data[os.write(self._pipe, data) :]
            except Exception:  # logging must not fail a job
                self.handleError(record)

    def _document(self, record: logging.LogRecord) -> dict[str, Any]:
        run = self._child.run
        document = {key: value for key, value in vars(record).items() if key not in _UNREPORTED}
        facts = NO_FACTS if run is None else facts_of(run.job)
        document |= {key: value for key, value in facts.items() if document.get(key) is None}
        for key in ("name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created"):
            document[key] = getattr(record, key)
        for key in ("msecs", "thread", "threadName", "process"):
            document[key] = getattr(record, key)
        document["msg"] = record.getMessage()
        if record.exc_info:
            document["exc_text"] = self._formatter.formatException(record.exc_info)
        if record.stack_info:
            document["stack_info"] = record.stack_info
        return document


def _redirect_logs(pipe: LogPipe, levels: Mapping[str, int]) -> None:
    """Have all records go to the parent alone: the handlers that the imports made would write them twice."""
    for name in logging.root.manager.loggerDict:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.root.handlers[:] = [pipe]
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
