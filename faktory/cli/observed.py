"""What a worker's command line says of being observed: `--http`, `--health-file`, and a service manager."""

from __future__ import annotations

import argparse
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from ..observe.healthfile import HealthFile
from ..observe.http import place_of
from ..observe.notify import Notifier
from .output import Output
from .parsing import Parser, Usage


def add_options(parser: Parser) -> None:
    """Add the options."""
    seen = parser.add_argument_group("how it is seen")
    seen.add_argument(
        "--http", metavar="HOST:PORT", help="serve /livez, /readyz and /metrics; a port alone is on 127.0.0.1"
    )
    seen.add_argument("--health-file", metavar="PATH", help="write this file each 5 s while it lives")


def check_for_one(arguments: argparse.Namespace) -> None:
    """Refuse, for several worker processes, what only one can have. Raises `Usage`."""
    if arguments.health_file is not None:
        raise Usage("--health-file names one file, and --workers makes several workers; leave one of them out")
    if arguments.http is not None and place_of(arguments.http)[1] != 0:
        raise Usage("--http names one port, and --workers makes several workers; write port 0, or leave one out")


@dataclass(frozen=True, slots=True)
class Observed:
    """Who is told how the worker is."""

    http: str | None
    file: HealthFile | None
    notifier: Notifier

    @classmethod
    def by(cls, arguments: argparse.Namespace, variables: MutableMapping[str, str]) -> Observed:
        """Read options and variables, before the app is imported. Raises `ConfigurationError` for what is wrong."""
        if arguments.http is not None:
            place_of(arguments.http)
        file = None if arguments.health_file is None else HealthFile(arguments.health_file)
        return cls(arguments.http, file, Notifier.taken_from(variables, os.getpid()))

    def begin(self, consumer: Any, output: Output) -> None:
        """Have a consumer looked at until it ends. Raises `ConfigurationError` where it cannot serve."""
        if self.http is not None:
            server = consumer.serve_health(self.http)
            output.tell(f"health {server.url}/livez /readyz /metrics")
        if self.file is not None or self.notifier.is_heard:
            consumer._observation.tell(self.file, self.notifier)
