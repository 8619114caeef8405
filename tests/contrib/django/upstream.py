"""Runs Django's own tests of tasks with our backend in the place of its own; prints what became of each, as JSON.

`python upstream.py FOLDER`, where FOLDER has the `tests/tasks` of Django's source distribution as a package `tasks`.

The tests look at more than a backend has to have, which these two add: the dummy's list of what was enqueued, and the
immediate one's results, here those that a worker tells by its signals after it has run the job from a server.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from copy import deepcopy
from pathlib import Path
from typing import Any

import django
from django.conf import settings

TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
REPLACED = {
    "django.tasks.backends.dummy import DummyBackend": "upstream import DummyBackend",
    "django.tasks.backends.immediate import ImmediateBackend": "upstream import ImmediateBackend",
    "django.tasks.backends.dummy.DummyBackend": "upstream.DummyBackend",
    "django.tasks.backends.immediate.ImmediateBackend": "upstream.ImmediateBackend",
}


def with_ours(source: str) -> str:
    """Return a test file with our backends in the place of Django's."""
    for theirs, ours in REPLACED.items():
        source = source.replace(theirs, ours)
    return source


def set_up(folder: Path) -> None:
    """Put our backends into the tests, and set Django up for them."""
    for path in folder.glob("tasks/test_*.py"):
        path.write_text(with_ours(path.read_text()))
    sys.path[:0] = [str(folder), str(Path(__file__).parent)]
    settings.configure(
        SECRET_KEY="for tests",
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["tasks", "faktory.contrib.django"],
        TASKS=TASKS,
    )
    django.setup()


def __getattr__(name: str) -> Any:
    """Make the backends when they are imported: Django has been set up then."""
    if name not in ("DummyBackend", "ImmediateBackend"):
        raise AttributeError(name)
    globals().update(_backends())
    return globals()[name]


def _backends() -> dict[str, Any]:
    from faktory.contrib.django import FaktoryBackend, consumer
    from faktory.contrib.django.framework import task_finished, task_started

    class DummyBackend(FaktoryBackend):
        """Notes what was enqueued."""

        def __init__(self, alias: str, params: Any) -> None:
            super().__init__(alias, params)
            self.results: list[Any] = []

        def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
            self.results.append(super().enqueue(task, args, kwargs))
            return deepcopy(self.results[-1])

        def clear(self) -> None:
            self.results.clear()

    class ImmediateBackend(FaktoryBackend):
        """Has a worker run the job, and gives the result that the worker had."""

        def prepared(self, task: Any, args: Any, kwargs: Any) -> Any:
            found = super().prepared(task, args, kwargs)
            found.job.retry = 0
            return found

        def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
            told: list[Any] = []

            def receive(task_result: Any, **_: object) -> None:
                told.append(task_result)

            for signal in (task_started, task_finished):
                signal.connect(receive)
            try:
                super().enqueue(task, args, kwargs)
                with consumer().connect() as running:
                    running.drain([task.queue_name])
            finally:
                for signal in (task_started, task_finished):
                    signal.disconnect(receive)
            return told[-1]

    for made in (DummyBackend, ImmediateBackend):
        made.__module__, made.__qualname__ = "upstream", made.__name__
    return {"DummyBackend": DummyBackend, "ImmediateBackend": ImmediateBackend}


class Outcomes(unittest.TestResult):
    """Notes each test's end."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.texts.setdefault(test.id(), "")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.texts[test.id()] = self.errors[-1][1]

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.texts[test.id()] = self.failures[-1][1]

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.texts[test.id()] = (self.failures + self.errors)[-1][1]


def main() -> None:
    """Run the tests."""
    set_up(Path(sys.argv[1]))
    from django.test.runner import DiscoverRunner

    from faktory.testing import serve

    runner = DiscoverRunner(verbosity=0)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    outcomes = Outcomes()
    with serve(fetch_wait=0.01):
        runner.build_suite(["tasks"]).run(outcomes)
    runner.teardown_databases(databases)
    print(json.dumps(outcomes.texts))


if __name__ == "__main__":
    sys.modules["upstream"] = sys.modules["__main__"]
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    main()
