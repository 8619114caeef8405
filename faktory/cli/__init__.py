"""The command line: `python -m faktory COMMAND`, or `faktoryctl COMMAND`.

Each command is a module of this package with `add_arguments(parser)` and `run(arguments) -> int`, imported only when it
is called for. A new one needs its line in `COMMANDS`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from ..errors import FaktoryError

COMMANDS: Final = {
    "info": "show a server's queues and sets",
    "push": "push one job",
    "server": "run a Faktory server in memory, for development and tests",
}
"""Each command's module in this package, and what `--help` says of it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 when it failed, 2 when it was called wrongly."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="faktoryctl", description="Faktory for Python.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name == wanted:
            module = import_module(f".{name}", __name__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    try:
        arguments = parser.parse_args(argv)
        return int(arguments.run(arguments))
    except SystemExit as exc:  # argparse's way to say --help, or that it was called wrongly
        return exc.code if isinstance(exc.code, int) else 1
    except FaktoryError as exc:
        print(f"faktoryctl: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
