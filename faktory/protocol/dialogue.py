"""One conversation with a server, from the greeting to the goodbye: what both connections decide alike. Pure.

A connection reads and writes as its shell does; its `Dialogue` has the parser, and says what it is called when
something breaks. `Opening` is the handshake: asked for the next line, and fed what comes. `Arrival` judges a reply that
comes in pieces. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import ConnectFailed, ConnectionLost, FaktoryError, ProtocolError, ServerError
from .address import Address
from .diagnosis import no_handshake, unusable
from .handshake import Greeting, Identity, accept, hello
from .wire import MAX_GREETING, MAX_LINE, NEED_DATA, ReplyParser

GOOD_PIECE: Final = 64 * 1024
"""Bytes of a large reply that each time limit must bring."""
GOODBYE_LIMIT: Final = 0.2
"""Seconds that END may take, which nobody answers."""
TOO_LATE: Final = "nothing came in time"


class Dialogue:
    """What one connection knows of its conversation. `parser` takes what the server says; each error has a method."""

    __slots__ = ("_address", "parser")

    def __init__(self, address: Address, max_bulk: int) -> None:
        self._address = address
        self.parser: ReplyParser = ReplyParser(max_line=MAX_GREETING, max_bulk=max_bulk)

    def opening(self, identity: Identity) -> Opening:
        """Begin the handshake of a new connection."""
        return Opening(self._address, identity, self.parser)

    def unasked(self) -> FaktoryError:
        """Return what to raise when there was something to read before a command was sent: a goodbye tells why."""
        reply = self.parser.next_reply()
        verdict = unusable(self._address, reply) if isinstance(reply, ServerError) else None
        return verdict or ProtocolError("the server sent more than was asked for; the connection was dropped")

    def closed(self) -> ConnectionLost:
        """Return the error for a connection that was closed before."""
        return ConnectionLost(f"the connection to {self._address} is closed", maybe_executed=False)

    def not_sent(self, why: str, *, maybe_executed: bool) -> ConnectionLost:
        """Return the error for a line that did not leave as a whole."""
        return ConnectionLost(
            f"lost the connection to {self._address} while sending: {why}", maybe_executed=maybe_executed
        )

    def broken(self, why: str) -> ConnectionLost:
        """Return the error for a connection that breaks before the reply is there."""
        return ConnectionLost(f"lost the connection to {self._address}: {why}")

    def ended(self) -> ConnectionLost:
        """Return the error for an end where a reply was awaited."""
        return ConnectionLost(f"{self._address} closed the connection before it replied")

    def unanswered(self, timeout: float) -> ConnectionLost:
        """Return the error for a time limit in which no byte of a reply came."""
        return ConnectionLost(f"no reply from {self._address} within {timeout:g} s")

    def too_slow(self, timeout: float) -> ConnectionLost:
        """Return the error for a reply that only trickles."""
        return ConnectionLost(f"no whole reply from {self._address} within {timeout:g} s")


class Opening:
    """The handshake: the server's greeting, our HELLO, the server's answer to that."""

    __slots__ = ("_address", "_greeting", "_identity", "_parser")

    def __init__(self, address: Address, identity: Identity, parser: ReplyParser) -> None:
        self._address = address
        self._identity = identity
        self._parser = parser
        self._greeting: Greeting | None = None

    @property
    def wants_password(self) -> bool:
        """True when the server's greeting was there, and asks for a password."""
        return self._greeting is not None and self._greeting.salt is not None

    def next_line(self) -> bytes | None:
        """Return the line to send, nothing while more has to come, and None when the handshake is done.

        Raises `HandshakeError`, `ProtocolError`, and `ConnectFailed` or `ConnectionLost` when the server wants no
        connection.
        """
        reply = self._parser.next_reply()
        if reply is NEED_DATA:
            return b""
        verdict = unusable(self._address, reply) if isinstance(reply, ServerError) else None
        if verdict is not None:
            raise verdict
        if self._greeting is None:
            self._greeting = Greeting.decode(reply)
            return hello(self._greeting, self._identity, self._address.password)
        accept(reply)
        self._parser.max_line = MAX_LINE
        return None

    def take(self, data: bytes) -> None:
        """Take what has come. Raises `ConnectFailed` for an end."""
        if not data:
            raise self.stopped("the connection was closed")
        self._parser.feed(data)

    def stopped(self, why: str) -> ConnectFailed:
        """Return the error for what the server was to say, and did not."""
        awaited = "its greeting" if self._greeting is None else "the answer to HELLO"
        return no_handshake(self._address, awaited, why)

    def not_sent(self, why: str) -> ConnectFailed:
        """Return the error for a HELLO that could not be sent."""
        return ConnectFailed(f"{self._address} broke off the handshake: {why}")


class Arrival:
    """Judges a reply that comes in pieces. The time limit starts anew with each byte, but a trickle must not hold us.

    A large reply over a slow line may take long, as long as each time limit brings a good piece of it.
    """

    __slots__ = ("_received", "_since", "_timeout")

    def __init__(self, timeout: float, now: float) -> None:
        self._timeout = timeout
        self._since = now
        self._received = 0

    def is_too_slow(self, size: int, now: float, has_more: Callable[[], bool]) -> bool:
        """Tell whether to give up after a piece of so many bytes; not while there is more to read at once.

        A process that was frozen wakes with both, what has come and a time limit that has passed.
        """
        self._received += size
        if now - self._since <= self._timeout or has_more():
            return False
        if self._received < GOOD_PIECE:
            return True
        self._since, self._received = now, 0
        return False
