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
    return Client(address, ssl_context=context_of(arguments.ca, address))


def context_of(ca: str | None, address: Address) -> SSLContext | None:
    """Return the TLS settings that `--ca` asks for; None without it. Raises `Usage`."""
    if ca is None:
        return None
    if not address.tls:
        raise Usage(f"--ca is for servers with TLS, and {address} is without; write tcp+tls://")
    import ssl

    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as exc:
        raise Usage(f"cannot use the certificate authority {ca!a}: {exc}") from exc
