"""One blocking conversation with a server: the handshake and `call`, over a stream. This is the hot path.

A connection has one owner at a time. Any interruption between the first byte sent and the reply read closes it, so a
reply can never be taken for another command's. A fork's child drops it without a word on the wire.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, TypeVar

from ..commands import END, Command
from ..errors import ConfigurationError, ProtocolError, ServerError
from ..network.names import local_hostname
from ..network.opening import warn_of_password
from ..options import CONNECT_TIMEOUT, IDLE_LIMIT, REPLY_TIMEOUT
from ..protocol.address import Address
from ..protocol.blotting import keep_secret
from ..protocol.diagnosis import unusable
from ..protocol.dialogue import GOODBYE_LIMIT, TOO_LATE, Arrival, Dialogue
from ..protocol.handshake import Identity
from ..protocol.wire import MAX_BULK, NEED_DATA, Reply
from ..runtime.ticking import monotonic
from .dialling import dial
from .stream import Broken, Stream

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

_READ_SIZE: Final = 64 * 1024
_LARGEST_READ: Final = 1024 * 1024
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
        "__weakref__", "_awaited", "_dialogue", "_me", "_parser", "_stream", "address", "last_used", "timeout",
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
        self._dialogue = Dialogue(self.address, max_bulk)
        self._parser = self._dialogue.parser
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
            raise self._dialogue.closed()
        if not self._parser.is_empty:
            self.abort()
            raise self._dialogue.unasked()
        self._awaited += replies
        try:
            stream.send(data, self.timeout, replies)
        except Broken as exc:
            self.abort()
            # The last byte, the LF, did not leave: the server runs no command without it. With TLS a whole record may.
            raise self._dialogue.not_sent(str(exc), maybe_executed=self.address.tls) from exc
        except BaseException:
            self.abort()
            raise

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
        if isinstance(reply, ServerError):
            self._examine(reply)
        return reply

    def _read(self) -> Reply:
        """Read until a whole reply is there, or the time limit has passed."""
        stream, parser = self._stream, self._parser
        if stream is None:
            raise self._dialogue.closed()
        arrival: Arrival | None = None
        size = _READ_SIZE
        while True:
            try:
                data = stream.receive(size, self.timeout)
            except Broken as exc:
                if exc.is_late:
                    raise self._dialogue.unanswered(self.timeout) from exc
                raise self._dialogue.broken(str(exc)) from exc
            if not data:
                raise self._dialogue.ended()
            parser.feed(data)
            reply = parser.next_reply()
            self.last_used = now = monotonic()
            if reply is not NEED_DATA:
                return reply
            arrival = arrival or Arrival(self.timeout, now)
            if arrival.is_too_slow(len(data), now, stream.is_readable):
                raise self._dialogue.too_slow(self.timeout)
            size = min(max(_READ_SIZE, parser.missing), _LARGEST_READ)

    def _examine(self, error: ServerError) -> None:
        """Raise for the errors that are about the connection and not about the command."""
        verdict = unusable(self.address, error)
        if verdict is not None:
            self.abort()
            raise verdict

    # -- opening and closing --------------------------------------------------------------------------------------

    def _shake_hands(self, stream: Stream, identity: Identity, limit: float) -> None:
        """Shake hands within the connect deadline."""
        opening = self._dialogue.opening(identity)
        while (line := opening.next_line()) is not None:
            seconds = limit - monotonic()
            if line:
                warn_of_password(self.address, is_wanted=opening.wants_password)
                try:
                    stream.send(line, max(0.0, seconds))
                except Broken as exc:
                    raise opening.not_sent(str(exc)) from exc
                continue
            if seconds <= 0:
                raise opening.stopped(TOO_LATE)
            try:
                data = stream.receive(_READ_SIZE, seconds)
            except Broken as exc:
                raise opening.stopped(TOO_LATE if exc.is_late else str(exc)) from exc
            opening.take(data)

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
                stream.send(END, GOODBYE_LIMIT)
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
