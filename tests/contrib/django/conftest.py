"""A Django project around the tests, where Django is installed: its database is made once, in a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HAS_DJANGO = find_spec("django") is not None
FOLDER = tempfile.TemporaryDirectory(prefix="faktory-django-")

if HAS_DJANGO:  # before the test files, which import models, are collected
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.contrib.django.probe.settings"
    os.environ["PROBE_DATABASE"] = f"{FOLDER.name}/probe.sqlite3"
    import django

    django.setup()


@pytest.fixture(scope="session", autouse=True)
def project() -> Iterator[None]:
    """Make the database, in a file that threads and child processes share."""
    if HAS_DJANGO:
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", run_syncdb=True, verbosity=0)
        connections.close_all()
    yield
    FOLDER.cleanup()


@pytest.fixture
def database() -> Iterator[None]:
    """The database, emptied, and no connection of this thread left after the test."""
    from django.db import connections

    from tests.contrib.django.probe.models import Seen, opened

    Seen.objects.all().delete()
    opened.clear()
    yield
    connections.close_all()


Work = Callable[[list[str]], Any]


@pytest.fixture
def work() -> Iterator[Work]:
    """Makes workers of the project that fetch from some queues; closed at the end."""
    from faktory.contrib.django import consumer
    from faktory.testing import Worker

    made: list[Worker] = []

    def make(queues: list[str]) -> Worker:
        made.append(Worker(consumer(), queues))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.fixture
def calls() -> list[Any]:
    """What the probe's tasks write down."""
    from tests.contrib.django.probe import tasks

    tasks.calls.clear()
    found: list[Any] = tasks.calls
    return found


def fds_of(path: str | Path) -> int:
    """Return how many descriptors of this process have a file open."""
    return sum(1 for link in Path("/proc/self/fd").iterdir() if link.exists() and link.samefile(path))
