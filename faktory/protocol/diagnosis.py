"""What a connection that does not work is called: what was expected, what came, and what to do. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from ..errors import ConnectFailed, ConnectionLost, ServerError
from ..options import REFUSED_DELAY
from .address import Address

_NO_FILES = (os.strerror(errno.EMFILE), os.strerror(errno.ENFILE))


def reason(exc: OSError) -> str:
    """Return the shortest text that tells what happened."""
    return exc.strerror or str(exc) or type(exc).__name__


def unusable(address: Address, error: ServerError) -> ConnectFailed | ConnectionLost | None:
    """Return what to raise for an error reply that is about the connection, not about a command (PROTOCOL: 20, 21)."""
    text = error.text.lower()
    if text.startswith("too many connections"):
        return ConnectFailed(
            f"{address} refused the connection: {error.text!a}; use fewer workers or smaller pools", retry_after=1.0
        )
    if text.startswith("shutdown in progress"):
        return ConnectionLost(f"{address} is shutting down", maybe_executed=False)
    if "client is closed" in text:  # the server's own connection to its Redis went first
        return ConnectionLost(f"{address} is shutting down: {error.text!a}")
    return None


def no_handshake(address: Address, awaited: str, why: str) -> ConnectFailed:
    """Return the error for a handshake that did not go on."""
    hint = (
        "the server may be stopping, or too slow (it allows 2 s)"
        if address.tls
        else "is this a TLS port? then use tcp+tls://; or the Web UI's (7420)? jobs go to 7419; or the "
        "server is stopping, or too slow (it allows 2 s)"
    )
    return ConnectFailed(f"expected {awaited} from {address}: {why}; {hint}")


def no_server(address: Address, reasons: Iterable[str]) -> ConnectFailed:
    """Return the error for a server that cannot be reached under any of its addresses."""
    told = "; ".join(dict.fromkeys(reasons)) or "its name has no addresses"
    if any(text in told for text in _NO_FILES):
        return ConnectFailed(f"cannot connect to {address}: {told}; close some, or raise the limit (ulimit -n)")
    return ConnectFailed(
        f"cannot connect to {address}: {told}; is a Faktory server running there? "
        "FAKTORY_URL says where, and `python -m faktory server` is one for development"
    )


def no_tls(address: Address, exc: OSError) -> ConnectFailed:
    """Return the error for a TLS handshake that failed."""
    import ssl  # slow to import, and only needed here

    if isinstance(exc, ssl.SSLCertVerificationError):
        if exc.verify_code == 10:
            what = "has expired"
        elif exc.verify_code in (62, 64):  # host name, IP address
            what = f"is not for the host {address.host}"
        else:
            what = (
                f"is not trusted ({exc.verify_message}); pass an ssl_context that knows its authority "
                "(faktoryctl: --ca FILE)"
            )
        return ConnectFailed(f"the certificate of {address} {what}", retry_after=REFUSED_DELAY)
    if not isinstance(exc, ssl.SSLError):
        return ConnectFailed(f"no TLS with {address}: {reason(exc)}")
    if "WRONG_VERSION_NUMBER" in str(exc) or "RECORD_LAYER_FAILURE" in str(exc):
        why = "the server did not answer TLS; is this a plain port? then use tcp://"
    else:
        why = reason(exc)
    return ConnectFailed(f"no TLS with {address}: {why}", retry_after=REFUSED_DELAY)
