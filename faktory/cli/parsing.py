"""The rules that all commands share: what an option may look like, and what a wrong call is told.

A wrong call raises `Usage`. Its text names options, which we know, and never repeats a stray word, which may be a
password.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Final, NoReturn

from ..core.settings import nearest

COMMON: Final = {
    "--url": True,
    "--ca": True,
    "--json": False,
    "--color": True,
    "--help": False,
    "-h": False,
    "--version": False,
}
"""The options that may also stand before the command, and whether they take a value."""


class Usage(Exception):
    """The program was called wrongly."""


class TargetError(Exception):
    """A TARGET cannot be used. `shown` is what the user is to see before the text: the user's own frames."""

    def __init__(self, text: str, shown: str = "") -> None:
        super().__init__(text)
        self.shown = shown


class Parser(argparse.ArgumentParser):
    """What one command takes. `words` names its positional arguments in the help; None when it takes none."""

    def __init__(self, prog: str, purpose: str, *, words: str | None = None, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=f"{prog} [options]{'' if words is None else f' {words}'}",
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self._takes_words = words is not None
        self.add_argument("-h", "--help", action="store_true", help="show this and end")
        self.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: on a terminal")
        if words is not None:
            self.add_argument("words", nargs="*", help=argparse.SUPPRESS)

    def add_server_options(self) -> None:
        """Add what says where the server is, and how to print what it says."""
        self.add_argument("--url", metavar="URL", help="where the server is; default: FAKTORY_URL, or localhost")
        self.add_argument(
            "--ca", metavar="FILE", help="trust the certificate authority in this file (PEM), for tcp+tls"
        )
        self.add_argument("--json", action="store_true", help="print one JSON document")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with an option."""
        raise Usage(message)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Read a call: options anywhere, and nothing but words after a `--`."""
        options, literal = list(words), []
        if "--" in options:
            at = options.index("--")
            options, literal = options[:at], options[at + 1 :]
        arguments, stray = self.parse_known_intermixed_args(options)
        unknown = next((word for word in stray if word.startswith("-") and word != "-"), None)
        if unknown is not None and not arguments.help:
            self._refuse_option(unknown)
        if self._takes_words:
            arguments.words += literal
        elif (stray or literal) and not arguments.help:
            hint = "; for a server's URL write --url URL" if "--url" in self._option_string_actions else ""
            count = len(stray) + len(literal)
            raise Usage(f"expected options alone, got {count} other {'word' if count == 1 else 'words'}{hint}")
        return arguments

    def _refuse_option(self, word: str) -> NoReturn:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        hint = nearest(name, self._option_string_actions)
        if not hint and self._takes_words:
            hint = "; write -- before words that begin with a dash"
        raise Usage(f"there is no option {name}{hint}")


def split(words: Sequence[str]) -> tuple[list[str], str | None, list[str]]:
    """Split a call into the options before the command, the command, and what follows it."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        name, has_value, _ = words[position].partition("=")
        if name not in COMMON:
            raise Usage(f"there is no option {name} before the command{nearest(name, COMMON)}")
        position += 2 if COMMON[name] and not has_value else 1
    command = words[position] if position < len(words) else None
    return list(words[:position]), command, list(words[position + 1 :])


def readable(word: str) -> str:
    """Return an argument as the text it was meant to be, whatever the locale: arguments are UTF-8.

    Without UTF-8 mode the C locale gives each byte beyond ASCII as a lone surrogate.
    """
    try:
        return word.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise Usage("expected arguments in UTF-8, got other bytes") from None


def whole_number(text: str) -> int:
    """Read an option that is an integer."""
    if len(text) > 20:
        raise argparse.ArgumentTypeError("expected a whole number of at most 20 digits")
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!a}") from None


def seconds(text: str) -> float:
    """Read an option that is a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!a:.42}") from None
    if not isfinite(value):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!a:.42}")
    return value


def moment(text: str) -> datetime:
    """Read an option that is a point in time."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"expected a time with a zone, like 2026-11-27T08:00:00Z, got {text!a:.42}")
    return value
