"""What an async consumer asks of its heartbeat, and of a connection that blocks. Whoever builds it passes both in."""

from __future__ import annotations

from typing import Protocol, TypeVar

from ..commands import Command

T = TypeVar("T")


class Line(Protocol):
    """A connection that blocks: for a thread that ends the process when the loop cannot."""

    def call(self, command: Command[T]) -> T:
        """Send a command and return what its reply means."""
        ...

    def close(self) -> None:
        """Say END and close."""
        ...


class Heartbeat(Protocol):
    """Keeps the server told that the worker lives, in a thread of its own."""

    @property
    def beaten_at(self) -> float | None:
        """When the server last answered a beat, or HELLO."""
        ...

    @property
    def is_connected(self) -> bool:
        """True when its connection looks usable."""
        ...

    @property
    def server(self) -> str:
        """The server's address, for people."""
        ...

    def connect(self) -> None:
        """Open its connection, or replace it. Blocks."""
        ...

    def start(self) -> None:
        """Begin to beat."""
        ...

    def stop(self) -> None:
        """Stop beating; the connection stays open. Blocks for a moment."""
        ...

    def close(self) -> None:
        """Stop, say END, and close the connection. Blocks for a moment."""
        ...
