"""What is asked of sockets, blocking ones and those of event loops alike."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from ..runtime.signalled import was_signalled


def tune(sock: socket.socket) -> None:
    """Set the options of a connection to a server."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A firewall that forgot the connection is noticed after 15 + 3 * 5 seconds; unsent data gives up after 20.
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def poll_of(sock: socket.socket) -> Callable[[float], object]:
    """Return what waits so many milliseconds, and tells whether the socket can be read."""
    if hasattr(select, "poll"):
        poll = select.poll()  # unlike select(), without a limit on descriptor numbers
        poll.register(sock, select.POLLIN)
        return poll.poll
    return lambda milliseconds: select.select([sock], [], [], milliseconds / 1_000)[0]


def writable(socks: list[socket.socket], limit: float) -> list[socket.socket]:
    """Wait until one or more of these sockets can be written to, or are broken, and return these."""
    if not hasattr(select, "poll"):
        _, ready, failed = select.select([], socks, socks, limit)
        return list({*ready, *failed})
    poll = select.poll()
    by_number = {sock.fileno(): sock for sock in socks}
    for sock in socks:
        poll.register(sock, select.POLLOUT)
    return [by_number[number] for number, _ in poll.poll(limit * 1_000)]


def is_readable(descriptor: int) -> bool:
    """Tell whether a descriptor has something to read: bytes, an end of file or an error."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])


def shut_down(sock: socket.socket) -> None:
    """End both directions: unlike a close, this wakes a reader."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as exc:  # the connection is broken already, or closed
        if was_signalled(exc):
            raise


def close_socket(sock: socket.socket) -> None:
    """Close a socket, which somebody may have closed by its number."""
    try:
        sock.close()
    except OSError as exc:
        if was_signalled(exc):
            raise
