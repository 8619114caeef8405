"""One blocking conversation with a server: the handshake and `call`, over a stream. This is the hot path.

A connection has one owner at a time. Any interruption between the first byte sent and the reply read closes it, so a
reply can never be taken for another command's. A fork's child drops it without a word on the wire.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, Self, TypeVar

from ..commands import END, Command
from ..errors import ConfigurationError, ConnectFailed, ConnectionLost, ProtocolError, ServerError
from ..network.names import local_hostname
from ..network.opening import warn_of_password
from ..options import CONNECT_TIMEOUT, IDLE_LIMIT, REPLY_TIMEOUT
from ..protocol.address import Address
from ..protocol.blotting import keep_secret
from ..protocol.diagnosis import no_handshake, unusable
from ..protocol.handshake import Greeting, Identity, accept, hello
from ..protocol.wire import MAX_BULK, MAX_GREETING, MAX_LINE, NEED_DATA, Reply, ReplyParser
from ..runtime.ticking import monotonic
from .dialling import dial
from .stream import Broken, Stream

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

_READ_SIZE: Final = 64 * 1024
_LARGEST_READ: Final = 1024 * 1024
_GOODBYE_LIMIT: Final = 0.2
_MANY: Final = 1_000
# No WeakSet: what a signal handler raises in the callback of a weak reference is lost.
_open_ones: set[weakref.ref[Connection]] = set()
_fork_hook_set = False


class Connection:
    """An open, authenticated connection. Creating one connects; use it as a context manager, or `close` it.

    * `url`: a URL, an `Address`, or None for `FAKTORY_PROVIDER`, `FAKTORY_URL` or tcp://localhost:7419, in this order.
    * `identity`: who says HELLO; a worker's holds a wid. A producer's when None.
    * `connect_timeout`: seconds for name resolution, connecting, TLS and handshake together.
    * `timeout`: seconds to wait for the reply to a command, and for each 64 KiB of a large one. Above 2 for FETCH.
    * `ssl_context`: used for tcp+tls; by default one that verifies chain and host name, TLS 1.2 at least.

    Raises `ConnectFailed`, `HandshakeError`, `ProtocolError`, `ConfigurationError`. Not thread-safe.

    >>> with Connection("tcp://localhost:7419") as connection:
    ...     print(connection.call(Info())["server"])
    """

    __slots__ = (
        "__weakref__", "_awaited", "_me", "_parser", "_stream", "address", "last_used", "timeout",
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
        self._parser = ReplyParser(max_line=MAX_GREETING, max_bulk=max_bulk)
        self._stream: Stream | None = None
        self._me = weakref.ref(self)
        self._awaited = 0  # replies to what was sent: not 0 between exchanges when one was broken off
        limit = monotonic() + connect_timeout
        try:
            self._stream = stream = dial(self.address, ssl_context, limit)
            self._shake_hands(stream, identity or Identity(local_hostname(), os.getpid()), limit)
        except BaseException:
            self.abort()
            raise
        self._parser.max_line = MAX_LINE
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
        stream = self._stream
        if stream is None:
            raise ConnectionLost(f"the connection to {self.address} is closed", maybe_executed=False)
        if not self._parser.is_empty:
            self._refuse_unasked()
        self._awaited += replies
        try:
            stream.send(data, self.timeout, replies)
        except Broken as exc:
            self.abort()
            # The last byte, the LF, did not leave: the server runs no command without it. With TLS a whole record may.
            raise ConnectionLost(
                f"lost the connection to {self.address} while sending: {exc}", maybe_executed=self.address.tls
            ) from exc
        except BaseException:
            self.abort()
            raise

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
        self._awaited -= 1
        self.last_used = monotonic()
        if isinstance(reply, ServerError):
            self._examine(reply)
        return reply

    def _read(self) -> Reply:
        """Read until a whole reply is there, or the time limit has passed."""
        stream, parser = self._stream, self._parser
        if stream is None:
            raise ConnectionLost(f"the connection to {self.address} is closed", maybe_executed=False)
        started, received = 0.0, 0
        size = _READ_SIZE
        while True:
            try:
                data = stream.receive(size, self.timeout)
            except Broken as exc:
                if exc.is_late:
                    raise ConnectionLost(f"no reply from {self.address} within {self.timeout:g} s") from exc
                raise ConnectionLost(f"lost the connection to {self.address}: {exc}") from exc
            if not data:
                raise ConnectionLost(f"{self.address} closed the connection before it replied")
            parser.feed(data)
            reply = parser.next_reply()
            if reply is not NEED_DATA:
                return reply
            # The time limit starts anew with each byte: a trickle must not hold us for ever. A large reply over a slow
            # line may take longer, as long as each time limit brings a good piece of it.
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

    def _shake_hands(self, stream: Stream, identity: Identity, limit: float) -> None:
        greeting = Greeting.decode(self._read_handshake(stream, "its greeting", limit))
        warn_of_password(self.address, greeting)
        line = hello(greeting, identity, self.address.password)
        try:
            stream.send(line, max(0.0, limit - monotonic()))
        except Broken as exc:
            raise ConnectFailed(f"{self.address} broke off the handshake: {exc}") from exc
        accept(self._read_handshake(stream, "the answer to HELLO", limit))

    def _read_handshake(self, stream: Stream, awaited: str, limit: float) -> Reply:
        """Read one reply within the connect deadline."""
        parser = self._parser
        while (reply := parser.next_reply()) is NEED_DATA:
            seconds = limit - monotonic()
            if seconds <= 0:
                raise no_handshake(self.address, awaited, "nothing came in time")
            try:
                data = stream.receive(_READ_SIZE, seconds)
            except Broken as exc:
                why = "nothing came in time" if exc.is_late else str(exc)
                raise no_handshake(self.address, awaited, why) from exc
            if not data:
                raise no_handshake(self.address, awaited, "the connection was closed")
            parser.feed(data)
        if isinstance(reply, ServerError):
            self._examine(reply)
        return reply

    @property
    def is_open(self) -> bool:
        """True until the connection is closed or found broken."""
        return self._stream is not None

    def is_usable(self) -> bool:
        """Tell whether a command may be sent: open, not idle for over a minute, and nothing to read or to wait for.

        What can be read between commands is an end of file, an error or a stray reply: none is of use.
        """
        stream = self._stream
        if stream is None or self._awaited or not self._parser.is_empty:
            return False
        return monotonic() - self.last_used <= IDLE_LIMIT and not stream.is_readable()

    def close(self) -> None:
        """Say END, which has no reply, and close. Does nothing when closed already."""
        stream = self._stream
        if stream is not None:
            with suppress(Broken):  # it is being closed anyway
                stream.send(END, _GOODBYE_LIMIT)
            self.abort()

    def interrupt(self) -> None:
        """Make the exchange of another thread fail now. The only method that any thread may call."""
        stream = self._stream
        if stream is not None:
            stream.interrupt()

    def abort(self) -> None:
        """Close without a word."""
        _open_ones.discard(self._me)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.address} {'open' if self.is_open else 'closed'}>"


# -- fork -----------------------------------------------------------------------------------------------------------


def _remember(connection: Connection) -> None:
    """Have the connection dropped in the child of a fork, which must not hold or use the parent's socket."""
    global _fork_hook_set
    if not _fork_hook_set:
        _fork_hook_set = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_drop_all)
    if len(_open_ones) > _MANY:
        _open_ones.difference_update([each for each in list(_open_ones) if each() is None])
    _open_ones.add(connection._me)


def _drop_all() -> None:
    for each in list(_open_ones):
        connection = each()
        if connection is not None:
            connection.abort()
