"""A child process: read a job, run it, say how it went, and again, until there are no more or its time is served."""

from __future__ import annotations

import faulthandler
import json
import logging
import mmap
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from types import FrameType
from typing import Any, NoReturn

from ..core.again import Drop, wish_of
from ..core.chain import Skipped, check_ran, check_result
from ..core.failure import CUT_OFF, Report, describe, report_on
from ..core.hooks import named
from ..core.hooks import run as run_hooks
from ..core.registry import handler_of
from ..core.run import NO_FACTS, Run, facts_of, running
from ..errors import JobCancelled, JobTimeout
from ..job import Job
from ..options import CHILD_STOP_LIMIT, STRIKE_AGAIN
from ..runtime.interpreter import end_threads, run_exit_functions
from ..runtime.memory import resident_kb
from ..runtime.ticking import monotonic
from .frames import CUT_OFF_SIGNAL, DONE, DUMP, GROUP_SIGNALS, JOB, SOFT_LIMIT, Answer
from .harm import may_raise_at
from .program import Program
from .records import as_main, document_of


class Life:
    """The life of a worker, as its children know it: a page of memory that all of them share with the fork server."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, 1)

    @property
    def is_ending(self) -> bool:
        """True once the worker was told to end."""
        return self._page[0] != 0

    def end(self) -> None:
        """Note that the worker was told to end."""
        self._page[0] = 1


def prepare(program: Program, life: Life) -> Unborn:
    """Do once, before any child is forked, what is the same for all of them.

    A page that a child is the first to write to is copied for it. This saves each child a hundred page faults of 640, a
    sixth of what a job costs that has a fresh child to itself.
    """
    with suppress(AttributeError):  # the application has put something else there
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable(file=2)
    child = Child(program, life)
    signal.signal(SOFT_LIMIT, child.interrupt)
    signal.signal(CUT_OFF_SIGNAL, child.note_cut_off)
    _hear_signals_in_copies(child)
    os.register_at_fork(after_in_child=child.forget_parent)
    for name, level in program.levels.items():
        logging.getLogger(name or None).setLevel(level)
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    return Unborn(child, LogPipe(child), [logger for logger in loggers if logger.handlers or not logger.propagate])


def live(unborn: Unborn, jobs: socket.socket, log_pipe: int) -> int:
    """Run jobs from the socket until its end. Returns the exit code."""
    child = unborn.child
    program = child.program
    faulthandler.register(DUMP, file=2)
    child.be_born(jobs)
    unborn.redirect_logs(log_pipe)
    for hook in program.start:
        check_ran(named("on_child_start", hook), hook())  # a child that cannot start ends, and says why on stderr
    with suppress(ConnectionError):  # the parent has no more jobs, or is gone
        child.answer(Answer.READY)
        child.serve()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(CHILD_STOP_LIMIT))  # nobody waits for a child that has been replaced
    if program.watch is not None:
        program.watch.flush()
    run_hooks("on_child_stop", list(program.stop))
    end_threads()  # as multiprocessing does
    of_apps = {handler.backing.managed for handler in program.handlers.values() if handler.backing is not None}
    for managed in {program.managed, *of_apps}:
        managed.close()
    with suppress(BaseException):  # each has been told of
        run_exit_functions()
    return 0


def _hear_signals_in_copies(child: Child) -> None:
    """Have what a job forks be killed by signals as usual: a pool of processes ends its workers by SIGTERM.

    One that comes before the copy has been told so waits until it has: by the handler here it would be lost.
    """
    signals = {*GROUP_SIGNALS, SOFT_LIMIT, CUT_OFF_SIGNAL}
    masks: dict[int, set[int]] = {}  # by thread: several may fork

    def hold() -> None:
        if child.is_born:
            masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def release() -> None:
        if child.is_born:
            signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident()))

    def hear() -> None:
        if not child.is_born:
            return
        for signum in signals:
            signal.signal(signum, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=hear)


class Child:
    """The one job at a time of this process."""

    def __init__(self, program: Program, life: Life) -> None:
        self.run: Run | None = None
        """The run of the job in hand; None between jobs."""
        self.program = program
        self.is_born: bool = False
        """True in a child, and what it forks; False in the fork server."""
        self._jobs: socket.socket
        self._life = life
        self._pid = 0
        self._is_held = False  # is something written that must be whole?
        self._is_armed = False  # is the handler at work?
        self._is_due = False  # was an interrupt put off?
        self._is_cut_off = False  # has the worker given the job up?
        self._limit = 0.0  # of the job in hand
        self._settled_as: str | None = None  # what a typed job has made of its exception
        self._struck_at: float | None = None  # when an interrupt was last raised in the handler

    def be_born(self, jobs: socket.socket) -> None:
        """Take the socket from which the jobs come, in the process that is to run them."""
        self._jobs = jobs
        self._pid = os.getpid()
        self.is_born = True

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
            if self._is_due and self._is_armed and may_raise_at(sys._getframe(), is_logging=True):
                self._strike()

    def note_cut_off(self, *_: object) -> None:
        """Take the signal that the job is cut off: its handler can see it, and is interrupted a little later."""
        self._is_cut_off = self.is_born
        if self.run is not None:
            self.run.is_cancelled = True

    def interrupt(self, _signum: int, frame: FrameType | None) -> None:
        """Take the signal for the limit, or the cut-off: raise in the handler, and only there.

        Where it would do harm it is let go. It comes again and again until the job has ended: a handler that has
        swallowed it is struck once more after a second.
        """
        if not self._is_armed or self._was_just_struck():
            return
        if self._is_held:
            self._is_due = True
        elif may_raise_at(frame):
            self._strike()

    def _strike(self) -> None:
        self._is_due = False
        self._struck_at = monotonic()
        if self.run is not None:
            self.run.is_cancelled = True
        raise self._interruption()

    def _was_just_struck(self) -> bool:
        return self._struck_at is not None and monotonic() < self._struck_at + STRIKE_AGAIN

    def serve(self) -> None:
        """Run jobs until there are no more, or enough were run."""
        done = 0
        while (received := self._next_job()) is not None:
            limit, document = received
            outcome = self._do(Job.decode(document), limit)
            done += 1
            is_last = self.program.limits.are_reached(done, _resident_kb(self.program))
            if outcome is None:
                settled = None if self._settled_as is None else {"settled_as": self._settled_as}
                self.answer(Answer.SUCCEEDED, settled, is_last=is_last)
            else:
                answer = Answer.SKIPPED if isinstance(outcome, Skipped) else Answer.FAILED
                self.answer(answer, asdict(outcome), is_last=is_last)
            if is_last:
                return

    def _next_job(self) -> tuple[float, bytes] | None:
        """Return the next job's time limit, and its JSON; None at the parent's end.

        Nothing comes behind a job: the parent waits for the answer first.
        """
        received = bytearray()
        while data := self._jobs.recv(65536):
            received += data
            if len(received) >= JOB.size:
                limit, length = JOB.unpack_from(received)
                if len(received) >= JOB.size + length:
                    return limit, bytes(received[JOB.size :])
        return None

    def forget_parent(self) -> None:
        """Let go of the parent's socket, in the copy of this process that a job's fork makes."""
        if self.is_born:
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
        handler = self.program.handlers[job.jobtype]
        managed = self.program.managed
        if handler.backing is not None:
            managed = managed.over(handler.backing.managed)  # an app's own, below the consumer's
        self.run = run = Run(job, monotonic() + limit, managed, self._life)
        self._limit, self._is_due, self._struck_at, self._settled_as = limit, False, None, None
        try:
            try:
                running.set(run)
                self._is_armed = True  # from here on
                result = copy_context().run(handler.call, job)  # what it sets, the next job does not see
            finally:
                self._is_armed = False
            self._leave_if_copy()
            # None, which most return, needs no look: that takes a fifth of what a job that does nothing costs here.
            outcome = None if result is None else check_result(handler_of(job.jobtype), result)
            self._settled_as = run.settled_as
            if not run.is_settled:
                self._raise_what_was_swallowed()
            return outcome
        except BaseException as exc:
            self._is_armed = False
            self._leave_if_copy(exc)
            return self._fail(job, exc)  # in a frame of its own, to which no traceback leads: it would keep all alive
        finally:
            running.set(None)
            self.run = None

    def _fail(self, job: Job, exc: BaseException) -> Report:
        """Tell the hooks of a failure, and return the report on it."""
        error = _as_cut_off(exc) if self._is_cut_off else exc
        if type(error) in (JobCancelled, JobTimeout):
            _forget_signal(error)
        report = report_on(job, error, limit=self._limit)
        asks = None if self.program.handlers[job.jobtype].backing is not None else _asked_for(error)
        report = replace(report, backtrace=tuple(map(as_main, report.backtrace)), asks=asks)
        if asks is None:
            self.program.hooks.failed(job, error)
        return report

    def _raise_what_was_swallowed(self) -> None:
        """Fail a job whose handler has returned though it was told to end: what it did may be half done."""
        if self._is_cut_off or self._struck_at is not None:
            raise self._interruption()

    def _interruption(self) -> JobCancelled | JobTimeout:
        """Return what ends the job from outside."""
        if self._is_cut_off:
            return JobCancelled(CUT_OFF)
        return JobTimeout(f"the job ran past its time limit of {self._limit:g} s")


def _asked_for(exc: BaseException) -> dict[str, Any] | None:
    """Return what a plain handler's exception asks the consumer for."""
    wish = wish_of(exc)
    if wish is None:
        return None
    return {"discard": describe(exc)} if isinstance(wish, Drop) else {"retry": wish.delay}


