"""Users' suites, run by pytester with the plugin."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import faktory

IS_INSTALLED = any(entry.name == "faktory" for entry in entry_points(group="pytest11"))
"""True where pytest finds the plugin by its entry point; else it is named."""

# pytester forgets the modules that came with a run: the next one would have other classes of the same names.
for name in faktory.__all__:
    getattr(faktory, name)
for package in ("faktory.testing", "faktory.isolation"):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
importlib.import_module("faktory.asyncio")

APP = """
import faktory

app = faktory.App("tcp://never.invalid:7419")
ran = []


@app.job(queue="mail")
def welcome(ctx: faktory.JobContext, user: int) -> str:
    ran.append(user)
    return f"welcome {user}"


@app.job
async def fetch(number: int) -> None:
    ran.append(number)


@app.job(retry=1)
def fail(what: str) -> None:
    raise KeyError(what)
"""


def with_root() -> str:
    """Return PYTHONPATH with ours first."""
    return os.pathsep.join([str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH", "")])


Suite = Callable[..., pytest.RunResult]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Run a suite of one file, beside the module `shop`: all is strict, other plugins are off unless named.

    Where the process matters, or what else it has imported, `apart` starts one.
    """
    for name in ("FAKTORY_URL", "FAKTORY_PROVIDER", "FAKTORY_MODE", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", with_root())
    pytester.makepyfile(shop=APP)

    def run(source: str, *arguments: str, plugins: tuple[str, ...] = (), apart: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_shop=source)
        named = [] if IS_INSTALLED else ["-p", "faktory.testing.plugin"]
        unwanted = [
            option
            for name in ("asyncio", "trio", "randomly", "anyio", "hypothesispytest", "timeout")
            if name not in plugins
            for option in ("-p", f"no:{name}")
        ]
        strict = ["-W", "error", "--strict-config", "--strict-markers", "-p", "no:cacheprovider"]
        run = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return run(*strict, *unwanted, *named, *arguments)

    return run
