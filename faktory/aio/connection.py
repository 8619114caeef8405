"""Async twin of `faktory.connection`: one conversation with a server.

Any interruption between the first byte sent and the reply read, a cancellation too, closes the connection. It belongs
to the event loop and the process that made it: elsewhere it is dropped without a word on the wire.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from ..commands import END, Command
from ..errors import ConfigurationError, ConnectionLost, ProtocolError, ServerError
from ..network.names import ATTEMPT_DELAY, in_turn, is_ip, local_hostname, resolve
from ..network.opening import default_context, warn_of_password
from ..options import CONNECT_TIMEOUT, IDLE_LIMIT, REPLY_TIMEOUT
from ..protocol.address import Address
from ..protocol.blotting import keep_secret
from ..protocol.diagnosis import no_server, no_tls, reason, unusable
from ..protocol.dialogue import GOODBYE_LIMIT, TOO_LATE, Arrival, Dialogue
from ..protocol.handshake import Identity
from ..protocol.wire import MAX_BULK, NEED_DATA, Reply
from ..runtime.ticking import monotonic
from .backend import Backend, Bell, Stream
from .home import Home
from .thread_pool import run_in_thread

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

_LEAVE_LIMIT = 0.2
"""Seconds that attempts to connect have to end when one has succeeded."""

_of_parents: list[Stream] = []
"""What a fork has copied. Kept for good: even its destructor would reach for the parent's loop."""


