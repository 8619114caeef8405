"""What opening a connection needs beside the socket, and what is said of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..protocol.address import Address
from ..runtime.loading import load
from .names import is_ip

if TYPE_CHECKING:
    from ssl import SSLContext

log: logging.Logger = logging.getLogger("faktory.connection")

_warned: set[Address] = set()


def default_context() -> SSLContext:
    """Return a context that verifies chain and host name, with TLS 1.2 at least."""
    import ssl  # slow to import, and only needed here

    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def prepare(address: Address) -> None:
    """Import what a connection to this server needs, so that nothing is imported when one is opened.

    For a thread that opens one may do so while another forks: see `loading`.
    """
    if address.tls or not is_ip(address.host):
        load("encodings.idna")
    if address.tls:
        load("ssl")
    if address.password is not None:
        load("hashlib")


def warn_of_password(address: Address, *, is_wanted: bool) -> None:
    """Warn, once for each server, of a password that is not wanted, or that others could read."""
    if address.password is None or address in _warned:
        return
    if not is_wanted:
        _warned.add(address)
        log.warning("%s asks for no password though one is configured", address)
    elif not address.tls and not _is_loopback(address.host):
        _warned.add(address)
        log.warning("the password for %s travels without TLS; use tcp+tls://", address)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"
