"""Fixtures that every test may use."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import settings

from faktory import Client
from faktory.core import ending
from faktory.server import Server
from tests.certificates import Certificates
from tests.share import share_of

settings.register_profile("share", settings(), max_examples=share_of(100), deadline=None)
settings.load_profile("share")


def pytest_configure(config: pytest.Config) -> None:
    # Hear Ctrl-C, also where the suite was started with it ignored (a shell's background).
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Started with nohup, go on; but what is ignored here would be ignored by the programs that tests start.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    _share_compiled_code(config)
    # With -n, have a worker that is done take tests from the others, where nothing else is asked for.
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "worksteal"


def _share_compiled_code(config: pytest.Config) -> None:
    """Where no .pyc files are to be left behind, keep them until the end of the run in a directory of its own.

    Tests start hundreds of processes, and each would compile the whole package anew.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None) and "PYTHONPYCACHEPREFIX" not in os.environ:
        directory = tempfile.TemporaryDirectory(prefix="faktory-tests-")
        os.environ["PYTHONPYCACHEPREFIX"] = directory.name
        config.add_cleanup(directory.cleanup)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have the workers of a whole run share the work of compiling the tests, which each of them imports.

    Each begins elsewhere: those that begin at the same file compile the same files at the same time.
    """
    worker: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    here = Path(__file__).parent
    if worker is None or [session.config.invocation_params.dir / each for each in session.config.args] != [here]:
        return
    files = sorted(here.rglob("test_*.py"))
    for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # pytest will say what is wrong with it
            importlib.import_module(".".join(file.relative_to(session.config.rootpath).with_suffix("").parts))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have each worker of a run begin with its share of the slow tests: at the end, others would wait for them."""
    count: int = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    items.clear()
    for number in range(count):  # each worker is given its part of the list at first
        items += slow[number::count] + quick[len(quick) * number // count : len(quick) * (number + 1) // count]


def pytest_collection_finish() -> None:
    """Spare the collector the collected tests: each test that calls it, or forks, would pay for thousands of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def fetch_wait() -> float:
    """Seconds after which `server` answers an empty FETCH; a file may say otherwise. The real one: 2.

    A consumer ends when its last FETCH is answered.
    """
    return 0.3


@pytest.fixture
def server(fetch_wait: float) -> Iterator[Server]:
    """An embedded server of the test's own."""
    with Server(seed=7, fetch_wait=fetch_wait) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A producer connected to `server`."""
    with Client(server.url) as client:
        yield client


@pytest.fixture
def brief_wind_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have consumers leave jobs that nothing ends after 0.8 s, not after 2.5, also in `tests.programs`."""
    monkeypatch.setattr(ending, "WIND_DOWN", 0.8)
    monkeypatch.setenv("FAKTORY_TEST_WIND_DOWN", "0.8")


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return Certificates(trustme.CA())


@pytest.fixture(autouse=True)
def the_environment_is_left_as_it_was() -> Iterator[None]:
    """Fail a test that leaves variables behind: another one, long after, would fail for it."""
    before = _environment()
    yield
    assert _environment() == before


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves one of our threads behind."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread.name.startswith("faktory-") and thread not in before]
    for thread in left:
        thread.join(5)
    assert not [thread.name for thread in left if thread.is_alive()]
