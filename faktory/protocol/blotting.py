"""Blots passwords out of what leaves the process: reports to the server, and log lines.

A handler may raise with FAKTORY_URL in its text, and the server shows that text to everybody who can open its Web UI.
Connections tell their passwords to `keep_secret`; who writes a report asks `blot`; the package's loggers ask by
themselves.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Final

BLOT: Final = "[password]"
_SHORTEST: Final = 4
"""Characters from which on a password is blotted out wherever it stands; a shorter one only as it stands in a URL."""

_patterns: dict[str, re.Pattern[str]] = {}


def pattern_of(password: str) -> re.Pattern[str]:
    """Return what finds a password as it is, percent-encoded, as Python or JSON escape it, or a mixture of these."""
    pattern = "".join(f"(?:{'|'.join(_ways_to_write(character))})" for character in password)
    return re.compile(pattern if len(password) >= _SHORTEST else f"(?<=:){pattern}(?=@)")


def _ways_to_write(character: str) -> list[str]:
    octets = character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")
    percent = "".join(f"%(?i:{octet:02x})" for octet in octets)
    # A quote is escaped, too, within quotes of its kind.
    quoted = [f"\\{character}"] if character in "'\"" else []
    plain = dict.fromkeys((json.dumps(character)[1:-1], ascii(character)[1:-1], *quoted, character))
    return [percent, *(re.escape(way) for way in plain), *([r"\+"] if character == " " else [])]


def keep_secret(password: str | None) -> None:
    """Blot this password out from now on, in reports and in the lines of this package's loggers."""
    if not password:
        return
    if password not in _patterns:
        _patterns[password] = pattern_of(password)
        # Longest first: one that begins another must not leave the rest of it to be read.
        for known in sorted(_patterns, key=len, reverse=True):
            _patterns[known] = _patterns.pop(known)
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.startswith("faktory.") and isinstance(logger, logging.Logger):
            logger.addFilter(_blot_record)  # once: a logger knows its filters


def blot(text: str) -> str:
    """Return a text without the passwords that are to be kept."""
    for pattern in _patterns.values():
        text = pattern.sub(BLOT, text)
    return text


def _blot_record(record: logging.LogRecord) -> bool:
    """Blot out a log record; its traceback, too, as a formatter writes it."""
    try:
        message = record.getMessage()
        blotted = blot(message)
        if blotted != message:
            record.msg, record.args = blotted, ()
        text = record.exc_text  # set already for a record out of a child process
        if record.exc_info and not text:
            text = logging.Formatter().formatException(record.exc_info)
        if text and (blotted := blot(text)) != text:
            record.exc_text = blotted
    except Exception:  # a text that cannot be made: the handler that writes it says so
        return True
    return True
