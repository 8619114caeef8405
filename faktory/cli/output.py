"""What the commands print: results on standard output, all else on standard error.

Nothing that came from a server or an argument reaches a terminal raw, no password of an argument is repeated, and
output that cannot be written is `PipeClosed` or `OutputFailed`, never a traceback.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, TextIO

OK: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
NO_SERVER: Final = 3
UNREPORTED: Final = 5
UNKNOWN: Final = 6
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

_ANY_SECRET: Final = re.compile(r"://(?:\S+(?=@)|:[^\s@'\"]+)")
"""What stands before the host of a URL, wherever it came from: a file, say. One cut before the @ shows by its `://:`."""
_SHORTEST_PART: Final = 6
"""How many letters of a secret at least are taken for its beginning, where a text has been cut."""


class PipeClosed(Exception):
    """Whoever read standard output has gone: no fault of anybody, and no reason for a word."""


class OutputFailed(Exception):
    """Standard output cannot be written: the disk is full, say. The text is the reason."""


def escaped(text: str) -> str:
    """Return `text` with whatever a terminal would obey, or not show, written as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Output:
    """Where one run of the command prints. No message repeats a password, of `words`, its arguments, or others."""

    def __init__(self, prog: str, words: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> None:
        words = list(words)
        self.prog: str = prog
        self.color: str = _color_of(words)
        self._environ = os.environ if environ is None else environ
        provider = self._environ.get("FAKTORY_PROVIDER")
        named = [value for name, value in self._environ.items() if name.startswith("FAKTORY_") or name == provider]
        self._secrets = [secret for word in [*words, *named] if (secret := _secret_of(word))]

    def result(self, text: str) -> None:
        """Print a result, one line or several. Raises `PipeClosed`, `OutputFailed`."""
        stream = sys.stdout
        if stream is None:  # closed before we began
            raise OutputFailed("standard output is closed")
        try:
            stream.write(_encodable(f"{text}\n", stream))
            stream.flush()
        except BrokenPipeError:
            _discard(stream)
            raise PipeClosed from None
        except (OSError, ValueError) as exc:  # ValueError: somebody has closed the file
            _discard(stream)
            raise OutputFailed(getattr(exc, "strerror", None) or str(exc)) from exc

    def error(self, text: str, command: str | None = None) -> None:
        """Print what went wrong, in the name of the program or of one of its commands."""
        name = self.prog if command is None else f"{self.prog} {command}"
        self.tell(f"{self.styled(f'{name}:', '1;31', sys.stderr)} {escaped(self._hidden(text))}")

    def tell(self, text: str) -> None:
        """Print to standard error; when that is gone, too, there is nobody to tell."""
        stream = sys.stderr
        if stream is None:
            return
        try:
            stream.write(_encodable(f"{text}\n", stream))
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)

    def bold(self, text: str) -> str:
        """Return `text` for a heading in a result."""
        return self.styled(text, "1", sys.stdout)

    def styled(self, text: str, style: str, stream: TextIO | None) -> str:
        """Return `text` in a style, an empty one for none, where the stream has colour."""
        return f"\x1b[{style}m{text}\x1b[0m" if style and self._has_color(stream) else text

    def _has_color(self, stream: TextIO | None) -> bool:
        """The option decides, then FORCE_COLOR, then NO_COLOR, then whether it is a terminal."""
        if self.color != "auto":
            return self.color == "always"
        if self._environ.get("FORCE_COLOR"):
            return True
        if self._environ.get("NO_COLOR") or stream is None:
            return False
        return stream.isatty()

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            for form in {secret, repr(secret)[1:-1], ascii(secret)[1:-1]}:
                text = _without(text.replace(f"{form}@", "***@"), form)
        return _ANY_SECRET.sub("://***", text)


def _color_of(words: Sequence[str]) -> str:
    """Return what the words say of colour: errors in a call that cannot be read obey it, too."""
    told = "auto"
    for word, following in pairwise([*words, ""]):
        name, has_value, value = word.partition("=")
        if name == "--color":
            told = value if has_value else following
    return told if told in ("always", "never") else "auto"


def _secret_of(word: str) -> str:
    """Return what stands before the last @ of an argument that may be a URL: user and password."""
    return word.rpartition("@")[0].rpartition("://")[2]


def _without(text: str, secret: str) -> str:
    """Hide also what is left of a secret in a text that was cut."""
    beginning = secret[:_SHORTEST_PART]
    if len(beginning) < _SHORTEST_PART:
        return text
    start = text.find(beginning)
    while start >= 0:
        end = start
        while text[end : end + 1] == secret[end - start : end - start + 1] != "":
            end += 1
        text = f"{text[:start]}***{text[end:]}"
        start = text.find(beginning, start + 3)
    return text


def _encodable(text: str, stream: TextIO) -> str:
    """Return `text` with what the stream's encoding has not got as escapes: a C locale knows ASCII alone."""
    encoding = getattr(stream, "encoding", None)
    return text.encode(encoding, "backslashreplace").decode(encoding) if encoding else text


def _discard(stream: TextIO) -> None:
    """Have the rest of what is buffered go nowhere, or the end of the interpreter would complain of it again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
