"""`faktoryctl jobs`: what jobs an app has, as they are called, and which queues they are pushed to."""

from __future__ import annotations

import argparse
import json
from typing import Final

from .config import variable_of
from .output import OK, Output
from .parsing import Parser, Usage

SETTINGS: Final = ("app", "app-dir")
WORDS: Final = "[TARGET]"
EPILOG: Final = """\
TARGET is pkg.mod[:attr] or path/file.py[:attr]; default: app in [tool.faktory] of pyproject.toml. It is imported, and
no server is asked. With --json each job is a line of its own.

exit status:
  0    they are printed
  2    called wrongly, or the target cannot be imported"""


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_argument("--app-dir", metavar="DIR", help="where modules are looked for first; default: here")
    parser.add_argument("--json", action="store_true", help="print each job as a JSON document")
    parser.add_argument("--env", metavar="NAME", help="use [tool.faktory.env.NAME]; default: FAKTORY_ENV")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Import the target, and print its jobs."""
    if len(arguments.words) > 1:
        raise Usage(f"expected one TARGET, got {len(arguments.words)} words")
    target = arguments.words[0] if arguments.words else getattr(arguments, "app", None)
    if not target:
        raise Usage(f"expected a TARGET, like shop.jobs:app or app.py; or set {variable_of('jobs', 'app')}")
    from .target import load  # what imports apps is slow to import
    from .work import Told

    told = Told.of(load(target, arguments.app_dir))
    queues = {job: queue for queue, jobs in told.used.items() for job in jobs}
    for call in told.jobs:
        jobtype, bracket, rest = call.partition("(")
        if arguments.json:
            output.result(json.dumps({"jobtype": jobtype, "signature": bracket + rest, "queue": queues.get(jobtype)}))
        else:
            queue = queues.get(jobtype)
            output.result(call if queue in (None, "default") else f"{call}  in {queue}")
    return OK
