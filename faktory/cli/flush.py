"""`faktoryctl flush`: delete every job that a server has."""

from __future__ import annotations

import argparse
from typing import Final

from .asking import add_yes, is_wanted, sizes_of, tell_change
from .connecting import connect
from .output import FAILED, Output
from .parsing import Parser

SETTINGS: Final = ("url", "ca")
WORDS: Final = None
EPILOG: Final = (
    "Deletes all queues, the dead, retries and scheduled, and the totals. Jobs in the hands of workers go on, but one\n"
    "that fails is not run again. On a terminal it asks for the server's host:port; there is no way back.\n"
    "FAKTORY_FLUSH_URL and FAKTORY_FLUSH_CA stand for --url and --ca."
)


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    add_yes(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Ask, delete, and say how many jobs there were and are."""
    with connect(arguments) as client:
        place = str(client.address).partition("://")[2]
        before = _totals(*sizes_of(client))
        if not is_wanted(arguments, output, f"deletes all {sum(before.values())} jobs of {client.address}", place):
            return FAILED
        client.flush()
        return tell_change(arguments, output, before, _totals(*sizes_of(client)))


def _totals(sets: dict[str, int], queues: dict[str, int]) -> dict[str, int]:
    return {"queues": sum(queues.values())} | {name: sets.get(name, 0) for name in ("dead", "retries", "scheduled")}
