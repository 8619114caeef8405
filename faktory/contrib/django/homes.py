"""Where the tasks of a server go to and run: an `App` of its own for each, whose typed jobs call the tasks.

So all that holds of typed jobs holds of tasks: the modes, the test kit, `Retry` and `Discard`, child processes. Those
import the handler of a task as an attribute of `handlers`, whose name is the task's path with slashes for dots.
"""

from __future__ import annotations

import threading
from typing import Any

from ...app import App
from ...typed.context import JobContext
from ...typed.job import TypedJob
from .framework import task_backends
from .known import known, options_of
from .running import run_task


class Home:
    """The app of a server, and the typed jobs that run its tasks. Thread-safe; opens nothing before a push."""

    def __init__(self, url: str | None, mode: Any) -> None:
        self.app: App = App(url, mode=mode)
        self._typed: dict[str, TypedJob[Any, Any]] = {}
        self._lock = threading.Lock()

    def declare(self, task: Any) -> TypedJob[Any, Any]:
        """Return the typed job of a task, made when first asked for."""
        path: str = task.module_path
        typed = self._typed.get(path)
        if typed is not None:
            return typed
        with self._lock:
            return self._typed.get(path) or self._typed.setdefault(path, self._made(path, task))

    def _made(self, path: str, task: Any) -> TypedJob[Any, Any]:
        app = self.app
        options = options_of(task, task_backends[task.backend].options)

        def run(ctx: JobContext, call: dict[str, Any]) -> Any:
            return run_task(task, ctx, call, repeats=app.mode == "queue")

        run.__module__, run.__doc__ = __name__, task.func.__doc__
        run.__name__ = run.__qualname__ = f"handlers.{_name_of(path)}"
        declare = app.job(
            name=path,
            queue=task.queue_name,
            retry=options.retry,
            reserve_for=options.reserve_for,
            timeout=options.timeout,
        )
        return declare(run)


_homes: dict[tuple[str | None, Any], Home] = {}
_working: list[Home] = []
"""The home whose tasks this process runs as a worker, or the child of one; the last one."""


def home_of(url: str | None, mode: Any) -> Home:
    """Return the home of a server, one for the whole process; `url` None is what the environment says."""
    found = _homes.get((url, mode))
    return _homes.setdefault((url, mode), Home(url, mode)) if found is None else found


def work_at(home: Home) -> None:
    """Say whose tasks this process runs."""
    _working[:] = [home]


class Handlers:
    """Gives child processes what runs a task, by its name."""

    def __getattr__(self, name: str) -> TypedJob[Any, Any]:
        if "/" not in name or not _working:
            raise AttributeError(name)
        return _working[0].declare(known(name.replace("/", ".")))


handlers: Handlers = Handlers()


def _name_of(path: str) -> str:
    return path.replace(".", "/")
