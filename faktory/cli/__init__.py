"""The command line: `python -m faktory COMMAND`, or `faktoryctl COMMAND`.

Each command is a module of this package with `describe(parser)` and `run(arguments, output) -> int`, imported only when
it is called for. A new one needs its line in `catalog`. The rules of calls are in `parsing`, those of what is printed
in `output`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from ..core.settings import nearest, read_settings
from ..errors import (
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    FaktoryError,
    HandshakeError,
    InvalidJob,
    ProtocolError,
)
from .catalog import COMMANDS, module_of
from .config import fill
from .output import FAILED, INTERRUPTED, MISUSED, NO_SERVER, OK, PIPE_CLOSED, Output, OutputFailed, PipeClosed
from .parsing import Parser, TargetError, Usage, split

__all__ = ["COMMANDS", "STATUSES", "main", "parser_of", "status_of"]

STATUSES: Final = """\
exit status:
  0    it worked
  1    it failed, or jobs were cut off
  2    called wrongly, or the target cannot be imported
  3    no server, a wrong password, or no TLS
  130  interrupted
  141  whoever read the output has gone
Commands with more of them list theirs."""


def main(
    argv: Sequence[str] | None = None,
    prog: str = "faktoryctl",
    *,
    target: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> int:
    """Run one command and return the exit status: see `STATUSES`.

    A program that has these commands for a project of its own gives the `target`, which commands that take a TARGET
    then leave out, and by `defaults` what options are worth that nobody has set.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    output = Output(prog, words)
    command: str | None = None
    try:
        before, command, after = split(words)
        if command not in COMMANDS or "--version" in before:
            return _without_command(output, before + after, command)
        module = module_of(command)
        is_fixed = target is not None and "TARGET" in (module.WORDS or "")
        parser = parser_of(module, f"{prog} {command}", COMMANDS[command], is_fixed=is_fixed)
        arguments = parser.read(before + after)
        arguments.command = command
        output.color = arguments.color
        if arguments.help:
            output.result(parser.format_help().rstrip())
            return OK
        if module.SETTINGS:
            environment = getattr(arguments, "env", None) or os.environ.get("FAKTORY_ENV") or None
            settings = read_settings(getattr(arguments, "app_dir", None), environment)
            fill(arguments, parser, command, module.SETTINGS, os.environ, settings)
        if is_fixed:
            arguments.words = [target]
        for name, value in (defaults or {}).items():
            if name in arguments and getattr(arguments, name) in (None, False):
                setattr(arguments, name, value)
        return int(module.run(arguments, output))
    except Usage as exc:
        output.error(str(exc), command if command in COMMANDS else None)
        output.tell(f"See {prog}{f' {command}' if command in COMMANDS else ''} --help.")
        return MISUSED
    except TargetError as exc:
        if exc.shown:
            output.tell(exc.shown)
        output.error(str(exc))
        return MISUSED
    except FaktoryError as exc:
        output.error(str(exc))
        return status_of(exc)
    except PipeClosed:
        return PIPE_CLOSED
    except OutputFailed as exc:
        output.error(f"cannot write the output: {exc}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def parser_of(module: ModuleType, prog: str, purpose: str, *, is_fixed: bool) -> Parser:
    """Return the parser of a command; where its TARGET is fixed it takes no words, and its help does not name it."""
    if not is_fixed:
        parser = Parser(prog, purpose, words=module.WORDS, epilog=module.EPILOG)
    else:
        parts = [part for part in module.EPILOG.split("\n\n") if not part.startswith("TARGET is ")]
        parser = Parser(prog, purpose, epilog="\n\n".join(parts).replace("TARGET", "the project"))
    module.describe(parser)
    return parser


def status_of(error: FaktoryError) -> int:
    """Return the exit status for an error."""
    if isinstance(error, (ConfigurationError, InvalidJob)):
        return MISUSED
    if isinstance(error, (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError)):
        return NO_SERVER
    return FAILED


def _without_command(output: Output, words: Sequence[str], command: str | None) -> int:
    if command is not None and command not in COMMANDS:
        raise Usage(f"there is no command {command[:40]!a}{nearest(command, COMMANDS)}")
    if "--version" in words:
        from .. import __version__

        output.result(f"faktory-sdk {__version__}, Python {sys.version.split()[0]}")
        return OK
    text = _help(output.prog)
    if "--help" in words or "-h" in words:
        output.result(text)
        return OK
    output.tell(text)
    return MISUSED


def _help(prog: str) -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items())
    return (
        f"usage: {prog} [--version] COMMAND [options]\n\nFaktory for Python.\n\ncommands:\n{commands}\n\n"
        f"`{prog} COMMAND --help` tells more. --url, --ca, --json and --color may stand before the command, too.\n\n"
        f"{STATUSES}"
    )
