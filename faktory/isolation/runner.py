"""Runs a worker's jobs in a child process, one at a time, ends it when it must be, and replaces it."""

from __future__ import annotations

import json
import logging
import signal
import threading
from contextlib import suppress
from typing import Final

from ..core.chain import Skipped
from ..core.failure import CUT_OFF, Report, ReportedFailure
from ..core.run import running
from ..errors import ChildStartFailed, ConfigurationError, Discard, JobCancelled, JobCrashed, JobTimeout, Retry
from ..options import CHILD_START_LIMIT, KILL_GRACE, KILL_PATIENCE, STACK_PATIENCE
from ..runtime.package import FOLDER
from ..runtime.ticking import monotonic
from .fork_client import ChildProcess, ForkServer
from .frames import DONE, DUMP, JOB, SOFT_LIMIT, Answer, pauses
from .records import as_main

log: logging.Logger = logging.getLogger("faktory.isolation")


_OURS: Final = (f'  File "{FOLDER}', '  File "<string>"')
_STACK: Final = ("  File ", "Current thread ", "Thread 0x")
"""How lines of faulthandler's stacks begin."""


class _Ended(Exception):
    """The child has closed its connection."""


class ChildRunner:
    """The child of one worker. Used by one thread at a time, but for `cancel` and `dump_stacks`."""

    def __init__(self, fork_server: ForkServer) -> None:
        self._fork_server = fork_server
        self._starts = fork_server.starts
        self._child: ChildProcess | None = None
        self._cancelled = threading.Event()

    # -- having a child ----------------------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Tell whether a job can be handed over now. Waits for nothing, and starts nothing."""
        return self._ready_child() is not None

    def _ready_child(self) -> ChildProcess | None:
        child = self._child
        if child is None or child.has_ended.is_set():
            return None
        if not child.is_ready:
            with suppress(TimeoutError, _Ended):
                self._take_ready(child, 0.0)
        return child if child.is_ready else None

    def make_ready(self) -> bool:
        """Tell whether a job can be handed over, and start a child if there is none. Does not wait for its start.

        A job is fetched only when this is True: a child that cannot start must not cost one.
        """
        if self.is_ready():
            return True
        child = self._child
        if child is None or child.has_ended.is_set():
            if child is not None and not child.is_ready and not self._had_started(child):
                self._note_failed_start(child)
            self._drop()
            if not self._starts.wait(monotonic()):
                self._replace()
        return False

    def _had_started(self, child: ChildProcess) -> bool:
        """Tell whether a child that has ended said before that it was ready."""
        with suppress(TimeoutError, _Ended):
            self._take_ready(child, KILL_GRACE)
        return child.is_ready

    def start_in(self) -> float:
        """Return the seconds to wait before `await_start` can do something."""
        return 0.0 if self._child is not None else self._starts.wait(monotonic())

    def await_start(self) -> None:
        """Start a child, if there is none and one may be started, and wait until it is ready or has ended."""
        if self.make_ready() or self._child is None:
            return
        child = self._child
        try:
            self._take_ready(child, max(0.0, child.begun + CHILD_START_LIMIT - monotonic()))
        except TimeoutError:
            child.signal(DUMP)
            child.has_ended.wait(STACK_PATIENCE)
            if not child.pid:
                self._fork_server.replace()
            self._note_failed_start(child, f"a child process did not start within {CHILD_START_LIMIT:g} s")
        except _Ended:
            self._note_failed_start(child)

    def trouble(self) -> ChildStartFailed | None:
        """Return what a `run` that does not go on for ever should raise; None while there is hope."""
        return self._starts.trouble()

    def _take_ready(self, child: ChildProcess, limit: float) -> None:
        """Wait until a child says that it is ready. Raises `TimeoutError`, `_Ended`."""
        self._receive(child, limit)
        child.is_ready = True
        news = self._starts.note_success()
        if news is not None:
            log.info("%s", news)

    def _replace(self) -> ChildProcess | None:
        """Start another child; None when it cannot be done, which puts off the next try."""
        self._drop()
        if self._cancelled.is_set() or self._fork_server.is_closing:
            return None
        try:
            self._child = self._fork_server.fork()
        except (OSError, ConfigurationError) as exc:
            self._note_trouble(f"cannot start a child process: {exc}", monotonic())
        return self._child

    def _note_failed_start(self, child: ChildProcess, reason: str = "") -> None:
        """Put off the next child."""
        self._kill(child)
        self._drop()
        if not self._cancelled.is_set() and not self._fork_server.is_closing:
            self._fork_server.note_end("start")
            reason = reason or f"{_how_it_ended(child)} while it started"
            self._note_trouble(reason + _last_words(_user_lines(child)), child.begun)

    def _note_trouble(self, reason: str, begun: float) -> None:
        news = self._starts.note_failure(reason, begun, monotonic())
        if news is not None:
            log.error("%s", news)

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

    def run(self, data: bytes, limit: float, reservation: float) -> Skipped | None:
        """Run a job, given as JSON, within `limit` seconds; then `JobTimeout` is raised in it, then it is killed.

        When the child has died since it was asked for, the job waits for another, for as long as its `reservation`
        lasts: that time does not count for its limit. Returns who skipped it, if any middleware
        did. Raises `ReportedFailure`, or `JobCancelled` after `cancel`.
        """
        ends_at = monotonic() + max(1.0, reservation - KILL_GRACE)
        while True:
            child = self._await_child(ends_at)
            child.tail.clear()
            limit = min(limit, max(1.0, ends_at - monotonic()))
            try:
                if self._hand_over(child, data, limit):
                    answer, is_last, payload = self._await_answer(child, limit)
                    break
            except _Ended:
                raise self._crash(child) from None
            except TimeoutError:
                answer, is_last, payload = self._overrun(child, limit)
                break
            except BaseException:
                self._kill(child)  # Ctrl-C: what it does now would be nobody's
                self._drop()
                raise
            self._kill(child)
        if is_last:
            self._replace()  # starts while the outcome is reported
        if answer == Answer.FAILED:
            raise _reported(payload)
        run = running.get()
        if answer == Answer.SUCCEEDED and payload and run is not None:
            run.settled_as = json.loads(payload)["settled_as"]
        return Skipped(**json.loads(payload)) if answer == Answer.SKIPPED else None

    def _await_child(self, ends_at: float) -> ChildProcess:
        """Return a child that is ready: at once, but when the one that was has died meanwhile."""
        while (child := self._ready_child()) is None:
            self._check_not_cancelled()
            left = ends_at - monotonic()
            if left <= 0:
                raise _crashed(f"no child process could be started in its time: {self._starts.reason}")
            if wait := self.start_in():
                self._cancelled.wait(min(wait, left))
            else:
                self.await_start()
        self._check_not_cancelled()
        return child

    def _check_not_cancelled(self) -> None:
        if self._cancelled.is_set():
            self._drop()
            raise JobCancelled(CUT_OFF)

    def cancel(self) -> None:
        """Cut the job off, and end the child for good: the consumer ends. Any thread may call it.

        The job sees that it is cut off, then `JobCancelled` is raised in it, then its process is killed.
        """
        self._cancelled.set()
        child = self._child
        if child is not None:
            self._fork_server.cut_off(child)

    @property
    def is_cancelled(self) -> bool:
        """True when it takes no more jobs."""
        return self._cancelled.is_set()

    def dump_stacks(self) -> int:
        """Have the child write its stacks to stderr. Returns its pid, 0 without one. Any thread may call it."""
        child = self._child
        if child is None:
            return 0
        child.signal(DUMP)
        return child.pid

    def _hand_over(self, child: ChildProcess, data: bytes, limit: float) -> bool:
        """Give it the job. Returns False when it is gone, and has not got the whole of it, so that it ran nothing."""
        try:
            child.send(JOB.pack(limit, len(data)) + data, limit)
        except TimeoutError:
            raise
        except OSError:
            return False
        return True

    def _await_answer(self, child: ChildProcess, limit: float) -> tuple[int, bool, bytes]:
        """Return the answer to the job; at the limit, first have the job end itself."""
        try:
            answer, is_last, payload = self._receive(child, limit)
            if is_last:
                self._fork_server.note_end("limit")
            return answer, is_last, payload
        except TimeoutError:
            self._fork_server.note_end("timeout")
            for pause in pauses(KILL_GRACE):
                child.signal(SOFT_LIMIT)
                with suppress(TimeoutError):
                    answer, _, payload = self._receive(child, pause)
                    return answer, True, payload  # its last job: a signal may be on its way, and would hit the next
            raise

    def _receive(self, child: ChildProcess, limit: float) -> tuple[int, bool, bytes]:
        """Return the next whole answer. Raises `TimeoutError`, `_Ended`."""
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
                data = child.receive(limit)
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
        self._fork_server.note_end("cut_off" if self._cancelled.is_set() else "crashed")
        if self._cancelled.is_set():
            self._drop()
            report = Report(JobCancelled.__name__, CUT_OFF, _user_lines(child))
            return ReportedFailure(report, JobCancelled(CUT_OFF))
        message = "the child process closed its connection and was killed" if was_alone else _how_it_ended(child)
        self._replace()
        tail = _user_lines(child)
        return _crashed(message + _last_words(tail), tail)

    def _overrun(self, child: ChildProcess, limit: float) -> tuple[int, bool, bytes]:
        """Kill a child whose job did not end at its time limit. Returns its answer, if that came after all."""
        child.signal(DUMP)
        child.has_ended.wait(STACK_PATIENCE)
        self._kill(child)
        self._check_not_cancelled()
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
        if not child.has_ended.wait(KILL_PATIENCE):
            child.kill_directly()
            log.error("the child process %d was killed, and nobody tells that it is gone; going on", child.pid)
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


def _last_words(lines: tuple[str, ...]) -> str:
    """Return what to add to how a child ended: the last line it wrote, but for stacks."""
    last = next((line for line in reversed(lines) if not line.startswith(_STACK)), None)
    return "" if last is None else f"; it said last: {last.strip()}"


def _user_lines(child: ChildProcess) -> tuple[str, ...]:
    """Return what it wrote last to stderr, without our frames in the stacks."""
    return tuple(as_main(line) for line in list(child.tail) if line.strip() and not line.startswith(_OURS))


def _crashed(message: str, tail: tuple[str, ...] = ()) -> ReportedFailure:
    return ReportedFailure(Report(JobCrashed.__name__, message, tail), JobCrashed(message))


def _reported(payload: bytes) -> ReportedFailure:
    document = json.loads(payload)
    report = Report(**document | {"backtrace": tuple(document["backtrace"])})
    asks, error = report.asks, None
    if asks is not None:
        error = Discard(asks["discard"]) if "discard" in asks else Retry(asks["retry"])
    return ReportedFailure(report, error)
