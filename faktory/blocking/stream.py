"""Bytes over one connected socket, within time limits that no signal moves.

`PlainStream` waits by poll(), whose time limit counts on when a signal interrupts it; the socket itself never blocks,
as the kernel's own limits (SO_RCVTIMEO) start anew with each signal. `TlsStream` leaves the waiting to ssl, which
counts on, too. Neither is thread-safe, but for `interrupt`.

What goes wrong on the line is raised as `Broken`, which no signal handler can raise: what one raises passes as it is.
"""

from __future__ import annotations

import socket
import sys
from typing import Final, Protocol

from ..network.sockets import close_socket, poll_of, shut_down, writable
from ..protocol.diagnosis import reason
from ..runtime.signalled import was_signalled

_SHORTEST_REPLY: Final = len(b"+OK\r\n")  # also of $-1: no command has a shorter one


class Broken(Exception):
    """Nothing more is to be had from this stream. `is_late` is True when only a time limit has passed."""

    def __init__(self, why: str, *, is_late: bool = False) -> None:
        super().__init__(why)
        self.is_late = is_late


class Stream(Protocol):
    """What a connection asks of its socket. Times are in seconds."""

    def send(self, data: bytes, limit: float, replies: int = 1) -> None:
        """Send all of it, to which so many replies are expected. Each `limit` must bring it on. Raises `Broken`."""
        ...

    def receive(self, size: int, limit: float) -> bytes:
        """Wait for bytes and return up to `size` of them, none at the end. Raises `Broken`."""
        ...

    def is_readable(self) -> bool:
        """Tell whether there is something to read: bytes, an end or an error."""
        ...

    def interrupt(self) -> None:
        """Have a `receive` in another thread end now."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class PlainStream:
    """A `Stream` over TCP. Takes the socket over."""

    __slots__ = ("_can_await_several", "_has_read", "_poll", "_replies", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._poll = poll_of(sock)
        self._replies = 1
        self._has_read = False
        self._can_await_several = sys.platform == "linux"

    def send(self, data: bytes, limit: float, replies: int = 1) -> None:
        self._has_read = False
        if replies != self._replies and self._can_await_several:
            self._await_replies(replies)
        sent = 0
        try:
            sent = self._socket.send(data)
        except OSError as exc:
            if was_signalled(exc):
                raise
            if not isinstance(exc, BlockingIOError):
                raise Broken(reason(exc)) from exc
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:], limit)

    def _send_rest(self, data: memoryview, limit: float) -> None:
        """Send what the kernel had no room for."""
        while data:
            if not _is_writable(self._socket, limit):
                raise Broken("timed out", is_late=True)
            try:
                data = data[self._socket.send(data) :]
            except OSError as exc:
                if was_signalled(exc):
                    raise
                if not isinstance(exc, BlockingIOError):
                    raise Broken(reason(exc)) from exc

    def receive(self, size: int, limit: float) -> bytes:
        if self._has_read and self._replies != 1:
            self._await_replies(1)  # what is left of several may be shorter than so many are
        while True:
            if not self._poll(limit * 1_000):
                raise Broken("timed out", is_late=True)
            try:
                data = self._socket.recv(size)
            except OSError as exc:
                if was_signalled(exc):
                    raise
                if isinstance(exc, BlockingIOError):
                    continue  # there was nothing, after all
                raise Broken(reason(exc)) from exc
            self._has_read = True
            return data

    def _await_replies(self, number: int) -> None:
        """Have `receive` wake up when so many of the shortest replies are there, not at the first.

        Saves one of two wake-ups for each job whose ACK leaves with the next FETCH: 15 µs of CPU with several threads.
        """
        # Only poll() knows of it: recv() would take the first reply, and then wait for as many bytes without that one.
        mark = 1 if number == 1 else number * _SHORTEST_REPLY
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
        except OSError as exc:  # a kernel that calls itself Linux and is none; or a broken socket, as will be seen
            if was_signalled(exc):
                raise
            self._can_await_several = False
            number = 1
        self._replies = number

    def is_readable(self) -> bool:
        if self._replies != 1:
            self._await_replies(1)  # else a single stray reply would not be seen
        return bool(self._poll(0))

    def interrupt(self) -> None:
        shut_down(self._socket)

    def close(self) -> None:
        close_socket(self._socket)


class TlsStream:
    """A `Stream` over a socket of the ssl module. Takes it over."""

    __slots__ = ("_limit", "_poll", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poll = poll_of(sock)
        self._limit: float | None = None

    def send(self, data: bytes, limit: float, replies: int = 1) -> None:  # noqa: ARG002  # ssl reads what has come
        self._within(limit)
        try:
            self._socket.sendall(data)
        except OSError as exc:
            if was_signalled(exc):
                raise
            raise Broken(reason(exc), is_late=isinstance(exc, TimeoutError)) from exc

    def receive(self, size: int, limit: float) -> bytes:
        self._within(limit)
        try:
            return self._socket.recv(size)
        except OSError as exc:
            if was_signalled(exc):
                raise
            raise Broken(reason(exc), is_late=isinstance(exc, TimeoutError)) from exc

    def _within(self, limit: float) -> None:
        if limit != self._limit:
            self._socket.settimeout(limit)
            self._limit = limit

    def is_readable(self) -> bool:
        return bool(self._poll(0))

    def interrupt(self) -> None:
        shut_down(self._socket)

    def close(self) -> None:
        close_socket(self._socket)


def _is_writable(sock: socket.socket, limit: float) -> bool:
    """Wait until a socket can be written to, or is broken."""
    return bool(writable([sock], limit))
