"""A terminal's other screen, taken and given back whatever happens, and what is typed there. POSIX.

`Screen` is a context manager. Between `__enter__` and `__exit__` the terminal shows the other screen, without a cursor
and without echo. SIGTERM, SIGHUP and SIGINT end `wait` by `Ended`, so that all is given back on the way out; SIGTSTP
gives it back, stops, and takes it again afterwards. Signal handlers only set flags and write one byte to a pipe.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(Exception):
    """A signal asks to end; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Screen:
    """The other screen of the terminal that standard input and output are. For the main thread."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self._cooked: list[Any] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self._raised: list[int] = []
        self._woken, self._waker = -1, -1
        self._is_taken = False
        self._may_raise = False

    def __enter__(self) -> Self:
        self._cooked = termios.tcgetattr(self._input)
        self._woken, self._waker = os.pipe()
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)
        try:
            for number in _SIGNALS:
                self._handlers[number] = signal.signal(number, self._note)
            self._take()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._may_raise and number in _ENDING:
            raise Ended(number)
        self._raised.append(number)
        with suppress(OSError):
            os.write(self._waker, b"\0")

    @contextmanager
    def interruptible(self) -> Generator[None, None, None]:
        """Have the signals that end raise `Ended` at once, within: where something else is waited for."""
        self._may_raise = True
        try:
            for number in self._raised:
                if number in _ENDING:
                    raise Ended(number)
            yield
        finally:
            self._may_raise = False

    def draw(self, text: str) -> None:
        """Write to the screen, all of it. Raises `OSError` when the terminal is gone."""
        data = text.encode(sys.stdout.encoding or "ascii", "replace")
        while data:
            data = data[os.write(self._output, data) :]

    def wait(self, seconds: float) -> str | None:
        """Return the next key, or None after `seconds`, or when the size has changed. Raises `Ended`."""
        if not self._raised:
            ready, _, _ = select.select([self._input, self._woken], [], [], max(0.0, seconds))
            if self._input in ready and self._woken not in ready:
                key = os.read(self._input, 64).decode("utf-8", "replace")
                if not key:  # the terminal has been hung up
                    raise Ended(signal.SIGHUP)
                return key
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._raised:
            self._obey(self._raised.pop(0))
        return None

    def _obey(self, number: int) -> None:
        if number == signal.SIGTSTP:
            self._give_back()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # here it stands until it is continued
            signal.signal(signal.SIGTSTP, self._note)
            self._raised = [each for each in self._raised if each != signal.SIGCONT]
            if not any(each in _ENDING for each in self._raised):  # `kill %1` ends it where it has not the terminal
                self._take()
        elif number == signal.SIGCONT:
            self._take()  # also after a SIGSTOP, which cannot be seen
        elif number != signal.SIGWINCH:
            raise Ended(number)

    def _take(self) -> None:
        try:
            tty.setcbreak(self._input, termios.TCSANOW)
        except termios.error as exc:  # hung up
            raise OSError(*exc.args) from exc
        self._is_taken = True
        self.draw(ENTER)

    def _give_back(self) -> None:
        if not self._is_taken:
            return
        self._is_taken = False
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # in the background it would stop us for ever
        try:
            with suppress(OSError):  # the terminal may be gone
                self.draw(LEAVE)
            with suppress(OSError, termios.error):
                termios.tcsetattr(self._input, termios.TCSANOW, self._cooked)
        finally:
            signal.signal(signal.SIGTTOU, before)

    def _close(self) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for end in (self._woken, self._waker):
            os.close(end)