def _as_cut_off(exc: BaseException) -> BaseException:
    """Return what to tell of a job that was cut off, however it has ended."""
    if type(exc) is JobCancelled:
        return exc
    error = JobCancelled(CUT_OFF)
    error.__context__ = exc
    return error


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
        if found.tb_next.tb_frame.f_code in (Child.interrupt.__code__, Child._strike.__code__):
            found.tb_next = None
        found = found.tb_next


def _resident_kb(program: Program) -> int | None:
    if program.limits.max_rss_mb is None:
        return None
    found = resident_kb()
    if found is None:
        import resource  # its peak, where the system does not tell the present size

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
    return found


# -- logging ----------------------------------------------------------------------------------------------------------


class LogPipe(logging.Handler):
    """Sends log records to the parent, which has the program's handlers: one JSON object a line."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = child
        self._pipe: int

    def write_to(self, pipe: int) -> None:
        """Take the pipe to the parent."""
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, with the jid of the job that the process runs."""
        with self._child.undisturbed():
            try:
                run = self._child.run
                facts = NO_FACTS if run is None else facts_of(run.job)
                data = json.dumps(document_of(record, facts)).encode() + b"\n"
                while data:
                    data = data[os.write(self._pipe, data) :]
            except Exception:  # logging must not fail a job
                self.handleError(record)


@dataclass(frozen=True, slots=True)
class Unborn:
    """What is ready before a child is forked."""

    child: Child
    logs: LogPipe
    loggers: list[logging.Logger]
    """Those with handlers of their own, which the imports made."""

    def redirect_logs(self, pipe: int) -> None:
        """Have all records go to the parent alone: by handlers that are here they would be written twice."""
        self.logs.write_to(pipe)
        for logger in self.loggers:
            logger.handlers.clear()
            logger.propagate = True
        logging.root.handlers[:] = [self.logs]
