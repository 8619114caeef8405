"""What changes a server for good is asked about first, and counted before and after."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from ..client import Client
from .output import OK, Output, escaped
from .parsing import Parser, Usage


def add_yes(parser: Parser) -> None:
    """Add the option that answers the question beforehand."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask; needed where there is no terminal")


def is_wanted(arguments: argparse.Namespace, output: Output, deed: str, name: str) -> bool:
    """Ask on a terminal for the name of what is at stake; True also with `--yes`. Raises `Usage` without either."""
    if arguments.yes:
        return True
    if sys.stdin is None or sys.stderr is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Usage(f"this {deed}; there is no terminal to ask at: say --yes to mean it")
    output.tell(f"This {escaped(deed)}.")
    sys.stderr.write(f"Type {escaped(name)} to go on: ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if answer.strip() == name:
        return True
    if not answer.endswith("\n"):
        output.tell("")
    output.error(f"expected {name!a}, got {answer.strip()[:40]!a}; nothing was changed")
    return False


def sizes_of(client: Client) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many jobs each set and each queue has, as INFO tells."""
    told = client.info().get("faktory")
    told = told if isinstance(told, dict) else {}
    return _counts(told.get("sets")), _counts(told.get("queues"))


def _counts(value: Any) -> dict[str, int]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: count for name, count in pairs if type(count) is int}


def tell_change(
    arguments: argparse.Namespace, output: Output, before: Mapping[str, int], after: Mapping[str, int]
) -> int:
    """Print the counts of each name of `before`, then and now. Returns the exit status."""
    if arguments.json:
        changes = {name: {"before": count, "after": after.get(name, 0)} for name, count in before.items()}
        output.result(json.dumps(changes))
        return OK
    arrow = "\N{RIGHTWARDS ARROW}" if _has_arrow(sys.stdout) else "->"
    words = [f"{escaped(name)}: {count} {arrow} {after.get(name, 0)}" for name, count in before.items()]
    output.result(
        "\n".join([*words[:-1], f"{words[-1]}; others may have changed {'it' if len(words) == 1 else 'them'}, too"])
    )
    return OK


def _has_arrow(stream: Any) -> bool:
    try:
        "\N{RIGHTWARDS ARROW}".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
