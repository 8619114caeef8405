"""What Go's encoding/json says of text that is no JSON. Pure. Only asked for what Python's parser has refused.

The words are those of the server's release 1.10.0, as tried; they change with the release of Go that it is built with.
"""

from __future__ import annotations

from typing import Final, NoReturn

from .goquote import quote

_SPACE: Final = b" \t\r\n"
_END: Final = "unexpected end of JSON input"
_LITERALS: Final = {b"t": b"true", b"f": b"false", b"n": b"null"}


class _Stop(Exception):
    """Raised where the text cannot go on; its text is the complaint."""


def complaint(data: bytes) -> str | None:
    """Return what is wrong with `data`, None when it is JSON."""
    scanner = _Scanner(data)
    try:
        scanner.document()
    except _Stop as stop:
        return str(stop)
    return None


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def document(self) -> None:
        """Read one value, with everything in it, and nothing after it. A stack of our own: nesting is no limit."""
        open_ones: list[bytes] = []  # the end of each that is open
        self._value(open_ones)
        while open_ones:
            end = open_ones[-1]
            mark = self._next()
            if mark == end:
                open_ones.pop()
            elif mark != b",":
                self._refuse("after array element" if end == b"]" else "after object key:value pair")
            else:
                if end == b"}":
                    self._key(self._next())
                self._value(open_ones)
        self._skip()
        if self._at < len(self._data):
            self._at += 1
            self._refuse("after top-level value")

    def _value(self, open_ones: list[bytes]) -> None:
        """Read a value, or the beginnings of those that begin here, up to the first that is whole."""
        mark = self._next()
        while mark in (b"{", b"["):
            end = b"}" if mark == b"{" else b"]"
            mark = self._next()
            if mark == end:
                return
            open_ones.append(end)
            if end == b"}":
                self._key(mark)
                mark = self._next()
        if mark == b'"':
            self._string()
        elif mark in _LITERALS:
            self._literal(_LITERALS[mark])
        elif mark == b"-" or mark.isdigit():
            self._number()
        else:
            self._refuse("looking for beginning of value")

    def _key(self, mark: bytes) -> None:
        if mark != b'"':
            self._refuse("looking for beginning of object key string")
        self._string()
        if self._next() != b":":
            self._refuse("after object key")

    def _string(self) -> None:
        while (mark := self._take()) != b'"':
            if mark < b" ":
                self._refuse("in string")
            if mark == b"\\":
                self._escape()

    def _escape(self) -> None:
        begin = self._at - 1
        mark = self._take()
        if mark == b"u":
            digits = [self._take() for _ in range(4)]
            if all(digit in b"0123456789abcdefABCDEF" for digit in digits):
                return
        elif mark in b'bfnrt\\/"':
            return
        raise _Stop(f"invalid escape sequence {_sequence(self._data[begin : self._at])} in string")

    def _literal(self, word: bytes) -> None:
        for wanted in word[1:]:
            if self._take() != bytes([wanted]):
                self._refuse(f"in literal {word.decode()} (expecting '{chr(wanted)}')")

    def _number(self) -> None:
        self._at -= 1
        self._at += self._peek() == b"-"
        if self._peek() == b"0":
            self._at += 1
        else:
            self._digits()
        if self._peek() == b".":
            self._at += 1
            self._digits()
        if self._peek() in (b"e", b"E"):
            self._at += 1
            self._at += self._peek() in (b"+", b"-")
            self._digits()

    def _digits(self) -> None:
        if not self._take().isdigit():
            self._refuse("in numeric literal")
        while self._peek().isdigit():
            self._at += 1

    def _skip(self) -> None:
        while self._peek() and self._peek() in _SPACE:
            self._at += 1

    def _next(self) -> bytes:
        self._skip()
        return self._take()

    def _peek(self) -> bytes:
        return self._data[self._at : self._at + 1]

    def _take(self) -> bytes:
        mark = self._peek()
        if not mark:
            raise _Stop(_END)
        self._at += 1
        return mark

    def _refuse(self, where: str) -> NoReturn:
        raise _Stop(f"invalid character {_quoted(self._data[self._at - 1 :])} {where}")


def _sequence(data: bytes) -> str:
    """Write some bytes as they are, in quotes if that does not do."""
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable() and "`" not in text:
        return f"`{text}`"
    escaped = (f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else quote(c)[1:-1] for c in text)
    return f'"{"".join(escaped)}"'


def _quoted(data: bytes) -> str:
    """Write the first character as Go's `%q` does for a rune; a byte that is no UTF-8 by its number."""
    for size in range(1, 5):
        try:
            mark = data[:size].decode()
        except UnicodeDecodeError:
            continue
        return r"'\''" if mark == "'" else f"'{mark}'" if mark == '"' else f"'{quote(mark)[1:-1]}'"
    return f"'\\x{data[0]:02x}'"
