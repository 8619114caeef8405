"""The pytest plugin, found by its entry point `faktory`: fixtures, a mark, options. `-p no:faktory` leaves it out.

Nothing of ours is imported before a fixture is used, and nothing happens in tests that use none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..app import App
    from ..builder import ConsumerBuilder
    from ..client import Client
    from ..core.queues import Queues
    from ..server import Server
    from .capturing import Captured
    from .working import Worker

_OPTIONS = ("enterprise", "password", "now")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for a real server."""
    group = parser.getgroup("faktory", "jobs of a Faktory server")
    group.addoption("--faktory-url", metavar="URL", help="run faktory_server's tests against this server")
    group.addoption(
        "--faktory-flush", action="store_true", help="delete all that the server of --faktory-url stores, before a test"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Describe the mark."""
    config.addinivalue_line("markers", "faktory(enterprise, password, now): options of the test's faktory_server")


@pytest.fixture
def faktory_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A fresh server in memory, to which all apps and clients connect; FAKTORY_URL names it."""
    from .serving import serve

    url = request.config.getoption("--faktory-url")
    options = _marked(request)
    if url is not None:
        yield from _real(url, options, flush=bool(request.config.getoption("--faktory-flush")))
        return
    with serve(**options) as server:
        yield server


@pytest.fixture
def faktory_client(faktory_server: Server) -> Iterator[Client]:
    """A client of `faktory_server`."""
    from ..client import Client

    with Client(faktory_server.url) as client:
        yield client


@pytest.fixture
def faktory_worker(
    faktory_server: Server,  # noqa: ARG001  # whose override is in force
) -> Iterator[Callable[..., Worker]]:
    """Make a consumer on `faktory_server`: `faktory_worker(app_or_builder, queues=None)`; closed after the test."""
    from .working import Worker

    with ExitStack() as stack:

        def make(runs: App | ConsumerBuilder, queues: Queues | None = None) -> Worker:
            worker = Worker(runs, queues)
            stack.callback(worker.close)
            return worker

        yield make


@pytest.fixture
def faktory_jobs(request: pytest.FixtureRequest) -> Iterator[Captured]:
    """The jobs that the test pushes: captured, and nothing is sent."""
    from .capturing import capture

    _check_alone(request, "faktory_jobs")
    with capture() as jobs:
        yield jobs


@pytest.fixture
def faktory_inline(request: pytest.FixtureRequest) -> Iterator[Captured]:
    """Jobs run as they are pushed; those of later are kept in this list."""
    from .capturing import inline

    _check_alone(request, "faktory_inline")
    with inline() as jobs:
        yield jobs


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the marks say, the nearest first."""
    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("faktory"):
        if mark.args or not mark.kwargs.keys() <= set(_OPTIONS):
            pytest.fail(
                f"@pytest.mark.faktory takes the keywords {', '.join(_OPTIONS)}, got {mark.args} {mark.kwargs}",
                pytrace=False,
            )
        options = mark.kwargs | options
    return options


def _check_alone(request: pytest.FixtureRequest, name: str) -> None:
    others = {"faktory_server", "faktory_jobs", "faktory_inline"} - {name}
    also = sorted(others.intersection(request.fixturenames))
    if also:
        pytest.fail(
            f"a test's jobs go to one place, but this one uses {name} and {', '.join(also)}; for a part of a test "
            "write `with capture()`, `with inline()` or `with serve()`",
            pytrace=False,
        )


def _real(url: str, options: dict[str, Any], *, flush: bool) -> Iterator[Any]:
    """Have the test use a server that runs already."""
    from ..client import Client
    from .remote import RemoteServer
    from .serving import pointing_at

    if "now" in options:
        pytest.skip("the test sets the time, which a real server does not let it (--faktory-url)")
    with pointing_at(url), Client(url) as client:
        if flush:
            client.flush()
        yield RemoteServer(client, url)
