"""Worker processes under a supervisor, and how each learns that its supervisor is gone.

The supervisor holds the writing end of a pipe as long as it lives; its child waits in a thread for the end of the file,
and sends itself TERM then. So nothing stays behind, however the supervisor ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from ..options import WIND_DOWN
from ..runtime.signals import Signals, Wish, taking
from ..runtime.ticking import monotonic
from .course import NEVER, Act, Course, Then
from .output import Output

SUPERVISOR: Final = "FAKTORY_SUPERVISOR"
"""In a child: the descriptor of the pipe, and the number of the start."""
_CALL: Final = "import sys; from faktory.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"
_PASSED: Final = (
    *("app-dir", "env", "queues", "concurrency", "pool", "max-jobs", "max-jobs-per-child", "max-rss-mb"),
    *("shutdown-timeout", "burst", "wait-server", "label", "log-level", "log-format", "log-jobs"),
    "no-configure-logging",
)
_FORWARDED: Final = {Wish.QUIET: "SIGTSTP", Wish.DUMP: "SIGTTIN"}
_NAMES: Final = {Act.TERMINATE: signal.SIGTERM, Act.FORCE: signal.SIGTERM, Act.KILL: signal.SIGKILL}


def worker_words(arguments: argparse.Namespace, output: Output) -> list[str]:
    """Return the call of the worker command that has the options of `arguments`."""
    words = ["worker", "--color", output.color]
    for name in _PASSED:
        value = getattr(arguments, name.replace("-", "_"), None)
        if value is None or value is False:
            continue
        if value is True:
            words.append(f"--{name}")
        else:
            words += [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]
    target = arguments.words[0] if arguments.words else getattr(arguments, "app", None)
    return words if target is None else [*words, "--", target]


class Offspring:
    """One child process. Its end is put into the mailbox, with what it was the child of."""

    def __init__(
        self, words: list[str], prog: str, environ: Mapping[str, str], number: int, done: Callable[[int], None]
    ) -> None:
        reader, self._writer = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # ourselves
                [sys.executable, "-c", _CALL, prog, *words],
                env={**environ, SUPERVISOR: f"{reader}:{number}"},
                pass_fds=(reader,),
            )
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)
        self.pid: int = self._process.pid
        threading.Thread(target=self._wait, args=(done,), name=f"faktory-child-{self.pid}", daemon=True).start()

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _wait(self, done: Callable[[int], None]) -> None:
        code = self._process.wait()
        os.close(self._writer)
        done(code)


def heed_supervisor(environ: dict[str, str] | os._Environ[str]) -> int:
    """In a child: end when the supervisor is gone. Returns the number of this start, 0 without a supervisor."""
    found = environ.pop(SUPERVISOR, "")
    if not found:
        return 0
    descriptor, _, number = found.partition(":")
    reader = int(descriptor)
    os.set_inheritable(reader, False)

    def wait() -> None:
        # Signals are the main thread's: of two that come at once (Ctrl-C goes to both of us, and then the supervisor
        # sends TERM) this one would take the second, and a main thread asleep in an import would sleep on.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with suppress(OSError):
            os.read(reader, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="faktory-supervisor", daemon=True).start()
    return int(number)


class Supervisor:
    """Carries out what some courses say, until all are over. Takes signals; sleeps as long as nothing is due."""

    def __init__(
        self, courses: Iterable[Course], words: list[str], output: Output, environ: Mapping[str, str], timeout: float
    ) -> None:
        self.courses: list[Course] = list(courses)
        self.codes: list[int] = []
        """The exit codes of the children that ended last in their places, or made it give up."""
        self._words, self._output, self._environ = words, output, environ
        self._timeout = timeout + WIND_DOWN
        self._mail: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._children: dict[Course, Offspring] = {}
        self._signals = Signals()

    def run(self, look: Callable[[float], float] | None = None) -> None:
        """Go on until all courses are over. `look(now)` is called in between, and returns when it wants to be again."""
        with taking(lambda number, at: self._mail.put(lambda: self._signalled(number, at)), self._wake):
            look_at = NEVER
            try:
                while not all(course.is_over for course in self.courses):
                    now = monotonic()
                    self._carry_out(now)
                    if look is not None and not self._is_ending:
                        look_at = look(now)
                    due = min(look_at, *(course.next_at for course in self.courses))
                    self._take_mail(max(0.0, min(3600.0, due - monotonic())))
            finally:
                for child in self._children.values():
                    child.send(signal.SIGKILL)

    @property
    def forced_by(self) -> int:
        """The number of the signal that ended it at once; 0 for none."""
        return self._signals.forced_by

    @property
    def _is_ending(self) -> bool:
        return any(course.is_ending for course in self.courses)

    def _wake(self, _number: int, _at: float) -> None:
        self._mail.put(None)

    def _take_mail(self, seconds: float) -> None:
        try:
            mail = self._mail.get(timeout=seconds)
        except Empty:
            return
        if mail is not None:
            mail()

    def _carry_out(self, now: float) -> None:
        for course in self.courses:
            while (act := course.due(now)) is not None:
                if act is Act.START:
                    self._start(course)
                else:
                    self._children[course].send(_NAMES[act])

    def _start(self, course: Course) -> None:
        def done(code: int) -> None:
            self._mail.put(lambda: self._ended(course, code))

        self._children[course] = Offspring(self._words, self._output.prog, self._environ, course.starts, done)

    def _ended(self, course: Course, code: int) -> None:
        child, now = self._children.pop(course), monotonic()
        then = course.ended(code, now)
        if then in (Then.STOP, Then.GIVE_UP):
            self.codes.append(code)
        if then is Then.GIVE_UP:
            self._end(now)
        elif then is Then.LATER:
            self._output.tell(
                f"the worker {child.pid} {ending_of(code)}; the next one starts in {course.start_at - now:.0f} s"
            )
        elif then is Then.WAIT:
            self._output.tell(f"the worker {ending_of(code)}; the next one starts when the code changes")

    def _signalled(self, number: int, at: float) -> None:
        wish = self._signals.meaning(number, at)
        if wish is Wish.TERMINATE:
            self._end(monotonic())
        elif wish is Wish.FORCE:
            for course in self.courses:
                course.force(monotonic())
        elif wish in _FORWARDED:
            for child in self._children.values():
                child.send(getattr(signal, _FORWARDED[wish]))

    def _end(self, now: float) -> None:
        for course in self.courses:
            course.end(now, self._timeout)


def ending_of(code: int) -> str:
    """Return how a process ended."""
    if code >= 0:
        return f"ended with exit status {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
