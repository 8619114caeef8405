"""`faktoryctl server`: the embedded server on its own, for any client in any language."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Final

from ..errors import FaktoryError
from ..server import Server
from .output import FAILED, OK, Output
from .parsing import Parser, Usage

if TYPE_CHECKING:
    from ssl import SSLContext

SETTINGS: Final = ("bind", "cert", "key")
WORDS: Final = None
_BIND: Final = "localhost:7419"
EPILOG: Final = (
    "FAKTORY_SERVER_BIND stands for --bind, and so on for --cert and --key.\n"
    "Ends with 0 at Ctrl-C or SIGTERM, with 1 when it cannot listen or has crashed, else as all commands do."
)


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_argument("--bind", metavar="HOST:PORT", help=f"default: {_BIND}; port 0: any")
    parser.add_argument(
        "--password",
        help="what clients must know; default: $FAKTORY_PASSWORD, if set, which other users of this machine cannot see",
    )
    parser.add_argument("--enterprise", action="store_true", help="add batches, tracking, unique and expiring jobs")
    parser.add_argument("--cert", metavar="FILE", help="speak TLS with this certificate chain (PEM)")
    parser.add_argument("--key", metavar="FILE", help="the certificate's private key (PEM)")
    parser.add_argument("--force", action="store_true", help="allow an address that others reach without a password")
    parser.add_argument("--json", action="store_true", help="say where it listens as one JSON document")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Serve until SIGINT or SIGTERM."""
    bind = arguments.bind or _BIND
    server = Server(
        bind=bind,
        password=arguments.password or os.environ.get("FAKTORY_PASSWORD"),
        ssl_context=_context(arguments.cert, arguments.key),
        enterprise=arguments.enterprise,
        force=arguments.force,
    )
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    def watch() -> None:
        with suppress(FaktoryError):  # it has crashed, which the main thread tells
            server.join()
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            server.start()
        except OSError as exc:
            output.error(f"cannot listen on {bind}: {exc.strerror or exc}")
            return FAILED
        threading.Thread(target=watch, name="faktory-server-watch", daemon=True).start()
        output.result(_banner(server, arguments))
        ended.wait()
        if not server.is_running:
            server.join()  # says why
        return OK
    finally:
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _context(certificate: str | None, key: str | None) -> SSLContext | None:
    if key and not certificate:
        raise Usage("--key needs --cert: without a certificate there is no TLS")
    if not certificate:
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as exc:
        raise Usage(f"cannot use the certificate {certificate!a}: {exc}") from exc
    return context


def _banner(server: Server, arguments: argparse.Namespace) -> str:
    if arguments.json:
        return json.dumps({"address": server.address, "pid": os.getpid()})
    kind = "Faktory server in memory" + (", with Enterprise features" if arguments.enterprise else "")
    return (
        f"{kind}: {server.address}\n"
        "For development and tests, not for production: nothing is stored, all jobs are gone when it ends.\n"
        "Press Ctrl-C to stop."
    )
