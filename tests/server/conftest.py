from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from faktory.server import Server
from tests.server.raw_client import RawClient


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(seed=1) as server:
        yield server


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., RawClient]]:
    """Open connections to `server`; they are closed at the end."""
    clients: list[RawClient] = []

    def connect(wid: str | None = "") -> RawClient:
        clients.append(RawClient(server.port, wid))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., RawClient]) -> RawClient:
    """A connection that belongs to no worker."""
    return connect()
