"""The way to a server: the addresses of its name, a TCP connection to the first that answers, and TLS over it.

Everything happens in the caller's thread, but for looking up a name, which has no time limit of its own. Whatever goes
wrong is a `ConnectFailed`.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from ..network.names import ATTEMPT_DELAY, Target, in_turn, resolve
from ..network.opening import default_context
from ..network.sockets import close_socket, tune, writable
from ..protocol.address import Address
from ..protocol.diagnosis import no_server, no_tls, reason
from ..runtime.signalled import was_signalled
from ..runtime.ticking import monotonic
from .stream import PlainStream, Stream, TlsStream

if TYPE_CHECKING:
    from ssl import SSLContext

_UNDER_WAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


def dial(address: Address, context: SSLContext | None, limit: float) -> Stream:
    """Connect until a deadline, a monotonic time. Raises `ConnectFailed`."""
    sock = _Race(in_turn(resolve(address, limit))).run(address, limit)
    try:
        if address.tls:
            return TlsStream(_wrap(sock, address, context, limit))
        return PlainStream(sock)
    except BaseException:
        close_socket(sock)
        raise


# -- TCP --------------------------------------------------------------------------------------------------------------


class _Race:
    """Attempts to connect, begun one after the other: the first to succeed wins."""

    def __init__(self, targets: list[Target]) -> None:
        self._targets = targets[::-1]
        self._running: list[socket.socket] = []
        self._reasons: list[str] = []

    def run(self, address: Address, limit: float) -> socket.socket:
        """Return a connected socket. Raises `ConnectFailed`."""
        winner: socket.socket | None = None
        try:
            winner = self._winner(limit)
        finally:
            for sock in self._running:
                if sock is not winner:
                    close_socket(sock)
        if winner is None:
            raise no_server(address, self._reasons)
        return winner

    def _winner(self, limit: float) -> socket.socket | None:
        next_at = 0.0
        while self._targets or self._running:
            now = monotonic()
            if now >= limit:
                self._reasons.append("timed out")
                return None
            if self._targets and (now >= next_at or not self._running):
                is_under_way = self._begin(self._targets.pop())
                next_at = monotonic() + ATTEMPT_DELAY if is_under_way else 0.0
                continue
            for sock in writable(self._running, (min(next_at, limit) if self._targets else limit) - now):
                if self._is_connected(sock):
                    return sock
                next_at = 0.0  # that one was refused: the next one need not wait
        return None

    def _begin(self, target: Target) -> bool:
        """Begin to connect; False when that has failed already: no such family here, no descriptor, no network."""
        family, kind, protocol, _, place = target
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, protocol)
            self._running.append(sock)
            sock.setblocking(False)
            error = sock.connect_ex(place)
        except OSError as exc:
            if was_signalled(exc):
                raise
            return self._note_failure(sock, reason(exc))
        return error in _UNDER_WAY or self._note_failure(sock, os.strerror(error))

    def _is_connected(self, sock: socket.socket) -> bool:
        """Tell how an attempt has ended."""
        try:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                return self._note_failure(sock, os.strerror(error))
            tune(sock)
        except OSError as exc:
            if was_signalled(exc):
                raise
            return self._note_failure(sock, reason(exc))
        return True

    def _note_failure(self, sock: socket.socket | None, why: str) -> bool:
        """Give an attempt up, and return False."""
        self._reasons.append(why)
        if sock is not None:
            self._running.remove(sock)
            close_socket(sock)
        return False


# -- TLS --------------------------------------------------------------------------------------------------------------


def _wrap(sock: socket.socket, address: Address, context: SSLContext | None, limit: float) -> socket.socket:
    try:
        sock.settimeout(left(limit))
        return (context or default_context()).wrap_socket(sock, server_hostname=address.host)
    except OSError as exc:
        if was_signalled(exc):
            raise
        raise no_tls(address, exc) from exc


def left(limit: float) -> float:
    """Return the seconds until a deadline. Raises TimeoutError when it has passed."""
    seconds = limit - monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds
