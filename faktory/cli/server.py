"""`faktoryctl server`: the embedded server on its own, for any client in any language."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from types import FrameType

from ..errors import ConfigurationError
from ..server import Server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--bind", default="127.0.0.1:7419", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument(
        "--password",
        default=None,
        help="what clients must know; default: $FAKTORY_PASSWORD, if set, which other users of this machine cannot see",
    )
    parser.add_argument("--enterprise", action="store_true", help="add batches, tracking, unique and expiring jobs")
    parser.add_argument("--cert", metavar="FILE", help="speak TLS with this certificate chain (PEM)")
    parser.add_argument("--key", metavar="FILE", help="the certificate's private key (PEM)")
    parser.add_argument("--force", action="store_true", help="allow an address that others reach without a password")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    context = None
    if arguments.key and not arguments.cert:
        raise ConfigurationError("--key needs --cert: without a certificate there is no TLS")
    if arguments.cert:
        import ssl

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(arguments.cert, arguments.key)
        except OSError as exc:
            raise ConfigurationError(f"cannot use the certificate {arguments.cert!a}: {exc}") from exc
    server = Server(
        bind=arguments.bind,
        password=arguments.password or os.environ.get("FAKTORY_PASSWORD"),
        ssl_context=context,
        enterprise=arguments.enterprise,
        force=arguments.force,
    )
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.start()
    except OSError as exc:
        print(f"faktoryctl: cannot listen on {arguments.bind}: {exc}", file=sys.stderr)
        return 1
    try:
        print(_banner(server, enterprise=arguments.enterprise), flush=True)
        ended.wait()
    finally:
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _banner(server: Server, *, enterprise: bool) -> str:
    kind = "Faktory server in memory" + (", with Enterprise features" if enterprise else "")
    return (
        f"{kind}: {server.address}\n"
        "For development and tests, not for production: nothing is stored, all jobs are gone when it ends.\n"
        "Press Ctrl-C to stop."
    )
