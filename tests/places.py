"""Addresses at which nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Place = tuple[str, int]


def targets(*places: Place) -> list[Any]:
    """What `getaddrinfo` finds for a name with these addresses."""
    return [
        (socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places
    ]


@contextmanager
def black_hole(at: Place = ("127.0.0.1", 0)) -> Iterator[Place]:
    """An address that answers no attempt to connect, as one behind a firewall that drops packets."""
    with socket.socket() as listener:
        listener.bind(at)
        listener.listen(0)
        place = listener.getsockname()
        full: list[socket.socket] = []
        try:
            while True:  # until the queue of the listener is full
                sock = socket.socket()
                full.append(sock)
                sock.settimeout(0.1)
                try:
                    sock.connect(place)
                except TimeoutError:
                    break
            yield place
        finally:
            for sock in full:
                sock.close()


def closed_port() -> Place:
    """An address that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()  # type: ignore[no-any-return]


def sockets() -> int:
    """How many sockets this process has open."""
    return sum("socket:" in str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
