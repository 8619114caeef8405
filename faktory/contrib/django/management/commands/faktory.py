"""`manage.py faktory COMMAND`: the commands of `faktoryctl`, for this project.

Those that take a TARGET take none here: it is the project's own consumer. Their options, words and exit statuses are
the same.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from .....cli import COMMANDS, main
from .....errors import ConfigurationError
from ...worker import server_url

TARGET: Final = "faktory.contrib.django:consumer"


class Command(BaseCommand):
    """Hands its words to `faktory.cli`."""

    _called: str = "manage.py faktory"
    help: Any = "Run the project's Faktory jobs, and look after the server: worker, dev, info, push and others."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Take the words as they are, but for Django's own options before them."""
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=f"commands: {', '.join(COMMANDS)}. `{prog_name} {subcommand} COMMAND --help` tells more.",
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what the command takes."""
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="a command of faktoryctl")

    def run_from_argv(self, argv: list[str]) -> None:
        """Note how the program was called, for its own messages."""
        self._called = f"{Path(argv[0]).name} {argv[1]}"
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002  # Django's
        """Run the command. Raises SystemExit with its exit status, unless that is 0."""
        words, told = without_django(options["words"])
        pythonpath: str | None = told.pythonpath or options.get("pythonpath")
        if pythonpath is not None:  # for the processes that the command starts
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [pythonpath, os.environ.get("PYTHONPATH")]))
        if told.no_color or options.get("no_color"):
            words = ["--color", "never", *words]
        try:
            use_server()
        except ConfigurationError as exc:
            raise CommandError(str(exc)) from exc
        code = main(words, self._called, target=TARGET, defaults=defaults())
        if code:
            raise SystemExit(code)


def without_django(words: list[str]) -> tuple[list[str], argparse.Namespace]:
    """Split Django's own options off, which it takes in any place, and has obeyed already."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    parser.add_argument("--no-color", action="store_true")
    for flag in ("--force-color", "--traceback", "--skip-checks"):
        parser.add_argument(flag, action="store_true")
    told, rest = parser.parse_known_args(words)
    return rest, told


def use_server() -> None:
    """Have commands that talk to a server take the one of the settings, unless they are told another."""
    url = server_url()
    if url is not None:
        os.environ.pop("FAKTORY_PROVIDER", None)
        os.environ["FAKTORY_URL"] = url


def defaults() -> dict[str, Any]:
    """Return what options of the command are worth when nobody has set them.

    Modules are looked for beside manage.py. Logging stays as the project has it, if LOGGING says where lines go.
    """
    beside = Path(sys.argv[0]).resolve()
    found: dict[str, Any] = {"app_dir": str(beside.parent)} if beside.suffix == ".py" else {}
    if logging.getLogger().handlers:
        found["no_configure_logging"] = True
    return found
