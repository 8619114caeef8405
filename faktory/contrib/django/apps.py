"""The Django app: brings `manage.py faktory` and the system checks. Tasks are imported by who needs them, not here."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks


class FaktoryConfig(AppConfig):
    """`faktory.contrib.django` in INSTALLED_APPS."""

    name: Any = "faktory.contrib.django"
    label: Any = "faktory"
    verbose_name: Any = "Faktory"

    def ready(self) -> None:
        """Register the system checks."""
        from .checks import check_project  # when the settings can be read

        checks.register(check_project)
