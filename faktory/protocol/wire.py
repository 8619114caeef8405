"""Bytes of the line protocol to values and back. Pure: no socket, no clock.

Replies (server to client) are five shapes of RESP; commands (client to server) are single lines.

* Client side: `ReplyParser.feed` the bytes as they arrive, then ask `next_reply` until it says `NEED_DATA`.
* Server side: `CommandParser` does the same for command lines; the `encode_*` functions write replies.

Source of the rules: server/connection.go and server/server.go of contribsys/faktory.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from ..errors import EnterpriseRequired, NotUnique, ProtocolError, ServerError

MAX_LINE: Final = 64 * 1024
"""Longest status or error line taken from a server, in bytes."""
MAX_GREETING: Final = 4 * 1024
"""Longest greeting taken from a server, in bytes."""
MAX_BULK: Final = 64 * 1024 * 1024
"""Longest bulk string taken from a server, in bytes."""
MAX_COMMAND: Final = 64 * 1024 * 1024
"""Longest command line taken from a client, in bytes."""


class _Need(Enum):
    DATA = "more bytes are needed"


NEED_DATA: Final = _Need.DATA
"""What a parser answers when the bytes fed so far hold no whole message."""

Reply = str | bytes | int | None | ServerError
"""A status line is `str`, a bulk string `bytes`, nil `None`; an error line is a `ServerError`, as a value."""


class ReplyParser:
    """Turn the bytes of a server into replies, whatever the pieces they arrive in.

    A malformed or oversized reply raises `ProtocolError`; the connection must then be dropped.
    Never holds more than the larger of the limits plus what was fed last.
    """

    __slots__ = ("_buffer", "_bulk_size", "_scanned", "_start", "max_bulk", "max_line")

    def __init__(self, max_line: int = MAX_LINE, max_bulk: int = MAX_BULK) -> None:
        self.max_line: int = max_line
        self.max_bulk: int = max_bulk
        self._buffer: bytes | bytearray = b""
        self._start = 0  # the first byte not consumed yet
        self._scanned = 0  # between it and this position is no LF
        self._bulk_size = -1  # announced size of the bulk string being read, else -1

    @property
    def is_empty(self) -> bool:
        """True between replies, when no byte is left over: the state in which a command may be sent."""
        return self._bulk_size < 0 and self._start == len(self._buffer)

    @property
    def missing(self) -> int:
        """Bytes still to come of the bulk string being read; 0 when unknown. A hint for the size of a read."""
        return max(0, self._start + self._bulk_size + 2 - len(self._buffer)) if self._bulk_size >= 0 else 0

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the socket."""
        start, buffer = self._start, self._buffer
        if start == len(buffer):  # the usual case: nothing is left over, so nothing is copied
            self._buffer = data
            self._start = self._scanned = 0
            return
        if isinstance(buffer, bytes):
            self._buffer = buffer = bytearray(buffer)
        if start:
            del buffer[:start]  # bytearray drops its front without moving the rest
            self._scanned = max(0, self._scanned - start)
            self._start = 0
        buffer += data

    def next_reply(self) -> Reply | Literal[_Need.DATA]:
        """Return the next whole reply, or `NEED_DATA`."""
        buffer, start = self._buffer, self._start
        if start == len(buffer):
            return NEED_DATA
        if self._bulk_size >= 0:
            return self._bulk()
        # Every second reply of a worker: 0.6 µs saved. A slice, as startswith() is slow at reading its arguments.
        if buffer[start : start + 5] == b"+OK\r\n":
            self._start = self._scanned = start + 5
            return "OK"
        end = buffer.find(b"\n", self._scanned)
        if not 2 <= end - start <= self.max_line or buffer[end - 1] != 13:
            return self._no_line(end)
        self._start = self._scanned = end + 1
        kind = buffer[start]
        body = buffer[start + 1 : end - 1]
        if kind == 36:  # $
            # The length of the text is checked first: int() of 64 KiB of digits is slow, and refused by Python.
            if not body.isdigit() or len(body) > 18 or (size := int(body)) > self.max_bulk:
                self._expect_nil(body)
                return None
            self._bulk_size = size
            return self._bulk()
        if kind == 43:  # +
            return body.decode("utf-8", "replace")
        if kind == 45:  # -
            return _server_error(body.decode("utf-8", "replace"))
        if kind == 58:  # :
            return _integer(body)
        raise ProtocolError(f"expected a reply starting with one of + - : $, got {bytes(buffer[start:end][:80])!r}")

    def _no_line(self, end: int) -> Literal[_Need.DATA]:
        """Raise for what cannot be a line, whose LF is at `end`; without one, -1, more bytes may make it one."""
        buffer, start = self._buffer, self._start
        if end < 0:
            self._scanned = len(buffer)
            if len(buffer) - start > self.max_line:
                raise ProtocolError(f"expected a line of at most {self.max_line} bytes, got more without an end")
            return NEED_DATA
        if end - start > self.max_line:
            raise ProtocolError(f"expected a line of at most {self.max_line} bytes, got {end - start}")
        raise ProtocolError(f"expected a reply ending in CR LF, got {bytes(buffer[start : end + 1][:80])!r}")

    def _expect_nil(self, digits: bytes | bytearray) -> None:
        """Raise for a length that no bulk string has, unless it is -1, which stands for nil."""
        if digits == b"-1":
            return
        if not digits.isdigit():
            raise ProtocolError(f"expected a bulk length, got {bytes(digits[:80])!r}")
        raise ProtocolError(
            f"expected a bulk string of at most {self.max_bulk} bytes, got one of {bytes(digits[:20]).decode()}"
        )

    def _bulk(self) -> bytes | Literal[_Need.DATA]:
        buffer, start = self._buffer, self._start
        end = start + self._bulk_size
        if len(buffer) < end + 2:
            return NEED_DATA
        if buffer[end : end + 2] != b"\r\n":
            raise ProtocolError(f"expected CR LF after a bulk string, got {bytes(buffer[end : end + 2])!r}")
        if type(buffer) is bytes:
            data = buffer[start:end]
        else:
            with memoryview(buffer) as view:
                data = bytes(view[start:end])
        self._start = self._scanned = end + 2
        self._bulk_size = -1
        return data


