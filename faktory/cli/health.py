"""`faktoryctl health`: asks a worker on this machine whether it is well. Imports no application."""

from __future__ import annotations

import argparse
from typing import Final

from ..observe.probe import trouble_at, trouble_in_file
from .output import OK, Output
from .parsing import Parser, Usage, seconds

SETTINGS: Final = ("file", "http", "max-age")
WORDS: Final = None
UNWELL: Final = 4
EPILOG: Final = """\
Give --file or --http, as the worker was given --health-file or --http.

exit status:
  0    the worker is well
  2    called wrongly
  4    it is not, or nobody answers"""


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_argument("--file", metavar="PATH", help="look at the file that --health-file has named")
    parser.add_argument("--max-age", type=seconds, metavar="SECONDS", help="how old the file may be; default: 60")
    parser.add_argument("--http", metavar="URL", help="ask this page, or HOST:PORT for its /livez")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Ask, and say what is wrong."""
    if (arguments.file is None) == (arguments.http is None):
        raise Usage("expected --file PATH or --http URL, and one of them")
    if arguments.file is not None:
        trouble = trouble_in_file(arguments.file, 60.0 if arguments.max_age is None else arguments.max_age)
    elif arguments.max_age is not None:
        raise Usage("--max-age is for --file")
    else:
        trouble = trouble_at(arguments.http)
    if trouble is None:
        return OK
    output.error(trouble)
    return UNWELL
