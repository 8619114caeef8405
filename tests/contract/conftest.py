"""Both servers behind one face, so that every contract is checked against the real one where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import pytest

from faktory import Client, Job
from faktory.server import Server
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront
from tests.contract.restarting import Restartable
from tests.real_server import BINARY, REASON, URL, RealServer
from tests.waiting import until


class Backend:
    """A server under test: its URL, a client, and a queue of the test's own."""

    def __init__(self, url: str, embedded: Server | None = None, fetch_wait: float = 2.0) -> None:
        self.url = url
        self.embedded = embedded
        self.fetch_wait = fetch_wait
        """Seconds after which it answers an empty FETCH."""
        self.client = Client(url)
        self.queue = f"contract-{token_hex(4)}"

    def push(self, jobtype: str, *args: Any, **options: Any) -> str:
        return self.client.push(Job(jobtype, args, queue=self.queue, **options))

    def sets(self) -> dict[str, int]:
        found: dict[str, int] = self.client.info()["faktory"]["sets"]
        return found

    def settle(self) -> None:
        """Wait until the workers that look for jobs do so."""
        if self.embedded is not None:
            server = self.embedded
            until(lambda: server.waiting)
        else:
            time.sleep(0.1)

    def hurry(self) -> None:
        """End the FETCH that waits, without its 2 s: on the real server by a job that nobody runs or retries."""
        if self.embedded is not None:
            self.embedded.clock.advance(2.1)
        else:
            self.push("hurry", retry=0)

    def end_fetch(self) -> None:
        """See the FETCH that waits answered; no worker may send another. Without one it takes 2 s at the most."""
        self.hurry()
        if self.embedded is not None:
            server = self.embedded
            until(lambda: not server.waiting)
        else:
            until_taken = time.monotonic() + 2.2
            while not self.is_empty() and time.monotonic() < until_taken:
                time.sleep(0.01)

    def is_empty(self) -> bool:
        """Whether no job waits in the queue of the test."""
        queues: dict[str, int] = self.client.info()["faktory"]["queues"]
        return not queues.get(self.queue)


@pytest.fixture
def fetch_wait() -> float:
    """Seconds after which our own server answers an empty FETCH; a module may say otherwise. The real one: 2."""
    return 0.1


@pytest.fixture(scope="session")
def real_url() -> Iterator[str]:
    if URL is not None:
        yield URL
    else:
        with RealServer() as real:
            yield real.url


@contextmanager
def embedded(fetch_wait: float) -> Iterator[Backend]:
    with Server(seed=3, fetch_wait=fetch_wait) as server:
        backend = Backend(server.url, server, fetch_wait)
        with backend.client:
            yield backend


@pytest.fixture
def ours(fetch_wait: float) -> Iterator[Backend]:
    """Our own server alone: for what is decided before the server hears of it."""
    with embedded(fetch_wait) as backend:
        yield backend


def real(*others: Any) -> Any:
    """Return the parameters of a test of `backend` at the real server, and whatever else it takes."""
    marks = [pytest.mark.real, pytest.mark.skipif(BINARY is None and URL is None, reason=REASON)]
    return pytest.param("real", *others, marks=marks)


@pytest.fixture(params=["embedded", real()])
def backend(request: pytest.FixtureRequest, fetch_wait: float) -> Iterator[Backend]:
    if request.param == "embedded":
        with embedded(fetch_wait) as backend:
            yield backend
    else:
        backend = Backend(request.getfixturevalue("real_url"))
        with backend.client:
            yield backend
            backend.client.flush()


@pytest.fixture(params=[ThreadFront, AsyncioFront, TrioFront], ids=["threads", "asyncio", "trio"])
def front(request: pytest.FixtureRequest) -> Front:
    return request.param()  # type: ignore[no-any-return]


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("real", marks=[pytest.mark.real, pytest.mark.skipif(BINARY is None, reason=REASON)]),
    ]
)
def restartable(request: pytest.FixtureRequest) -> Iterator[Restartable]:
    with Server(fetch_wait=0.1) if request.param == "embedded" else RealServer() as server:
        yield Restartable(server)
