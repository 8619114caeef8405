"""The handshake: the server's HI to our HELLO. Pure.

Source: docs/protocol-specification.md, *Initial Handshake*; server/server.go and server/workers.go for what the
server really checks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import AuthenticationError, ConfigurationError, HandshakeError, ProtocolError, VersionMismatch
from ..options import MAX_ITERATIONS, MIN_ITERATIONS
from .wire import Reply, shown

PROTOCOL_VERSION: Final = 2

_NO_BYTES: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the surrogates that stand for no byte


@dataclass(frozen=True, slots=True)
class Identity:
    """Who says HELLO. A producer leaves `wid` None; a worker's may FETCH, and is shown to people."""

    hostname: str
    pid: int
    wid: str | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # The server echoes a wid raw in "unknown worker": a line break in it would break the framing of its replies.
        if self.wid is not None and not self.wid.isprintable():
            raise ConfigurationError(f"wid must be a printable text, got {self.wid!a:.80}")


@dataclass(frozen=True, slots=True)
class Greeting:
    """The server's HI: protocol version and, when it wants a password, salt and iterations."""

    version: int
    salt: str | None = field(default=None, repr=False)
    iterations: int = 1

    @classmethod
    def decode(cls, reply: Reply) -> Greeting:
        """Read `HI {...}`. Raises `VersionMismatch`, `ProtocolError`."""
        if not isinstance(reply, str) or not reply.startswith("HI "):
            raise ProtocolError(f"expected the greeting HI {{...}}, got {shown(reply)}: is this a Faktory server?")
        try:
            document: Any = json.loads(reply[3:])
        except (ValueError, RecursionError) as exc:
            raise ProtocolError(f"expected a greeting with JSON, got {shown(reply)}") from exc
        if not isinstance(document, dict):
            raise ProtocolError(f"expected a greeting with a JSON object, got {shown(reply)}")
        version, salt, iterations = document.get("v"), document.get("s"), document.get("i", 1)
        if version != PROTOCOL_VERSION or type(version) is not int:
            raise VersionMismatch(f"expected a server of protocol version {PROTOCOL_VERSION}, got {version!a:.20}")
        if salt is not None and not isinstance(salt, str):
            raise ProtocolError(f"expected a salt of text in the greeting, got {type(salt).__name__}")
        if type(iterations) is not int:
            kind = type(iterations).__name__
            raise ProtocolError(f"expected an integer number of iterations in the greeting, got {kind}")
        return cls(version, salt or None, iterations)


def hello(greeting: Greeting, identity: Identity, password: str | None) -> bytes:
    """Return the HELLO line that answers `greeting`. Raises `AuthenticationError`, `HandshakeError`."""
    document: dict[str, Any] = {"hostname": identity.hostname, "pid": identity.pid, "labels": list(identity.labels)}
    if identity.wid is not None:
        document["wid"] = identity.wid
    document["v"] = PROTOCOL_VERSION
    if greeting.salt is not None:
        if password is None:
            raise AuthenticationError(
                "the server wants a password and none is configured; put it into the URL, for example "
                "FAKTORY_URL=tcp://:password@host:7419"
            )
        document["pwdhash"] = password_hash(password, greeting.salt, greeting.iterations)
    # The line must begin with exactly `HELLO {` (server/server.go); JSON of ASCII holds no CR or LF.
    return b"HELLO %b\r\n" % json.dumps(document, separators=(",", ":")).encode()


def password_hash(password: str, salt: str, iterations: int) -> str:
    """Return sha256 of password and salt, hashed `iterations` times over, as hex (server/server.go, `hash`)."""
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise HandshakeError(
            f"the server asks for {iterations!a:.20} password iterations; from {MIN_ITERATIONS} to {MAX_ITERATIONS} "
            "are accepted, so as not to hand a false server a cheap hash or an endless task"
        )
    if _NO_BYTES.search(password) or _NO_BYTES.search(salt):
        # Not left to encode(): its error holds the password.
        raise HandshakeError("expected a password and a salt of text, got a lone surrogate in one of them")
    import hashlib  # only needed with a password

    digest = (password + salt).encode("utf-8", "surrogateescape")
    for _ in range(iterations):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


def accept(reply: Reply) -> None:
    """Check the server's answer to HELLO. Raises `AuthenticationError`, `HandshakeError`, `ProtocolError`."""
    if reply == "OK":
        return
    if isinstance(reply, Exception):
        if "password" in str(reply).lower():
            raise AuthenticationError(f"the server refused the password: {reply}")
        raise HandshakeError(f"the server refused HELLO: {reply}")
    raise ProtocolError(f"expected OK after HELLO, got {shown(reply)}")
