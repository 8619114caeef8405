"""Command lines as a server's reader sees them."""

from __future__ import annotations

from faktory.protocol.wire import NEED_DATA, CommandParser


def next_command(parser: CommandParser) -> tuple[str, bytes] | None:
    """Return the first word and the rest of the next whole line; None when there is none."""
    line = parser.next_line()
    if line is NEED_DATA:
        return None
    verb, _, payload = line.partition(b" ")
    return verb.decode("utf-8", "replace"), payload
