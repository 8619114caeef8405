"""A program that a test runs as a process of its own.

Not in `tests.programs`: each of those would import what starts them.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent
PATIENCE = 30.0


class Program:
    """`python -m module ...` with its output as it comes. A context manager that kills what is left."""

    def __init__(self, module: str, *args: object, env: dict[str, str] | None = None, group: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, args)],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0 if group else None,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._errors: list[str] = []
        self._new: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read_lines, name="program-out"),
            threading.Thread(target=self._read_errors, name="program-err"),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    @property
    def errors(self) -> str:
        """What it has written to stderr so far."""
        return "".join(self._errors)

    def expect(self, start: str, count: int = 1) -> None:
        """Wait until so many lines begin with `start`."""
        while sum(line.startswith(start) for line in self.lines) < count:
            try:
                line = self._new.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"no line {start!r}; got {self.lines}\n{self.errors}") from None
            if line is None:
                raise AssertionError(f"ended without a line {start!r}; got {self.lines}\n{self.errors}")
            self.lines.append(line)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Return the exit code."""
        code = self._process.wait(patience)
        for reader in self._readers:
            reader.join(PATIENCE)
        while (line := self._new.get()) is not None:
            self.lines.append(line)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
