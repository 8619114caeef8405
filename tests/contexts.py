"""A plugin of pytest for `tests.coverage`: says which test file each line of ours ran for, also in child processes."""

from __future__ import annotations

import _thread
import importlib
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from coverage import Coverage

import faktory
from tests.rooms import ROOMS, ROOT

IMPORTS = "imports"
"""The context of what runs when a module is imported, which is done once for all tests."""
ELSEWHERE = "elsewhere"
"""The context of what runs between tests, and of tests with the real server: it counts for no room."""

WORDS = sorted({word for room in ROOMS for _, words in room.selections for word in words})
"""What the names of tests are asked for, where a room has only some of a file."""


def pytest_configure(config: pytest.Config) -> None:
    """Import all of the package before the first test, whichever that is."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # the tests run in other processes
    trace_bare_threads()
    switch(IMPORTS)
    for module in pkgutil.walk_packages(faktory.__path__, "faktory.", onerror=lambda name: None):
        if not module.name.endswith("__main__"):
            with suppress(Exception):  # other people's libraries are missing, or want settings
                importlib.import_module(module.name)
    switch(ELSEWHERE)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Note what is made when a test file is imported: the cases that its tests are given."""
    if isinstance(collector, pytest.File):
        switch(str(collector.path.relative_to(ROOT)))


def pytest_collection_finish() -> None:
    """Note for no test file what comes between."""
    switch(ELSEWHERE)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note whose lines come now, before the fixtures of a test are made."""
    switch(ELSEWHERE if item.get_closest_marker("real") else label(item))
    return (yield)


def label(item: pytest.Item) -> str:
    """Return the file of a test, and those words of its name by which rooms select tests."""
    return " ".join([str(item.path.relative_to(ROOT)), *(word for word in WORDS if word in item.name)])


def switch(context: str) -> None:
    """Have this process, and those it starts from now on, note another context."""
    cover = Coverage.current()
    if cover is not None and context != cover.get_option("run:context"):
        cover.set_option("run:context", context)
        cover.switch_context(context)
        os.environ["COVERAGE_PROCESS_CONFIG"] = cover.config.serialize()


def trace_bare_threads() -> None:
    """Have lines seen also in threads that are no `threading.Thread`, which alone coverage knows of."""
    start = _thread.start_new_thread

    def start_traced(
        function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> int:
        def run(*args: Any, **kwargs: Any) -> None:
            sys.settrace(threading.gettrace())
            function(*args, **kwargs)

        return start(run, args, kwargs or {})

    _thread.start_new_thread = start_traced
