"""A client, as the options of a command say."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..client import Client
from ..protocol.address import Address
from .parsing import Usage

if TYPE_CHECKING:
    from ssl import SSLContext


def connect(arguments: argparse.Namespace) -> Client:
    """Return a client of the server that `--url` or the environment names."""
    address = Address.resolve(arguments.url)
    return Client(address, ssl_context=_context(arguments.ca, address))


def _context(ca: str | None, address: Address) -> SSLContext | None:
    if ca is None:
        return None
    if not address.tls:
        raise Usage(f"--ca is for servers with TLS, and {address} is without; write tcp+tls://")
    import ssl

    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as exc:
        raise Usage(f"cannot use the certificate authority {ca!a}: {exc}") from exc
