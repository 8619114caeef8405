"""A server that ends and starts again, and worker programs that see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faktory.server import Server
from tests.contract.conftest import Backend
from tests.programs import Program
from tests.real_server import BINARY, REASON, RealServer
from tests.waiting import until


def end_of(worker: Program, backend: Backend) -> int:
    """Wait for the end of a worker that was told to end, without the 2 s of a FETCH where that can be helped."""
    until(lambda: "terminating" in worker.errors)
    backend.hurry()
    return worker.wait()


class Restartable:
    """A server that can be taken away and brought back."""

    def __init__(self, server: Server | RealServer) -> None:
        self.server = server
        self.url = server.url

    def away(self, *, kill: bool) -> None:
        if kill:
            self.server.kill()
        elif isinstance(self.server, Server):
            self.server.stop()
        else:
            self.server.terminate()

    def back(self) -> None:
        self.server.start()


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("real", marks=[pytest.mark.real, pytest.mark.skipif(BINARY is None, reason=REASON)]),
    ]
)
def restartable(request: pytest.FixtureRequest) -> Iterator[Restartable]:
    with Server(fetch_wait=0.1) if request.param == "embedded" else RealServer() as server:
        yield Restartable(server)
