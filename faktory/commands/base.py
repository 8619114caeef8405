"""What commands have in common: JSON to bytes, and replies to values. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

from ..errors import ConfigurationError, ProtocolError, ServerError
from ..protocol.wire import Reply, shown

T_co = TypeVar("T_co", covariant=True)

encoder: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
encode: Final = encoder.encode


class Command(Protocol[T_co]):
    """What a connection can carry out. `line` ends in CR LF; `decode` raises what an error reply stands for.

    >>> class Ping:
    ...     line = b"PING\\r\\n"
    ...
    ...     def decode(self, reply: Reply) -> str:
    ...         return str(reply)
    """

    @property
    def line(self) -> bytes:
        """What is sent: one line, which ends in CR LF."""
        ...

    def decode(self, reply: Reply) -> T_co:
        """Return what a reply means, or raise what it stands for."""
        ...


def unexpected(wanted: str, reply: Reply) -> Exception:
    if isinstance(reply, ServerError):
        return reply
    return ProtocolError(f"expected {wanted}, got {shown(reply)}")


def document_of(reply: Reply) -> dict[str, Any]:
    """Read a JSON object from a bulk string or a status line: the server has used both."""
    if not isinstance(reply, (bytes, str)):
        raise unexpected("a JSON object", reply)
    try:
        document = json.loads(reply)
    except (ValueError, RecursionError) as exc:
        raise unexpected("a JSON object", reply) from exc
    if not isinstance(document, dict):
        raise unexpected("a JSON object", reply)
    return document


def several(what: str, values: object) -> list[Any]:
    """Return the values as a list. One text is refused: its letters would be taken for as many names."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigurationError(f"expected {what} in a list, got {type(values).__name__} {values!a:.60}")
    return list(values)


class Acknowledged:
    """Base of the commands whose only good reply is OK."""

    __slots__ = ("line",)
    line: bytes

    def decode(self, reply: Reply) -> None:
        """Return None for OK. Raises `ServerError`, `ProtocolError`."""
        if reply != "OK":
            raise unexpected("OK", reply)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Object:
    """Base of the commands that are answered with a JSON object."""

    __slots__ = ("line",)
    line: bytes

    def decode(self, reply: Reply) -> dict[str, Any]:
        """Return the object. Raises `ServerError` (also `EnterpriseRequired`), `ProtocolError`."""
        return document_of(reply)
