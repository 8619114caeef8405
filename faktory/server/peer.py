"""One client's socket, plain or TLS, that never blocks, and what is to be sent on it. Belongs to the loop's thread."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..protocol.wire import CommandParser
from .faults import Fault
from .session import Session

if TYPE_CHECKING:
    import ssl

MAX_HELLO: Final = 64 * 1024
"""Longest line taken before the handshake is over, in bytes."""
MAX_UNSENT: Final = 4 * 1024 * 1024
"""A client that leaves more bytes than this unread gets no further commands executed."""
_READ_SIZE: Final = 64 * 1024
_READ_MORE: Final = 1024 * 1024
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST


def listen(hosts: Sequence[str], port: int) -> tuple[socket.socket, str]:
    """Open a listening socket on the first of `hosts` that this machine has, and say which; port 0 takes a free one.

    Raises `OSError`.
    """
    for host in hosts[:-1]:
        try:
            return _listen(host, port), host
        except OSError as exc:
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return _listen(hosts[-1], port), hosts[-1]


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def end_listening(sock: socket.socket) -> None:
    """Close a listening socket, also for those who hold a copy of it, such as children of a fork."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Peer:
    """One connection. `session` is set by its maker.

    * `is_waiting`: for a job, a delayed reply or its next turn: no further line is looked at.
    * `is_closing`: to be closed once all is sent.
    * `fault`: what will happen to the reply of the command being executed.
    """

    __slots__ = (
        "_not_now",
        "_read_size",
        "_tls",
        "fault",
        "is_closed",
        "is_closing",
        "is_shaking_hands",
        "is_waiting",
        "mask",
        "parser",
        "session",
        "sock",
        "unsent",
    )

    def __init__(self, sock: socket.socket, max_line: int, context: ssl.SSLContext | None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._tls: ssl.SSLSocket | None = None
        self._not_now: tuple[type[OSError], ...] = (BlockingIOError,)
        if context is not None:
            import ssl

            self._not_now = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
            self._tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self.sock: socket.socket = sock if self._tls is None else self._tls
        self.session: Session
        self.parser: CommandParser = CommandParser(min(max_line, MAX_HELLO))
        self.unsent: bytearray = bytearray()
        self.mask: int = 0
        self.is_shaking_hands: bool = self._tls is not None
        self.is_waiting: bool = False
        self.is_closing: bool = False
        self.is_closed: bool = False
        self.fault: Fault | None = None
        self._read_size = _READ_SIZE

    def shake_hands(self) -> int:
        """Go on with the handshake of TLS; what to wait for next, 0 when it is over. Raises `OSError`."""
        import ssl

        try:
            if self._tls is not None:
                self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE
        except OSError:
            with contextlib.suppress(OSError):  # what is left unread would turn the close into a reset
                socket.socket.recv(self.sock, _READ_SIZE)
            raise
        self.is_shaking_hands = False
        return 0

    def receive(self) -> bytes | None:
        """Return what has come, b"" at the end, None when nothing is there yet. Raises `OSError`."""
        try:
            data = self.sock.recv(self._read_size)
        except self._not_now:
            return None
        self._read_size = _READ_MORE if len(data) == self._read_size else _READ_SIZE
        return data

    @property
    def has_more(self) -> bool:
        """True when TLS has read more from the socket than it gave: the selector cannot know."""
        return self._tls is not None and self._tls.pending() > 0

    def send(self) -> None:
        """Send what can be sent now. Raises `OSError`."""
        unsent = self.unsent
        with contextlib.suppress(*self._not_now):
            while unsent:
                del unsent[: self.sock.send(unsent)]

    @property
    def wanted(self) -> int:
        """What the selector should watch for.

        Nobody looks at a socket while its FETCH waits: that its client has gone shows only afterwards, as in the real
        server.
        """
        wanted = selectors.EVENT_WRITE if self.unsent else 0
        if self.is_waiting or self.is_closing or len(self.unsent) > MAX_UNSENT:
            return wanted
        return wanted | selectors.EVENT_READ

    def watch(self, selector: selectors.BaseSelector, mask: int) -> None:
        """Have the selector look out for `mask`, 0 for nothing."""
        before, self.mask = self.mask, mask
        if before == mask:
            return
        if not before:
            selector.register(self.sock, mask, self)
        elif mask:
            selector.modify(self.sock, mask, self)
        else:
            selector.unregister(self.sock)

    def close(self, *, reset: bool) -> None:
        """Close the socket, with a reset or in peace."""
        self.is_closed = True
        with contextlib.suppress(OSError, ValueError):
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif self._tls is not None and not self.is_shaking_hands:
                self._tls.unwrap()  # tells the end of the stream, and does not wait for the answer
        if not reset:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # ends it also while somebody holds a copy
        self.sock.close()

    def let_go(self) -> None:
        """Close our copy of the socket alone, without a word on the wire: in the child of a fork."""
        self.is_closed = True
        self.sock.close()
