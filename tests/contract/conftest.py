"""Both servers behind one face, so that every contract is checked against the real one where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import pytest

from faktory import Client, Job
from faktory.server import Server
from tests.conftest import until
from tests.real_server import BINARY, REASON, URL, RealServer

from .fronts import AsyncioFront, Front, ThreadFront, TrioFront


class Backend:
    """A server under test: its URL, a client, and a queue of the test's own."""

    def __init__(self, url: str, embedded: Server | None = None) -> None:
        self.url = url
        self.embedded = embedded
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


@pytest.fixture(scope="session")
def real_url() -> Iterator[str]:
    if URL is not None:
        yield URL
    else:
        with RealServer() as real:
            yield real.url


@pytest.fixture(
    params=[
        "embedded",
        pytest.param(
            "real", marks=[pytest.mark.real, pytest.mark.skipif(BINARY is None and URL is None, reason=REASON)]
        ),
    ]
)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "embedded":
        with Server(seed=3) as server:
            backend = Backend(server.url, server)
            with backend.client:
                yield backend
    else:
        backend = Backend(request.getfixturevalue("real_url"))
        with backend.client:
            yield backend
            backend.client.flush()


@pytest.fixture(params=[ThreadFront, AsyncioFront, TrioFront], ids=["threads", "asyncio", "trio"])
def front(request: pytest.FixtureRequest) -> Front:
    return request.param()  # type: ignore[no-any-return]
