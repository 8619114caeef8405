"""The socket of a service manager."""

from __future__ import annotations

import socket


def heard(manager: socket.socket) -> list[str]:
    """Return the words that it was told since the last time."""
    manager.setblocking(False)
    words: list[str] = []
    while True:
        try:
            words.append(manager.recv(4096).decode())
        except BlockingIOError:
            return words
