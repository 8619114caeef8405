"""System checks of the settings and of what they name. Their ids:

* faktory.E001: a URL that is none. E002: an unknown key. E003: a wrong `retry` or `reserve_for`.
* faktory.E004: a wrong FAKTORY. E005: FAKTORY["APP"] cannot be used. E006: a task or job cannot run.
* faktory.E007: wrong queues.
* faktory.W001: the app is not installed. W002: nothing of the project goes to Faktory.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks

from ...errors import ConfigurationError
from .configuration import load_app, read_configuration


def check_project(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001  # Django's
    """Check `settings.FAKTORY` and what it names; TASKS is checked by its backends."""
    found = read_configuration(getattr(settings, "FAKTORY", None))
    if found.problems:
        return [
            checks.Error(problem.text, hint=problem.hint, id=f"faktory.E{problem.number:03}")
            for problem in found.problems
        ]
    if found.app is not None:
        try:
            app = load_app(found.app)
        except ConfigurationError as exc:
            return [checks.Error(str(exc), hint='Write "module.attribute" of your faktory.App.', id="faktory.E005")]
        try:
            app.consumer()
        except ConfigurationError as exc:
            return [checks.Error(f"FAKTORY['APP']: {exc}", id="faktory.E006")]
    elif not _has_backend():
        return [
            checks.Warning(
                "faktory.contrib.django is installed, but nothing goes to Faktory",
                hint='Set BACKEND of one of TASKS to "faktory.contrib.django.FaktoryBackend", or FAKTORY["APP"].',
                id="faktory.W002",
            )
        ]
    return []


def _has_backend() -> bool:
    """Tell whether a backend of TASKS is ours, without importing the others."""
    told = getattr(settings, "TASKS", None) or {}
    names = (each.get("BACKEND", "") for each in told.values() if isinstance(each, dict))
    return any(str(name).startswith("faktory.contrib.django.") for name in names)