def _integer(digits: bytes | bytearray) -> int:
    if len(digits) > 20 or not digits.removeprefix(b"-").isdigit():
        raise ProtocolError(f"expected an integer, got {bytes(digits[:80])!r}")
    return int(digits)


def _server_error(line: str) -> ServerError:
    # "-ERR text", or "-CODE text" for a KnownError of the server (server/connection.go); no list of codes exists.
    code, _, text = line.partition(" ")
    if code == "NOTUNIQUE":
        return NotUnique(code, text)
    if "only available in faktory enterprise" in text.lower():
        return EnterpriseRequired(code, text)
    return ServerError(code, text)


def refusal(text: str) -> ServerError:
    """Return the error for one job of a PUSHB, whose text comes without "ERR" (server/commands.go)."""
    first = text.partition(" ")[0]
    return _server_error(text if first.isupper() and first.isalnum() else f"ERR {text}")


def shown(reply: Reply) -> str:
    """Describe a reply in the text of an error: escaped, at most 80 characters."""
    # Cut first: the escaped text of a bulk string takes four times its memory.
    return f"{reply[:80]!a:.80}" if isinstance(reply, (str, bytes)) else f"{reply!a:.80}"


class CommandParser:
    """Turn the bytes of a client into command lines.

    LF ends a line, a CR before it is dropped. A line longer than `max_line` raises `ProtocolError`.
    """

    __slots__ = ("_buffer", "_scanned", "_start", "max_line")

    def __init__(self, max_line: int = MAX_COMMAND) -> None:
        self.max_line: int = max_line
        self._buffer = bytearray()
        self._start = 0
        self._scanned = 0

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the socket."""
        if self._start:
            del self._buffer[: self._start]
            self._scanned = max(0, self._scanned - self._start)
            self._start = 0
        self._buffer += data

    def next_line(self) -> bytes | Literal[_Need.DATA]:
        """Return the next whole line without its end, or `NEED_DATA`; tells `PUSH` from `PUSH `, as the server does."""
        buffer, start = self._buffer, self._start
        end = buffer.find(b"\n", max(start, self._scanned))
        if end < 0:
            self._scanned = len(buffer)
            if len(buffer) - start > self.max_line:
                raise ProtocolError(f"expected a command of at most {self.max_line} bytes, got more without an end")
            return NEED_DATA
        if end - start > self.max_line:
            raise ProtocolError(f"expected a command of at most {self.max_line} bytes, got {end - start}")
        self._start = self._scanned = end + 1
        with memoryview(buffer) as view:
            return bytes(view[start:end]).removesuffix(b"\r")


OK: Final = b"+OK\r\n"
NIL: Final = b"$-1\r\n"


def encode_status(text: str) -> bytes:
    """Write a status line. `text` must not hold CR or LF."""
    return b"+%b\r\n" % text.encode("utf-8", "replace")


def encode_error(text: str, code: str = "ERR") -> bytes:
    """Write an error line; CR and LF in `text` become spaces, so that no text can break the framing."""
    line = f"-{code} {text}".replace("\r", " ").replace("\n", " ")
    return b"%b\r\n" % line.encode("utf-8", "replace")


def encode_bulk(data: bytes) -> bytes:
    """Write a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(data), data)
