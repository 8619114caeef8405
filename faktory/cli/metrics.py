"""`faktoryctl metrics`: serves the sizes of a server's queues for Prometheus. One such process a server is enough."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from time import sleep
from typing import Any, Final

from ..client import Client
from ..errors import FaktoryError
from ..observe.exposition import CONTENT_TYPE, Family, Sample, gauge, text_of
from ..observe.http import Answer, Server, place_of
from .connecting import connect
from .info import latencies_of
from .output import OK, Output
from .parsing import Parser, Usage, seconds

SETTINGS: Final = ("url", "ca", "http", "interval")
WORDS: Final = None
INTERVAL: Final = 15.0
"""Seconds between two INFOs, at least: one that meets a push to a new queue can crash servers up to 1.10."""
PLACE: Final = "9464"
EPILOG: Final = """\
The server is asked each 15 s at most, however often this is scraped: an INFO that meets a push to a new queue can
crash servers up to 1.10. faktory_up is 0 while it cannot be asked; the last figures stay away then.

Workers serve their own metrics: faktoryctl worker --http."""


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    parser.add_argument(
        "--http", metavar="HOST:PORT", help="where to serve; default: 127.0.0.1:9464; :0 takes any port"
    )
    parser.add_argument(
        "--interval", type=seconds, metavar="SECONDS", help="between two INFOs, at least 15, the default"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Serve until interrupted."""
    interval = INTERVAL if arguments.interval is None else arguments.interval
    if interval < INTERVAL:
        raise Usage(f"--interval must be at least {INTERVAL:g} s, got {interval:g}: INFO is not harmless")
    host, port = place_of(arguments.http or PLACE)
    with connect(arguments) as client:
        figures = Figures(client)
        figures.ask()  # a wrong password is seen at once
        with Server(host, port, {"/metrics": lambda _: Answer(200, figures.page(), CONTENT_TYPE)}) as server:
            output.tell(f"serving {server.url}/metrics")
            while True:
                sleep(interval)
                try:
                    figures.ask()
                except FaktoryError as exc:
                    figures.forget(str(exc), output)
    return OK


class Figures:
    """What the server last said. `ask` is called by one thread, `page` by another."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._page = ""
        self._is_down = False

    def ask(self) -> None:
        """Ask the server. Raises what a client raises."""
        info = self._client.info()
        faktory = _object(info.get("faktory"))
        latencies = latencies_of(self._client, _object(faktory.get("queues")))
        self._page = text_of([gauge("faktory_up", "1 when the server has answered.", 1), *families_of(info, latencies)])
        self._is_down = False

    def forget(self, reason: str, output: Output) -> None:
        """Note that the server could not be asked."""
        self._page = text_of([gauge("faktory_up", "1 when the server has answered.", 0)])
        if not self._is_down:
            output.tell(f"the server cannot be asked: {reason}")
        self._is_down = True

    def page(self) -> str:
        """Return what is served."""
        return self._page


def families_of(info: Mapping[str, Any], latencies: Mapping[str, float]) -> list[Family]:
    """Return what INFO says as metrics; what it says oddly is left out. Pure."""
    faktory, server = _object(info.get("faktory")), _object(info.get("server"))
    totals = (
        ("faktory_jobs_processed_total", "Jobs the server has handed out and seen end.", "total_processed"),
        ("faktory_jobs_failed_total", "Failures the server was told of.", "total_failures"),
    )
    waits = tuple(Sample("", (("queue", name),), seconds) for name, seconds in sorted(latencies.items()))
    return [
        _sizes("faktory_queue_size", "Jobs that wait in a queue.", "queue", faktory.get("queues")),
        Family("faktory_queue_latency_seconds", "gauge", "How long the oldest job of a queue has waited.", waits),
        _sizes("faktory_set_size", "Jobs in a set.", "set", faktory.get("sets")),
        *(_total(name, what, faktory.get(key)) for name, what, key in totals),
        gauge("faktory_connections", "Connections to the server.", _number(server.get("connections"))),
        gauge("faktory_uptime_seconds", "How long the server runs.", _number(server.get("uptime"))),
    ]


def _sizes(name: str, what: str, label: str, found: object) -> Family:
    sizes = {key: _number(value) for key, value in sorted(_object(found).items())}
    samples = (Sample("", ((label, key),), size) for key, size in sizes.items() if size is not None)
    return Family(name, "gauge", what, tuple(samples))


def _total(name: str, what: str, found: object) -> Family:
    value = _number(found)
    return Family(name, "counter", what, () if value is None else (Sample("", (), value),))


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
