"""The way to a server: the addresses of its name, a TCP connection to the first that answers, and TLS over it.

Everything happens in the caller's thread, but for looking up a name, which has no time limit of its own. Whatever goes
wrong is a `ConnectFailed`.
"""

from __future__ import annotations

import _thread
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final

from .address import Address
from .diagnosis import no_server, no_tls, reason
from .errors import ConnectFailed
from .signalled import was_signalled
from .stream import PlainStream, Stream, TlsStream, close_socket, writable
from .ticking import monotonic

if TYPE_CHECKING:
    from ssl import SSLContext

Target = tuple[Any, ...]
"""What `getaddrinfo` returns for one address."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds after which an address that has not answered gets company by the next one (RFC 8305, section 5)."""
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


# -- names ------------------------------------------------------------------------------------------------------------


def resolve(address: Address, limit: float) -> list[Target]:
    """Return the addresses of the host. Raises `ConnectFailed` when there are none, or not in time.

    A look-up has no time limit of its own, so it runs in a thread that we can leave. Where none can be started, at the
    end of the interpreter or in a process out of threads, it runs in this one: late is better than never.
    """
    # Bytes for an address: its way through the idna codec would change what a signal handler raises there.
    host: str | bytes = address.host.encode() if is_ip(address.host) else address.host
    found: list[list[Target]] = []
    failed: list[BaseException] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM))
        except BaseException as exc:
            failed.append(exc)

    if isinstance(host, bytes) or not _ran_in_thread(look_up, limit):
        look_up()
    if found:
        return found[0]
    if not failed:
        raise ConnectFailed(f"cannot resolve the host name of {address} in time")
    error = failed[0]
    if was_signalled(error) or not isinstance(error, (OSError, UnicodeError)):
        raise error
    why = reason(error) if isinstance(error, OSError) else f"bad host name: {error}"
    raise ConnectFailed(f"cannot resolve the host name of {address}: {why}") from error


def _ran_in_thread(look_up: Callable[[], None], limit: float) -> bool:
    """Run a look-up in a thread and wait for it until the deadline; return False when there can be no thread."""
    if sys.is_finalizing():
        return False  # it could be started, but would not run
    has_ended = threading.Lock()
    has_ended.acquire()

    def run() -> None:
        look_up()
        has_ended.release()

    try:
        # Not a threading.Thread: what a signal handler raises within its start() comes out as a KeyError.
        _thread.start_new_thread(run, ())
    except RuntimeError as exc:
        if was_signalled(exc):
            raise
        return False
    has_ended.acquire(timeout=max(0.0, limit - monotonic()))
    return True


def is_ip(host: str) -> bool:
    """Tell whether a host is an address and not a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError) as exc:
            if was_signalled(exc):
                raise
            continue
        return True
    return False


def in_turn(targets: list[Target]) -> list[Target]:
    """Return targets so that their families take turns: where one family leads nowhere, the other is tried soon."""
    families: dict[Any, list[Target]] = {}
    for target in targets:
        families.setdefault(target[0], []).append(target)
    return [target for target in chain.from_iterable(zip_longest(*families.values())) if target is not None]


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


def tune(sock: socket.socket) -> None:
    """Set the options of a connection to a server."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A firewall that forgot the connection is noticed after 15 + 3 * 5 seconds; unsent data gives up after 20.
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


# -- TLS --------------------------------------------------------------------------------------------------------------


def _wrap(sock: socket.socket, address: Address, context: SSLContext | None, limit: float) -> socket.socket:
    try:
        sock.settimeout(left(limit))
        return (context or default_context()).wrap_socket(sock, server_hostname=address.host)
    except OSError as exc:
        if was_signalled(exc):
            raise
        raise no_tls(address, exc) from exc


def default_context() -> SSLContext:
    """Return a context that verifies chain and host name, with TLS 1.2 at least."""
    import ssl  # slow to import, and only needed here

    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def left(limit: float) -> float:
    """Return the seconds until a deadline. Raises TimeoutError when it has passed."""
    seconds = limit - monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds
