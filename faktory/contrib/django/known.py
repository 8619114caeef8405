"""The tasks that may run: those that this process has declared, never what the text of a payload names.

Workers import each app's `tasks.py` first, so that what is declared there is known; so are the tasks that were declared
for a Faktory backend anywhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from ...core.job_timer import fitting_reservation
from ...errors import ConfigurationError
from .framework import Task

_declared: dict[str, Any] = {}
"""Tasks by module path, as their modules have them."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How the jobs of a task are pushed and run; the names are those of `App.job`."""

    retry: int
    reserve_for: int | None
    timeout: float | None


def declare(task: Any) -> None:
    """Remember a task. The first of a path stays: others are `using` other options, for one call."""
    _declared.setdefault(task.module_path, task)


def options_of(task: Any, options: Mapping[str, Any]) -> TaskOptions:
    """Return the options of a task, with those of its backend where it has none. Raises `ConfigurationError`."""
    retry, reserve_for = getattr(task, "retry", None), getattr(task, "reserve_for", None)
    timeout: float | None = getattr(task, "timeout", None)
    if timeout is not None and (type(timeout) not in (int, float) or not 0 < timeout <= 86_400):
        raise ConfigurationError(f"timeout must be seconds, above 0 and at most 86,400, got {timeout!a:.60}")
    if reserve_for is None and timeout is None:
        reserve_for = options.get("reserve_for")
    retry = options.get("retry") if retry is None else retry
    return TaskOptions(25 if retry is None else retry, fitting_reservation(reserve_for, timeout), timeout)


def discover() -> dict[str, Any]:
    """Import `tasks.py` of each installed app, and return the tasks by module path, those declared elsewhere too.

    Raises whatever the imports raise.
    """
    autodiscover_modules("tasks")
    for app in apps.get_app_configs():
        module = sys.modules.get(f"{app.name}.tasks")
        for thing in list(vars(module).values()) if module is not None else []:
            if isinstance(thing, Task):  # of another backend, which `using(backend=...)` may push here
                declare(thing)
    return dict(sorted(_declared.items()))


def known(path: str) -> Any:
    """Return a task that was declared. Raises `ConfigurationError` for another path."""
    task = _declared.get(path)
    if task is None:
        import_module(path.rpartition(".")[0])  # in a child process: what its worker knows, from beside a tasks.py
        task = _declared.get(path)
    if task is None:
        raise ConfigurationError(f"the task {path!a:.120} is not declared; put it in the tasks.py of an app")
    return task
