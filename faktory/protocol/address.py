"""Where the server is: a URL, or the environment, to an `Address`. Pure but for reading `os.environ` when asked to.

The forms are those of the other Faktory clients: `tcp://[[user][:password]@]host[:port]`, or `tcp+tls://...`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import ConfigurationError

DEFAULT_PORT: Final = 7419
_FORM: Final = "expected tcp://[:password@]host[:port] or tcp+tls://[:password@]host[:port]"


@dataclass(frozen=True, slots=True)
class Address:
    """A server to connect to. The password is in no repr, text or error."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    tls: bool = False
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tcp+tls' if self.tls else 'tcp'}://{host}:{self.port}"

    def is_same_server(self, other: Address) -> bool:
        """Tell whether two addresses name one server, as far as can be told without asking."""
        mine, yours = (each.host.lower() for each in (self, other))
        is_one_host = mine == yours or {mine, yours} <= {"localhost", "127.0.0.1", "::1"}
        return is_one_host and (self.port, self.tls) == (other.port, other.tls)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; percent-encoded passwords and IPv6 literals are decoded. Raises `ConfigurationError`."""
        if not isinstance(url, str):
            raise ConfigurationError(f"{_FORM}, got {type(url).__name__}")
        scheme, separator, rest = url.strip().partition("://")
        if not separator:
            # Nothing of the text is shown: it may well be a password.
            raise ConfigurationError(f"{_FORM}, got a text without ://")
        if scheme.lower() not in ("tcp", "tcp+tls"):
            # A text of other characters, such as ":secret@tcp", is no scheme and may hold the password.
            is_scheme = scheme.isascii() and scheme.replace("+", "").isalpha() and len(scheme) <= 20
            raise ConfigurationError(f"{_FORM}, got {f'the scheme {scheme!r}' if is_scheme else 'another scheme'}")
        userinfo, _, location = rest.rpartition("@")
        _, has_password, password = userinfo.partition(":")
        if userinfo and not has_password:
            # Not shown: it is most likely the password, which would be sent nowhere.
            raise ConfigurationError(
                f"{_FORM}, got a user and no password before the @; a colon goes before the password: "
                "tcp://:password@host"
            )
        host, port = _split_location(location.removesuffix("/"))
        return cls(
            host=host,
            port=port,
            tls=scheme.lower() == "tcp+tls",
            password=_unquote(password) if has_password and password else None,
        )

    @classmethod
    def resolve(cls, url: str | None = None, environ: Mapping[str, str] | None = None) -> Address:
        """Return the address of `url`, else of the environment, else tcp://localhost:7419.

        `FAKTORY_PROVIDER` names the variable that holds the URL; without it that is `FAKTORY_URL`.
        """
        if url is not None:
            return cls.parse(url)
        environ = os.environ if environ is None else environ
        name = environ.get("FAKTORY_PROVIDER", "").strip()
        if not name:
            found = environ.get("FAKTORY_URL", "").strip()
            return cls._of_variable("FAKTORY_URL", found) if found else cls()
        if ":" in name or "/" in name:
            raise ConfigurationError(
                "FAKTORY_PROVIDER must be the name of the variable that holds the URL, got what looks like a URL; "
                "put the URL into FAKTORY_URL"
            )
        found = environ.get(name, "").strip()
        if not found:
            raise ConfigurationError(f"FAKTORY_PROVIDER names the variable {name!a}, which is not set")
        return cls._of_variable(name, found)

    @classmethod
    def _of_variable(cls, name: str, value: str) -> Address:
        try:
            return cls.parse(value)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{name}: {exc}") from None


def _split_location(location: str) -> tuple[str, int]:
    if location.startswith("["):
        host, closed, rest = location[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ConfigurationError(
                f"{_FORM}, got an IPv6 address without its closing bracket, or with more than :port behind it"
            )
        port = rest[1:]
    else:
        host, _, port = location.partition(":")
    if not host or not host.isprintable() or any(c in " /?#@\\[]" for c in host):
        raise ConfigurationError(f"{_FORM}, got no usable host name; an IPv6 address goes in brackets")
    if not port:
        return host, DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        raise ConfigurationError(
            f"{_FORM}, got a port that is no number from 1 to 65535; a password with special characters must be "
            "percent-encoded"
        )
    return host, int(port)


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text, errors="surrogateescape")  # any bytes: the hash takes them back (handshake.py)
