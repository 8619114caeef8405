"""Text in quotes as Go's `%q` verb writes it. Pure."""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\"
}  # fmt: skip


def quote(text: str) -> str:
    """Write `text` as Go's `%q` verb does, which is not JSON: error messages and MUTATE's filters use it."""
    return f'"{"".join(_ESCAPES.get(mark) or (mark if mark.isprintable() else _escaped(mark)) for mark in text)}"'


def _escaped(mark: str) -> str:
    code = ord(mark)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
