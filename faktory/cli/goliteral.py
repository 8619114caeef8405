"""Values as Go prints them with `%#v`, which is how the Web UI shows a job's custom data. Pure."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_WORDS: Final = {"true": True, "false": False, "<nil>": None, "interface {}(nil)": None}
_MAP: Final = "map[string]interface {}{"
_LIST: Final = "[]interface {}{"
_ESCAPES: Final = re.compile(r"\\\\|\\(x[0-9a-f]{2}|U[0-9a-f]{8}|[av])")
"""What Go escapes otherwise than JSON."""


class NoLiteral(ValueError):
    """The text is not one value."""


def read_pair(text: str) -> tuple[str, Any]:
    """Read `key: value`: a key may hold ": ", what follows the right one alone is a value. Raises `NoLiteral`."""
    position = text.find(": ")
    while position >= 0:
        with suppress(NoLiteral):
            return text[:position], read_literal(text[position + 2 :])
        position = text.find(": ", position + 1)
    raise NoLiteral(f"expected a key and a value, got {text!a:.60}")


def read_literal(text: str) -> Any:
    """Read one value as JSON had it. Raises `NoLiteral`."""
    try:
        value, end = _value(text, 0)
    except RecursionError:
        raise NoLiteral("nested too deep") from None
    if end != len(text):
        raise NoLiteral(f"{text[end:]!a:.40} after a value")
    return value


def _value(text: str, at: int) -> tuple[Any, int]:
    for word, value in _WORDS.items():
        if text.startswith(word, at):
            return value, at + len(word)
    if text.startswith(_MAP, at):
        return _map(text, at + len(_MAP))
    if text.startswith(_LIST, at):
        return _list(text, at + len(_LIST))
    if found := _STRING.match(text, at):
        return _string(found[0]), found.end()
    if found := _NUMBER.match(text, at):
        number = float(found[0])
        return (int(number) if number.is_integer() and abs(number) < 2**53 else number), found.end()
    raise NoLiteral(f"expected a value, got {text[at:]!a:.40}")


def _string(text: str) -> str:
    def of_json(found: re.Match[str]) -> str:
        escape = found[1]
        if escape is None:  # a backslash
            return found[0]
        return {"a": "\\u0007", "v": "\\u000b"}.get(escape) or json.dumps(chr(int(escape[1:], 16)))[1:-1]

    try:
        return str(json.loads(_ESCAPES.sub(of_json, text)))
    except (ValueError, OverflowError):
        raise NoLiteral(f"expected a text, got {text!a:.40}") from None


def _list(text: str, at: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    while not text.startswith("}", at):
        at = _after_comma(text, at, is_first=not values)
        value, at = _value(text, at)
        values.append(value)
    return values, at + 1


def _map(text: str, at: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    while not text.startswith("}", at):
        at = _after_comma(text, at, is_first=not values)
        key = _STRING.match(text, at)
        if key is None or not text.startswith(":", key.end()):
            raise NoLiteral(f"expected a key, got {text[at:]!a:.40}")
        values[_string(key[0])], at = _value(text, key.end() + 1)
    return values, at + 1


def _after_comma(text: str, at: int, *, is_first: bool) -> int:
    if is_first:
        return at
    if not text.startswith(", ", at):
        raise NoLiteral(f"expected a comma, got {text[at:]!a:.40}")
    return at + 2
