"""`faktoryctl push`: store one job."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..client import Client
from ..job import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("jobtype")
    parser.add_argument("args", nargs="*", metavar="ARG", help="JSON where it is JSON (5, true, '[1]'), else text")
    parser.add_argument("--url", help="default: as in FAKTORY_URL")
    parser.add_argument("-q", "--queue", default="default", help="default: %(default)s")
    parser.add_argument("--retry", type=int, default=25, help="how often a failing job is run again; default: 25")
    parser.add_argument("--in", type=float, default=None, dest="delay", metavar="SECONDS", help="run it so much later")
    parser.add_argument("--reserve-for", type=int, default=None, metavar="SECONDS", help="default: 1800")


def run(arguments: argparse.Namespace) -> int:
    """Push and print the jid."""
    job = Job(
        arguments.jobtype,
        [_value(text) for text in arguments.args],
        queue=arguments.queue,
        retry=arguments.retry,
        reserve_for=arguments.reserve_for,
        at=arguments.delay,
    )
    with Client(arguments.url) as client:
        print(client.push(job))
    return 0


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
