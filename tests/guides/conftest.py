"""How a page is run."""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

import faktory.testing
from faktory.server import Server
from tests.guides.running import Page
from tests.testing.conftest import IS_INSTALLED

RunPage = Callable[[Path], None]

# A run of pytest within a test forgets the modules that it was the first to import: of what it has watched jobs with,
# there would be a second copy later, which knows nothing of it.
for each in pkgutil.iter_modules(faktory.testing.__path__):
    if each.name != "plugin":  # which pytest itself imports, to rewrite its assertions
        import_module(f"faktory.testing.{each.name}")


@pytest.fixture
def run_page(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunPage]:
    """Run a page with a server at FAKTORY_URL, and leave no trace: environment, modules, log handlers."""
    for name in [
        name for name in os.environ if name.startswith(("FAKTORY", "PYTEST_ADDOPTS")) and "_TEST_" not in name
    ]:
        monkeypatch.delenv(name)
    environment, path, modules = dict(os.environ), sys.path[:], set(sys.modules)
    monkeypatch.setattr(logging.getLogger(), "handlers", logging.getLogger().handlers[:])

    def run_tests(arguments: str) -> str:
        named = [] if IS_INSTALLED else ["-p", "faktory.testing.plugin"]
        off = [
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-p",
            "no:trio",
            "-p",
            "no:xdist",
            "-p",
            "no:hypothesispytest",
        ]
        monkeypatch.setenv("COLUMNS", "80")
        result = pytester.runpytest_inprocess(*off, *named, *arguments.split())
        monkeypatch.delenv("COLUMNS")
        assert result.ret == 0, result.outlines
        return result.stdout.str() + "\n"

    def run(page: Path) -> None:
        with Server(fetch_wait=0.01) as server:
            monkeypatch.setenv("FAKTORY_URL", server.url)
            Page(page, pytester.path, run_tests).run()

    yield run
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("test_"):
            del sys.modules[name]
