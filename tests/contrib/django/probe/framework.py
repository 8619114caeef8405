"""`@task` of the framework in use."""

from importlib import import_module
from typing import Any

import django

task: Any = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks").task

__all__ = ["task"]
