"""Runs a worker's jobs in a child process, one at a time, ends it when it must be, and replaces it."""

from __future__ import annotations

import json
import logging
import os
import signal
from time import monotonic
from typing import Final

from ..backoff import Backoff
from ..errors import ConfigurationError, JobCancelled, JobCrashed, JobTimeout
from ..failure import Report, ReportedFailure
from ..options import CHILD_START_LIMIT, KILL_GRACE, STACK_PATIENCE
from .frames import DONE, DUMP, JOB, SOFT_LIMIT, Answer
from .parent import ChildProcess, Nursery

log: logging.Logger = logging.getLogger("faktory.isolation")


_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_OURS: Final = (f'  File "{_PACKAGE}', '  File "<string>"')
_STACK: Final = ("  File ", "Current thread ", "Thread 0x")
"""How lines of faulthandler's stacks begin."""


class _Ended(Exception):
    """The child has closed its connection."""


class ChildRunner:
    """The child of one worker. Used by the worker's thread, but for `cancel` and `dump_stacks`."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._child: ChildProcess | None = None
        self._is_started = False  # has the present child said that it is ready?
        self._is_doubtful = False  # did the last one end before it was?
        self._is_cancelled = False
        self._backoff = Backoff(first=0.5)
        self._not_before = 0.0

    # -- having a child ----------------------------------------------------------------------------------------------

    def make_ready(self) -> bool:
        """Tell whether a job can be handed over, starting a child if there is none; the job may wait for it to start.

        After one that ended while it started, only when the next has: a job must not be fetched to be failed by it.
        """
        child = self._child
        if child is not None and child.has_ended.is_set():
            if not self._is_started and not self._had_started(child):
                self._note_failed_start(child)
            self._drop()
        if self._child is None:
            if self._is_doubtful:
                return False
            self._replace()
        return self._child is not None and (self._is_started or not self._is_doubtful)

    def _had_started(self, child: ChildProcess) -> bool:
        """Tell whether a child that has ended said before that it was ready."""
        try:
            return self._receive(child, KILL_GRACE)[0] == Answer.READY
        except (TimeoutError, _Ended):
            return False

    def start_in(self) -> float:
        """Return the seconds to wait before another child may be started."""
        return max(0.0, self._not_before - monotonic())

    def await_start(self) -> None:
        """Start a child, if there is none, and wait until it is ready or has ended."""
        child = self._child
        if child is None or child.has_ended.is_set():
            child = self._replace()
        if child is not None:
            try:
                self._await_ready(child)
            except _Ended:
                self._kill(child)
                self._note_failed_start(child)

    def _await_ready(self, child: ChildProcess) -> None:
        """Wait until a child has started. Raises `_Ended`, also for one that takes too long and is killed."""
        try:
            self._receive(child, CHILD_START_LIMIT)
        except TimeoutError:
            log.error("a child process did not start within %g s and is killed", CHILD_START_LIMIT)
            child.signal(DUMP)
            child.has_ended.wait(STACK_PATIENCE)
            child.signal(signal.SIGKILL)
            raise _Ended from None
        self._note_started()

    def _replace(self) -> ChildProcess | None:
        """Start another child; None, and back-off, when that cannot be done."""
        self._drop()
        self._is_started = False
        try:
            self._child = self._nursery.fork()
        except (OSError, ConfigurationError) as exc:
            self._put_off(f"cannot start a child process: {exc}")
        return self._child

    def _note_started(self) -> None:
        self._is_started = True
        self._is_doubtful = False
        self._backoff.reset()

    def _note_failed_start(self, child: ChildProcess) -> None:
        """Put off the next child."""
        self._put_off(f"{_how_it_ended(child)} while it started")
        self._drop()

    def _put_off(self, why: str) -> None:
        self._is_doubtful = True
        delay = self._backoff.next_delay()
        self._not_before = monotonic() + delay
        log.error("%s; the next one starts in %.1f s", why, delay)

    def _drop(self) -> None:
        if self._child is not None:
            self._child.jobs.close()
            self._child = None

    def close(self) -> None:
        """Let the child end after what it has in hand."""
        if self._child is not None:
            self._child.retire()
            self._drop()

    # -- a job --------------------------------------------------------------------------------------------------------

    def run(self, data: bytes, limit: float, reservation: float) -> None:
        """Run a job, given as JSON, within `limit` seconds; then `JobTimeout` is raised in it, then it is killed.

        The time a child takes to start does not count, but for the job's `reservation`, which it shortens. Raises
        `ReportedFailure`, or `JobCancelled` after `cancel`.
        """
        begun = monotonic()
        child = self._child
        if child is None or child.has_ended.is_set():
            child = self._replace()
        if self._is_cancelled:  # looked at after the child is known to `cancel`, which looks the other way round
            raise JobCancelled
        if child is None:
            raise _crashed("no child process could be started")
        child.tail.clear()
        try:
            if not self._is_started:
                self._await_ready(child)
            limit = min(limit, max(1.0, reservation - KILL_GRACE - (monotonic() - begun)))
            self._hand_over(child, data, limit)
            answer, is_last, payload = self._await_answer(child, limit)
        except _Ended:
            raise self._crash(child) from None
        except TimeoutError:
            answer, is_last, payload = self._overrun(child, limit)
        except BaseException:
            self._kill(child)  # Ctrl-C: what it does now would be nobody's
            self._drop()
            raise
        if is_last:
            self._replace()  # starts while the outcome is reported
        if answer == Answer.FAILED:
            raise _reported(payload)

    def cancel(self) -> None:
        """Kill the child, now and for good: the consumer ends. Any thread may call it."""
        self._is_cancelled = True
        child = self._child
        if child is not None:
            child.signal(signal.SIGKILL)

    def dump_stacks(self) -> int:
        """Have the child write its stacks to stderr. Returns its pid, 0 without one. Any thread may call it."""
        child = self._child
        if child is None:
            return 0
        child.signal(DUMP)
        return child.pid

    def _hand_over(self, child: ChildProcess, data: bytes, limit: float) -> None:
        child.jobs.settimeout(limit)
        try:
            child.jobs.sendall(JOB.pack(limit, len(data)) + data)
        except TimeoutError:
            raise
        except OSError as exc:
            raise _Ended from exc

    def _await_answer(self, child: ChildProcess, limit: float) -> tuple[int, bool, bytes]:
        """Return the answer to the job; at the limit, first have the job end itself."""
        try:
            return self._receive(child, limit)
        except TimeoutError:
            child.signal(SOFT_LIMIT)
            answer, _, payload = self._receive(child, KILL_GRACE)
            return answer, True, payload  # its last job: the signal may be on its way still, and would hit the next

    def _receive(self, child: ChildProcess, limit: float) -> tuple[int, bool, bytes]:
        """Return the next whole answer. Raises `TimeoutError`, `_Ended`."""
        child.jobs.settimeout(limit)
        received = child.received
        while True:
            if len(received) >= DONE.size:
                answer, is_last, length = DONE.unpack_from(received)
                end = DONE.size + length
                if len(received) >= end:
                    payload = bytes(received[DONE.size : end])
                    del received[:end]
                    return answer, bool(is_last), payload
            try:
                data = child.jobs.recv(65536)
            except TimeoutError:
                raise
            except OSError as exc:
                raise _Ended from exc
            if not data:
                raise _Ended
            received += data

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _crash(self, child: ChildProcess) -> Exception:
        """Return what to raise for a job whose child is gone; the next child is on its way."""
        was_alone = not child.has_ended.wait(STACK_PATIENCE)
        self._kill(child)
        if self._is_cancelled:
            self._drop()
            return JobCancelled()
        message = "the child process closed its connection and was killed" if was_alone else _how_it_ended(child)
        if self._is_started:
            self._replace()
        else:
            message += " while it started"
            self._note_failed_start(child)
        tail = _user_lines(child)
        last = next((line for line in reversed(tail) if not line.startswith(_STACK)), None)
        if last is not None:
            message += f"; it said last: {last.strip()}"
        return _crashed(message, tail)

    def _overrun(self, child: ChildProcess, limit: float) -> tuple[int, bool, bytes]:
        """Kill a child whose job did not end at its time limit. Returns its answer, if that came after all."""
        child.signal(DUMP)
        child.has_ended.wait(STACK_PATIENCE)
        self._kill(child)
        if self._is_cancelled:
            self._drop()
            raise JobCancelled
        try:
            answer, _, payload = self._receive(child, STACK_PATIENCE)
        except (TimeoutError, _Ended):
            self._replace()
            message = (
                f"the job ran past its time limit of {limit:g} s, did not end within {KILL_GRACE:g} s more, and its "
                "process was killed"
            )
            report = Report(JobTimeout.__name__, message, _user_lines(child))
            raise ReportedFailure(report, JobTimeout(message)) from None
        return answer, True, payload

    def _kill(self, child: ChildProcess) -> None:
        """Make sure that it is gone, and that all it wrote has been read."""
        child.signal(signal.SIGKILL)
        child.has_ended.wait()
        child.tail_is_whole.wait(STACK_PATIENCE)


def _how_it_ended(child: ChildProcess) -> str:
    code = child.exit_code
    if code is None or code >= 0:
        return f"the child process {child.pid} ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (as the kernel does when memory runs out)" if name == "SIGKILL" else ""
    return f"the child process {child.pid} was killed by {name}{hint}"


def _user_lines(child: ChildProcess) -> tuple[str, ...]:
    """Return what it wrote last to stderr, without our frames in the stacks."""
    return tuple(line for line in list(child.tail) if line.strip() and not line.startswith(_OURS))


def _crashed(message: str, tail: tuple[str, ...] = ()) -> ReportedFailure:
    return ReportedFailure(Report(JobCrashed.__name__, message, tail), JobCrashed(message))


def _reported(payload: bytes) -> ReportedFailure:
    document = json.loads(payload)
    return ReportedFailure(Report(**document | {"backtrace": tuple(document["backtrace"])}))
