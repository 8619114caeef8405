"""`--reload`: a supervisor that never imports the app, and starts its worker anew when the code has changed."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..runtime.ticking import monotonic
from .course import Course, Then
from .offspring import Supervisor, worker_words
from .output import FAILED, MISUSED, OK, Output
from .parsing import Usage
from .supervise import SHUTDOWN_TIMEOUT
from .watch import QUIET, Changes, Key, interval_after, scan, syntax_error_in


def reload(arguments: argparse.Namespace, output: Output, environ: Mapping[str, str]) -> int:
    """Run a worker, and start it anew when the code changes, until told to end."""
    folders = folders_of(arguments)
    timeout = SHUTDOWN_TIMEOUT if arguments.shutdown_timeout is None else arguments.shutdown_timeout
    course = Course(policy, monotonic())
    supervisor = Supervisor([course], worker_words(arguments, output), output, environ, timeout)
    supervisor.run(Reloader(course, folders, output).look)
    if supervisor.forced_by:
        return 128 + supervisor.forced_by
    return FAILED if 1 in supervisor.codes else OK


def folders_of(arguments: argparse.Namespace) -> list[str]:
    """Return what to watch. Raises `Usage` for what is no folder."""
    folders = arguments.reload_dir or [arguments.app_dir or "."]
    for folder in folders:
        if not Path(folder).is_dir():
            raise Usage(f"--reload-dir: there is no folder {folder[:80]!a}")
    return [os.path.realpath(folder) for folder in folders]


def policy(code: int, _starts: int) -> Then:
    """Say what follows when the worker has ended by itself: no use in the same again when it could not be imported."""
    return Then.WAIT if code in (OK, MISUSED) else Then.LATER


class Reloader:
    """Looks for changes now and then, and has the worker replaced when there are any that compile."""

    def __init__(
        self, course: Course, folders: list[str], output: Output, scanned: Callable[[], dict[str, Key]] | None = None
    ) -> None:
        self._course = course
        self._output = output
        self._scan = scanned or (lambda: scan(folders))
        first = self._scan()
        self._changes: Changes | None = None
        self._first = first
        self._pending: set[str] = set()
        self._look_at = 0.0
        self._shown: dict[str, str] = {}  # errors, each shown once

    def look(self, now: float) -> float:
        """Look, if it is time to. Returns when to look again."""
        if now < self._look_at:
            return self._look_at
        began = time.process_time()
        if self._changes is None:  # only now: the worker is under way
            self._changes = Changes(self._first)
        changed = self._changes.since(self._scan())
        if changed:
            self._pending.update(changed)
            self._look_at = monotonic() + QUIET
            return self._look_at
        if self._pending:
            self._take(sorted(self._pending), now)
            self._pending.clear()
        self._look_at = monotonic() + interval_after(time.process_time() - began)
        return self._look_at

    def _take(self, paths: list[str], now: float) -> None:
        """Start anew, unless what has changed, or was broken before, does not compile."""
        errors: dict[str, str] = {}
        for path in {*paths, *self._shown}:
            error = syntax_error_in(path)
            if error is not None:
                errors[path] = error
        names = ", ".join(_short(path) for path in paths[:3]) + (
            f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        )
        for path, error in errors.items():
            if self._shown.get(path) != error:
                self._output.tell(error)
        self._shown = errors
        if errors:
            goes_on = "the old worker goes on" if self._course.has_child else "waiting for the next change"
            self._output.tell(f"changed: {names}: it does not compile; {goes_on}")
            return
        self._output.tell(f"changed: {names}: starting anew")
        self._course.replace(now)


def _short(path: str) -> str:
    return path.removeprefix(os.path.realpath(".") + os.sep)
