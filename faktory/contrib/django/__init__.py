"""Faktory for Django: a backend for `django.tasks`, `manage.py faktory worker`, and what keeps connections healthy.

    INSTALLED_APPS = [..., "faktory.contrib.django"]
    TASKS = {"default": {"BACKEND": "faktory.contrib.django.FaktoryBackend"}}

Django 6.0 has `django.tasks`; before it the package `django-tasks` is used. The names here are imported when they are
used, and nothing of this package needs Django before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...runtime.loading import load

if TYPE_CHECKING:
    from .backend import FaktoryBackend, FaktoryTask
    from .commit import enqueue_on_commit
    from .configuration import app_from_settings
    from .worker import consumer, prepare

__all__ = [
    "FaktoryBackend",
    "FaktoryTask",
    "app_from_settings",
    "consumer",
    "enqueue_on_commit",
    "prepare",
]

_HOMES = {
    "FaktoryBackend": ".backend",
    "FaktoryTask": ".backend",
    "app_from_settings": ".configuration",
    "consumer": ".worker",
    "enqueue_on_commit": ".commit",
    "prepare": ".worker",
}


def __getattr__(name: str) -> Any:
    """Import a public name. Raises ImportError without Django, in one line that says what to install."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import django  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as exc:
        if exc.name != "django":
            raise
        raise ImportError(
            f"{__name__} needs Django, which is not installed: python -m pip install django", name="django"
        ) from None
    found = globals()[name] = getattr(load(_HOMES[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