class Connection:
    """An open, authenticated connection, made by `await Connection.open(...)`. For one task at a time."""

    _backend: ClassVar[Backend]

    __slots__ = ("_dialogue", "_home", "_parser", "_stream", "address", "last_used", "timeout")

    def __init__(self, address: Address, timeout: float, max_bulk: int) -> None:
        self.address: Address = address
        self.timeout: float = timeout
        self._home = Home(self._backend)
        self._dialogue = Dialogue(address, max_bulk)
        self._parser = self._dialogue.parser
        self._stream: Stream | None = None
        self.last_used: float = monotonic()

    @classmethod
    async def open(
        cls,
        url: str | Address | None = None,
        *,
        identity: Identity | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        timeout: float = REPLY_TIMEOUT,
        ssl_context: SSLContext | None = None,
        max_bulk: int = MAX_BULK,
    ) -> Self:
        """Connect to a server, and shake hands.

        * `url`: a URL, an `Address`, or None for `FAKTORY_PROVIDER`, `FAKTORY_URL` or tcp://localhost:7419, in this
          order.
        * `identity`: who says HELLO; a worker's holds a wid. A producer's when None.
        * `connect_timeout`: seconds for name resolution, connecting, TLS and handshake together.
        * `timeout`: seconds to wait for the reply to a command, and for each 64 KiB of a large one. Above 2 for FETCH.
        * `ssl_context`: used for tcp+tls; by default one that verifies chain and host name, TLS 1.2 at least.

        Raises `ConnectFailed`, `HandshakeError`, `ProtocolError`, `ConfigurationError`.
        """
        address = url if isinstance(url, Address) else Address.resolve(url)
        if ssl_context is not None and not address.tls:
            raise ConfigurationError(f"an ssl_context was given, but {address} is without TLS; write tcp+tls://")
        keep_secret(address.password)
        connection = cls(address, timeout, max_bulk)
        limit = monotonic() + connect_timeout
        try:
            stream = await connection._dial(ssl_context, limit)
            await connection._shake_hands(stream, identity or Identity(local_hostname(), os.getpid()), limit)
        except BaseException:
            connection.abort()
            raise
        connection.last_used = monotonic()
        return connection

    # -- talking ------------------------------------------------------------------------------------------------

    async def call(self, command: Command[T]) -> T:
        """Send a command and return what its reply means.

        >>> figures = await connection.call(Info())

        Raises `ServerError` (the connection stays usable), or `ConnectionLost`, `ConnectFailed` and `ProtocolError` (it
        is closed). Cancelled before the whole reply is there, it closes the connection, too.
        """
        line = command.line
        if line.find(b"\n") != len(line) - 1:
            raise ConfigurationError("expected a command of one line that ends in LF, got line breaks inside")
        await self.send(line)
        reply = await self.receive()
        try:
            return command.decode(reply)
        except ProtocolError:
            self.abort()  # whole, but no answer to this command: replies may be out of step
            raise

    async def send(self, data: bytes, replies: int = 1) -> None:  # noqa: ARG002  # the loop reads whatever has come
        """Write whole command lines; `receive` must follow once for each of their replies, which may come together.

        Raises `ConnectionLost`, `ProtocolError`.
        """
        stream = self._stream
        if stream is None:
            raise self._dialogue.closed()
        if not self._home.is_here:
            self.abort()
            raise ConnectionLost(
                f"the connection to {self.address} belongs to another event loop or process", maybe_executed=False
            )
        if not self._parser.is_empty:
            self.abort()
            raise self._dialogue.unasked()
        try:
            await stream.send(data, self.timeout)
        except OSError as exc:
            self.abort()
            raise self._dialogue.not_sent(reason(exc), maybe_executed=True) from exc
        except BaseException:
            self.abort()
            raise

    async def receive(self) -> Reply:
        """Return the next reply; an error reply is returned, too, unless it is the server's goodbye."""
        reply = self._parser.next_reply()
        if reply is NEED_DATA:
            try:
                reply = await self._read()
            except BaseException:
                self.abort()
                raise
        self.last_used = monotonic()
        if isinstance(reply, ServerError):
            self._examine(reply)
        return reply

    async def _read(self) -> Reply:
        """Read until a whole reply is there, or the time limit has passed."""
        stream, parser = self._stream, self._parser
        if stream is None:
            raise self._dialogue.closed()
        arrival: Arrival | None = None
        while True:
            try:
                data = await stream.receive(self.timeout)
            except TimeoutError as exc:
                raise self._dialogue.unanswered(self.timeout) from exc
            except OSError as exc:
                raise self._dialogue.broken(reason(exc)) from exc
            if not data:
                raise self._dialogue.ended()
            parser.feed(data)
            reply = parser.next_reply()
            if reply is not NEED_DATA:
                return reply
            now = monotonic()
            arrival = arrival or Arrival(self.timeout, now)
            if arrival.is_too_slow(len(data), now, stream.is_readable):
                raise self._dialogue.too_slow(self.timeout)

    def _examine(self, error: ServerError) -> None:
        """Raise for the errors that are about the connection and not about the command."""
        verdict = unusable(self.address, error)
        if verdict is not None:
            self.abort()
            raise verdict

    # -- opening and closing --------------------------------------------------------------------------------------

    async def _dial(self, context: SSLContext | None, limit: float) -> Stream:
        address, backend = self.address, self._backend
        hosts = await self._resolve(limit)
        reasons: list[str] = []
        stream = await self._reach(hosts, reasons, limit)
        if stream is None:
            raise no_server(address, reasons)
        if address.tls:
            try:
                stream = await backend.wrap(stream, context or default_context(), address.host, _left(limit))
            except OSError as exc:
                raise no_tls(address, exc) from exc
        self._stream = stream
        return stream

    async def _reach(self, hosts: list[str], reasons: list[str], limit: float) -> Stream | None:
        """Connect to the first address that answers, as `faktory.blocking.dialling` does; else add why none did."""
        backend, bell = self._backend, Bell(self._backend)
        reached: list[Stream] = []

        async def attempt(host: str) -> None:
            try:
                reached.append(await backend.open(host, self.address.port, _left(limit)))
            except OSError as exc:
                reasons.append(reason(exc))
            bell.ring()

        if len(hosts) == 1:
            await attempt(hosts[0])
            return reached[0] if reached else None
        winner: Stream | None = None
        try:
            async with backend.group() as group:
                for begun, host in enumerate(hosts, 1):
                    group.start(attempt, host)
                    failed, next_at = len(reasons), monotonic() + ATTEMPT_DELAY
                    while not reached and len(reasons) < begun:
                        wait = limit - monotonic() if begun == len(hosts) else next_at - monotonic()
                        if wait <= 0 or (len(reasons) > failed and begun < len(hosts)):
                            break
                        await bell.wait(wait)
                    if reached:
                        break
                await group.leave(_LEAVE_LIMIT)
            winner = reached[0] if reached else None  # not before: interrupted, none has an owner
        finally:
            for stream in reached:
                if stream is not winner:
                    stream.abort()
        if winner is None and len(reasons) < len(hosts):
            reasons.append("timed out")
        return winner

    async def _resolve(self, limit: float) -> list[str]:
        """Return the IP addresses of the host; the look-up has no time limit, so it runs in a thread we can leave."""
        address = self.address
        if is_ip(address.host):
            return [address.host]
        try:
            found = await run_in_thread(self._backend, lambda: resolve(address, limit))
        except RuntimeError:  # no thread can be started: late is better than never
            found = resolve(address, limit)
        return list(dict.fromkeys(target[4][0] for target in in_turn(found)))

    async def _shake_hands(self, stream: Stream, identity: Identity, limit: float) -> None:
        """Shake hands within the connect deadline."""
        opening = self._dialogue.opening(identity)
        while (line := opening.next_line()) is not None:
            if line:
                warn_of_password(self.address, is_wanted=opening.wants_password)
                try:
                    await stream.send(line, _left(limit))
                except OSError as exc:
                    raise opening.not_sent(reason(exc)) from exc
                continue
            try:
                data = await stream.receive(_left(limit))
            except TimeoutError as exc:
                raise opening.stopped(TOO_LATE) from exc
            except OSError as exc:
                raise opening.stopped(reason(exc)) from exc
            opening.take(data)

    @property
    def is_open(self) -> bool:
        """True until the connection is closed or found broken."""
        return self._stream is not None

    def is_usable(self) -> bool:
        """Tell whether a command may be sent: open, of this loop, not idle for over a minute, and nothing to read."""
        stream = self._stream
        if stream is None or not self._parser.is_empty or monotonic() - self.last_used > IDLE_LIMIT:
            return False
        if not self._home.is_here:
            return False
        return not stream.is_readable()

    async def close(self) -> None:
        """Say END, which has no reply, and close. Does nothing when closed already."""
        if not self._home.is_here:
            self.abort()
            return
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close(END, GOODBYE_LIMIT)

    def abort(self) -> None:
        """Close without a word. On another event loop its own does it soon; in a fork it is only forgotten."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        home = self._home
        if home.is_here:
            stream.abort()
        elif home.is_in_another_process:
            _of_parents.append(stream)
        elif home.has_ended:
            stream.forget()
        else:
            home.post(stream.abort)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.address} {'open' if self.is_open else 'closed'}>"


def _left(limit: float) -> float:
    return max(0.0, limit - monotonic())  # at 0, too, what has come already is taken
