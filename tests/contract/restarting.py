"""A server that ends and starts again, and worker programs that see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faktory.server import Server
from tests.program import Program
from tests.real_server import RealServer
from tests.waiting import until

if TYPE_CHECKING:
    from .conftest import Backend


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
