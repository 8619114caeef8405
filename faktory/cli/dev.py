"""`faktoryctl dev`: a server in memory and a worker that follows the code, in one command.

The server lives in the supervisor, which never imports the app, so that the queues survive each new start.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from typing import Final

from ..errors import AuthenticationError, FaktoryError
from ..server import Server
from . import worker
from .output import NO_SERVER, Output
from .parsing import Parser, Usage, whole_number
from .reload import folders_of, reload

WORDS: Final = "[TARGET]"
EPILOG: Final = """\
Starts a Faktory server in memory, of which nothing is stored, and a worker for TARGET, which starts anew when the code
changes: not when a changed file does not compile. A Faktory that is there already is used. TARGET and the options are
those of `worker`; in the environment they are FAKTORY_DEV_<OPTION>.

exit status:
  0    ended as it was told to
  1    jobs were cut off
  2    called wrongly
  3    the port is taken by something else than a Faktory, or that one wants a password"""
_ELSEWHERE: Final = ("url", "ca", "workers", "burst", "max-jobs", "wid", "reload", "wait-server")
SETTINGS: Final = (*(name for name in worker.SETTINGS if name not in _ELSEWHERE), "port")
PORT: Final = 7419
_FETCH_WAIT: Final = 0.5
"""Seconds that an idle worker's FETCH waits, and so that a new start does: the real server's are 2."""
PUSH: Final = "FAKTORY_DEV_PUSH"
"""In a worker under `dev`: how to push to its server."""


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_argument("--port", type=_port, metavar="N", help=f"where the server listens; {PORT}; 0: any")
    parser.add_argument("--reload-dir", action="append", metavar="DIR", help="watch this folder; repeatable")
    worker.add_options(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Serve and work until told to end."""
    if not (arguments.words or getattr(arguments, "app", None)):
        raise Usage("expected a TARGET, like app.py or shop.jobs:app")
    folders_of(arguments)  # a folder that is not there is told before anything starts
    port = PORT if arguments.port is None else arguments.port
    with ExitStack() as stack:
        server = Server(bind=f"localhost:{port}", fetch_wait=_FETCH_WAIT)
        try:
            stack.enter_context(server)
            url = f"tcp://localhost:{server.port}"
            output.tell(f"Faktory server in memory: {url}; nothing is stored")
        except OSError as exc:
            url = f"tcp://localhost:{port}"
            if not _is_faktory(url, output):
                output.error(f"cannot listen on port {port}: {exc.strerror or exc}; --port 0 takes a free one")
                return NO_SERVER
            output.tell(f"using the Faktory that is there already: {url}")
        push = f"{output.prog} push" + ("" if url.endswith(f":{PORT}") else f" --url {url}")
        environ = {name: value for name, value in os.environ.items() if name != "FAKTORY_PROVIDER"}
        return reload(arguments, output, environ | {"FAKTORY_URL": url, "FAKTORY_WORKER_URL": url, PUSH: push})


def _is_faktory(url: str, output: Output) -> bool:
    """Tell whether a Faktory answers there that this machine may use."""
    from ..client import Client  # only needed here

    try:
        with Client(url) as client:
            client.queue_latency("default")
    except AuthenticationError as exc:
        output.error(f"the Faktory at {url} wants a password: {exc}")
        return False
    except FaktoryError:
        return False
    return True


def _port(text: str) -> int:
    number = whole_number(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {number}")
    return number
