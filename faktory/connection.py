"""One blocking conversation with a server: TCP or TLS, the handshake, and `call`. This is the hot path.

A connection has one owner at a time. Any interruption between the first byte sent and the reply read closes it, so a
reply can never be taken for another command's. A fork's child drops it without a word on the wire.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import sys
import threading
import weakref
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

from .address import Address
from .blotting import keep_secret
from .commands import END, Command
from .diagnosis import no_handshake, no_server, no_tls, reason, unusable
from .errors import ConfigurationError, ConnectFailed, ConnectionLost, ProtocolError, ServerError
from .handshake import Greeting, Identity, accept, hello
from .options import CONNECT_TIMEOUT, IDLE_LIMIT, REPLY_TIMEOUT
from .wire import MAX_BULK, MAX_GREETING, MAX_LINE, NEED_DATA, Reply, ReplyParser

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.connection")

_READ_SIZE: Final = 64 * 1024
_LARGEST_READ: Final = 1024 * 1024
_SHORTEST_REPLY: Final = len(b"+OK\r\n")  # also of $-1: no command has a shorter one
_open_ones: weakref.WeakSet[Connection]
_fork_hook_set = False
_warned: set[Address] = set()


class Connection:
    """An open, authenticated connection. Creating one connects; use it as a context manager, or `close` it.

    * `url`: a URL, an `Address`, or None for `FAKTORY_PROVIDER`, `FAKTORY_URL` or tcp://localhost:7419, in this order.
    * `identity`: who says HELLO; a worker's holds a wid. A producer's when None.
    * `connect_timeout`: seconds for name resolution, connecting, TLS and handshake together.
    * `timeout`: seconds to wait for the reply to a command, and for each 64 KiB of a large one. Above 2 for FETCH.
    * `ssl_context`: used for tcp+tls; by default one that verifies chain and host name, TLS 1.2 at least.

    Raises `ConnectFailed`, `HandshakeError`, `ProtocolError`, `ConfigurationError`. Not thread-safe.
    """

    __slots__ = (
        "__weakref__", "_can_await_several", "_has_read", "_limit", "_parser", "_poll", "_replies", "_socket",
        "address", "last_used", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        url: str | Address | None = None,
        *,
        identity: Identity | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        timeout: float = REPLY_TIMEOUT,
        ssl_context: SSLContext | None = None,
        max_bulk: int = MAX_BULK,
    ) -> None:
        self.address: Address = url if isinstance(url, Address) else Address.resolve(url)
        if ssl_context is not None and not self.address.tls:
            raise ConfigurationError(f"an ssl_context was given, but {self.address} is without TLS; write tcp+tls://")
        keep_secret(self.address.password)
        self.timeout: float = timeout
        self._limit = monotonic() + connect_timeout
        self._parser = ReplyParser(max_line=MAX_GREETING, max_bulk=max_bulk)
        self._socket: socket.socket | None = None
        self._replies = 1
        self._has_read = False
        self._can_await_several = sys.platform == "linux" and not self.address.tls
        self._poll: select.poll | None = None
        try:
            self._socket = sock = _dial(self.address, self._limit)
            if self.address.tls:
                self._socket = sock = _wrap(sock, self.address, ssl_context, self._limit)
            self._shake_hands(sock, identity or Identity(local_hostname(), os.getpid()))
        except BaseException:
            self.abort()
            raise
        self._parser.max_line = MAX_LINE
        _set_reply_timeout(sock, timeout, tls=self.address.tls)
        self.last_used: float = monotonic()
        _remember(self)

    # -- talking ------------------------------------------------------------------------------------------------

    def call(self, command: Command[T]) -> T:
        """Send a command and return what its reply means.

        Raises `ServerError` (the connection stays usable), or `ConnectionLost`, `ConnectFailed` and `ProtocolError`
        (it is closed).
        """
        line = command.line
        if line.find(b"\n") != len(line) - 1:
            raise ConfigurationError("expected a command of one line that ends in LF, got line breaks inside")
        self.send(line)
        reply = self.receive()
        try:
            return command.decode(reply)
        except ProtocolError:
            self.abort()  # whole, but no answer to this command: replies may be out of step
            raise

    def send(self, data: bytes, replies: int = 1) -> None:
        """Write whole command lines; `receive` must follow once for each of their `replies`, which may come together.

        Raises `ConnectionLost`, `ProtocolError`.
        """
        sock = self._socket
        if sock is None:
            raise ConnectionLost(f"the connection to {self.address} is closed", maybe_executed=False)
        if not self._parser.is_empty:
            self._refuse_unasked()
        self._has_read = False
        if replies != self._replies and self._can_await_several:
            self._await_several(sock, replies)
        try:
            sock.sendall(data)
        except OSError as exc:
            self.abort()
            # The last byte, the LF, did not leave: the server runs no command without it. With TLS a whole record may.
            raise ConnectionLost(
                f"lost the connection to {self.address} while sending: {reason(exc)}", maybe_executed=self.address.tls
            ) from exc
        except BaseException:
            self.abort()
            raise

    def _await_several(self, sock: socket.socket, replies: int) -> None:
        """Have `_wait` wake up when so many of the shortest replies are there, not at the first.

        Saves one of two wake-ups for each job whose ACK leaves with the next FETCH: 15 µs of CPU with several threads.
        """
        # Not for recv itself: it takes the first reply, and then waits for as many bytes without that one.
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 if replies == 1 else replies * _SHORTEST_REPLY)
        except OSError:  # a kernel that calls itself Linux and is none; or the socket is broken, as will be seen
            self._can_await_several = False
            return
        self._replies = replies
        if self._poll is None:
            self._poll = _poll_of(sock)

    def _wait(self, sock: socket.socket) -> None:
        """Wait for several replies; once, as what is left of them then may be shorter than so many are."""
        if self._has_read:
            self._await_several(sock, 1)
        elif (
            sys.platform == "linux"
            and not self.address.tls
            and self._poll
            and not self._poll.poll(self.timeout * 1_000)
        ):
            raise TimeoutError

    def _refuse_unasked(self) -> NoReturn:
        """Drop the connection for what the server said unasked; its goodbye tells why."""
        self.abort()
        unasked = self._parser.next_reply()
        if isinstance(unasked, ServerError):
            self._examine(unasked)
        raise ProtocolError("the server sent more than was asked for; the connection was dropped")

    def receive(self) -> Reply:
        """Return the next reply; an error reply is returned, too, unless it is the server's goodbye."""
        reply = self._parser.next_reply()
        if reply is NEED_DATA:
            try:
                reply = self._read()
            except BaseException:
                self.abort()
                raise
        self.last_used = monotonic()
        if isinstance(reply, ServerError):
            self._examine(reply)
        return reply

    def _read(self) -> Reply:
        """Read from the socket until a whole reply is there, or the time limit has passed."""
        sock, parser = self._socket, self._parser
        if sock is None:
            raise ConnectionLost(f"the connection to {self.address} is closed", maybe_executed=False)
        started, received = 0.0, 0
        size = _READ_SIZE
        while True:
            try:
                if self._replies != 1:
                    self._wait(sock)
                data = sock.recv(size)
            except (BlockingIOError, TimeoutError) as exc:
                raise ConnectionLost(f"no reply from {self.address} within {self.timeout:g} s") from exc
            except OSError as exc:
                raise ConnectionLost(f"lost the connection to {self.address}: {reason(exc)}") from exc
            if not data:
                raise ConnectionLost(f"{self.address} closed the connection before it replied")
            self._has_read = True
            parser.feed(data)
            reply = parser.next_reply()
            if reply is not NEED_DATA:
                return reply
            # The socket's own time limit starts anew with each byte: a trickle must not hold us for ever. A large reply
            # over a slow line may take longer, as long as each time limit brings a good piece of it.
            now = monotonic()
            started = started or now
            received += len(data)
            if now - started > self.timeout:
                if received < _READ_SIZE:
                    raise ConnectionLost(f"no whole reply from {self.address} within {self.timeout:g} s")
                started, received = now, 0
            size = min(max(_READ_SIZE, parser.missing), _LARGEST_READ)

    def _examine(self, error: ServerError) -> None:
        """Raise for the errors that are about the connection and not about the command."""
        verdict = unusable(self.address, error)
        if verdict is not None:
            self.abort()
            raise verdict

    # -- opening and closing --------------------------------------------------------------------------------------

    def _shake_hands(self, sock: socket.socket, identity: Identity) -> None:
        greeting = Greeting.decode(self._read_handshake(sock, "its greeting"))
        warn_of_password(self.address, greeting)
        line = hello(greeting, identity, self.address.password)
        try:
            sock.sendall(line)
        except OSError as exc:
            raise ConnectFailed(f"{self.address} broke off the handshake: {reason(exc)}") from exc
        accept(self._read_handshake(sock, "the answer to HELLO"))

    def _read_handshake(self, sock: socket.socket, awaited: str) -> Reply:
        """Read one reply within the connect deadline."""
        parser = self._parser
        while (reply := parser.next_reply()) is NEED_DATA:
            try:
                sock.settimeout(_left(self._limit))
                data = sock.recv(_READ_SIZE)
            except TimeoutError as exc:
                raise no_handshake(self.address, awaited, "nothing came in time") from exc
            except OSError as exc:
                raise no_handshake(self.address, awaited, reason(exc)) from exc
            if not data:
                raise no_handshake(self.address, awaited, "the connection was closed")
            parser.feed(data)
        if isinstance(reply, ServerError):
            self._examine(reply)
        return reply

    @property
    def is_open(self) -> bool:
        """True until the connection is closed or found broken."""
        return self._socket is not None

    def is_usable(self) -> bool:
        """Tell whether a command may be sent: open, not idle for over a minute, and nothing to read.

        What can be read between commands is an end of file, an error or a stray reply: none is of use.
        """
        sock = self._socket
        if sock is None or not self._parser.is_empty or monotonic() - self.last_used > IDLE_LIMIT:
            return False
        if self._replies != 1:
            self._await_several(sock, 1)  # else a single stray reply would not be seen
        if self._poll is None:
            self._poll = _poll_of(sock)
        return not (self._poll.poll(0) if self._poll is not None else select.select([sock], [], [], 0)[0])

    def close(self) -> None:
        """Say END, which has no reply, and close. Does nothing when closed already."""
        sock = self._socket
        if sock is not None:
            with suppress(OSError):  # it is being closed anyway
                sock.settimeout(0.2)
                sock.sendall(END)
            self.abort()

    def interrupt(self) -> None:
        """Make the exchange of another thread fail now. The only method that any thread may call."""
        sock = self._socket
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # unlike close(), this wakes a reader

    def abort(self) -> None:
        """Close without a word."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.address} {'open' if self.is_open else 'closed'}>"


def warn_of_password(address: Address, greeting: Greeting) -> None:
    """Warn, once for each server, of a password that is not wanted, or that others could read."""
    if address.password is None or address in _warned:
        return
    if greeting.salt is None:
        _warned.add(address)
        log.warning("%s asks for no password though one is configured", address)
    elif not address.tls and not _is_loopback(address.host):
        _warned.add(address)
        log.warning("the password for %s travels without TLS; use tcp+tls://", address)


def local_hostname() -> str:
    """Return this machine's name, as shown in the server's Web UI."""
    return socket.gethostname() or "localhost"


# -- dialling ---------------------------------------------------------------------------------------------------------


def _left(limit: float) -> float:
    left = limit - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _dial(address: Address, limit: float) -> socket.socket:
    """Try every address the name resolves to, sharing out the time that is left."""
    targets = resolve(address, limit)
    reasons: list[str] = []
    for index, (family, kind, protocol, _, target) in enumerate(targets):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(limit) / (len(targets) - index))
            sock.connect(target)
            tune(sock)
        except OSError as exc:
            sock.close()
            reasons.append(reason(exc))
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise no_server(address, reasons)


def resolve(address: Address, limit: float) -> list[tuple[Any, ...]]:
    """Resolve the name within the deadline; getaddrinfo has none of its own, so it runs in a thread we can leave."""
    found: list[list[tuple[Any, ...]]] = []
    failed: list[OSError] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            failed.append(exc if isinstance(exc, OSError) else OSError(f"bad host name: {exc}"))

    if is_ip(address.host):
        look_up()
    else:
        thread = threading.Thread(target=look_up, name="faktory-resolve", daemon=True)
        thread.start()
        thread.join(max(0.0, limit - monotonic()))
    if found:
        return found[0]
    if failed:
        raise ConnectFailed(f"cannot resolve the host name of {address}: {reason(failed[0])}") from failed[0]
    raise ConnectFailed(f"cannot resolve the host name of {address} in time")


def is_ip(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A firewall that forgot the connection is noticed after 15 + 3 * 5 seconds; unsent data gives up after 20.
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _set_reply_timeout(sock: socket.socket, seconds: float, *, tls: bool) -> None:
    if sys.platform != "linux" or tls:
        sock.settimeout(seconds)
        return
    # The kernel keeps the time limit: Python's own would cost a poll() before each recv(), 2 µs a job.
    sock.settimeout(None)
    limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _wrap(sock: socket.socket, address: Address, context: SSLContext | None, limit: float) -> socket.socket:
    try:
        sock.settimeout(_left(limit))
        return (context or default_context()).wrap_socket(sock, server_hostname=address.host)
    except OSError as exc:
        raise no_tls(address, exc) from exc


def default_context() -> SSLContext:
    """Return a context that verifies chain and host name, with TLS 1.2 at least."""
    import ssl  # slow to import, and only needed here

    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _poll_of(sock: socket.socket) -> select.poll | None:
    """Return what tells whether the socket can be read; None where there is only select()."""
    if not hasattr(select, "poll"):
        return None
    poll = select.poll()  # unlike select(), without a limit on descriptor numbers
    poll.register(sock, select.POLLIN)
    return poll


def is_readable(descriptor: int) -> bool:
    """Tell whether a descriptor has something to read: bytes, an end of file or an error."""
    if hasattr(select, "poll"):
        poll = select.poll()  # unlike select(), without a limit on descriptor numbers
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])


# -- fork -----------------------------------------------------------------------------------------------------------


def _remember(connection: Connection) -> None:
    """Have the connection dropped in the child of a fork, which must not hold or use the parent's socket."""
    global _open_ones, _fork_hook_set
    if not _fork_hook_set:
        _fork_hook_set = True
        _open_ones = weakref.WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_drop_all)
    _open_ones.add(connection)


def _drop_all() -> None:
    for connection in list(_open_ones):
        connection.abort()
