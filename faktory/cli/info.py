"""`faktoryctl info`: what the server has to do."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..client import Client
from ..errors import ProtocolError, ServerError
from .connecting import connect
from .output import OK, Output, escaped
from .parsing import Parser

SETTINGS: Final = ("url", "ca")
WORDS: Final = None
EPILOG: Final = (
    "FAKTORY_INFO_URL and FAKTORY_INFO_CA stand for --url and --ca.\n"
    "With --json: what the server says, and queue_latency, the seconds that the oldest job of each queue has waited.\n"
    "Ask rarely: an INFO that meets a push to a new queue can crash servers up to 1.10."
)
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the server's figures."""
    with connect(arguments) as client:
        info = client.info()
        latencies = latencies_of(client, _object(_object(info.get("faktory")).get("queues")))
        if arguments.json:
            output.result(document_of(info, latencies))
        else:
            output.result(_table(str(client.address), info, latencies, output))
    return OK


def latencies_of(client: Client, queues: Iterable[str]) -> dict[str, float]:
    """Return how long the oldest job of each queue has waited, for those where the server can tell."""
    names = [name for name in queues if _NAME.fullmatch(name)]
    if not names:
        return {}
    try:
        return client.queue_latency(*names)
    except ProtocolError:  # what it says of latencies is odd; the rest is still worth showing
        return {}
    except ServerError:  # one job without its time of entry makes the server refuse the question for all
        found: dict[str, float] = {}
        for name in names:
            try:
                found.update(client.queue_latency(name))
            except ServerError:
                continue
        return found


def document_of(info: Mapping[str, Any], latencies: Mapping[str, float]) -> str:
    """Return what a server says as JSON, with null for NaN and infinities, which Python reads and JSON has not."""
    told = json.dumps({**info, "queue_latency": latencies})
    return json.dumps(json.loads(told, parse_constant=lambda _: None), indent=2)


def _table(address: str, info: dict[str, Any], latencies: dict[str, float], output: Output) -> str:
    faktory, server = _object(info.get("faktory")), _object(info.get("server"))
    version = f"{_shown(server.get('description'))} {_shown(server.get('faktory_version'))}"
    lines = [
        f"{address}: {version}, up {_shown(server.get('uptime'))} s, {_shown(server.get('connections'))} connections",
        f"{_shown(faktory.get('total_processed'))} processed, {_shown(faktory.get('total_failures'))} failed",
    ]
    for title, key in (("queue", "queues"), ("set", "sets")):
        sizes = {escaped(name): _shown(size) for name, size in sorted(_object(faktory.get(key)).items())}
        width = max([len(title), *map(len, sizes)])
        high = max([len("jobs"), *map(len, sizes.values())])
        heading = f"{title:<{width}}  {'jobs':>{high}}" + ("  oldest waits" if title == "queue" else "")
        lines += ["", output.bold(heading)]
        for name, size in sizes.items():
            waits = f"  {_wait(latencies.get(name)):>12}" if title == "queue" else ""
            lines.append(f"{name:<{width}}  {size:>{high}}{waits}")
    return "\n".join(lines)


def _wait(seconds: object) -> str:
    return f"{seconds:.1f} s" if isinstance(seconds, (int, float)) else "?"


def _object(value: object) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else: what a server says may be odd."""
    return value if isinstance(value, dict) else {}


def _shown(value: object) -> str:
    """Return a value of the server for the terminal."""
    if value is None:
        return "?"
    return escaped(value if isinstance(value, str) else json.dumps(value))[:200]
