"""What JSON and the server carry unchanged, and how a document of the server is read. Pure.

`check_json` runs over all that is pushed. A document that came is read by `parsed`, after `check_depth` where it has
many brackets; of one that is no JSON, `jid_in` finds the jid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from math import isfinite
from typing import Any, Final

from ..errors import InvalidJob
from ..runtime.interpreter import json_scan
from .moments import shown

MAX_EXACT_INT: Final = 2**53
"""Largest magnitude of an integer that survives the server, which turns every number into a float64."""
MAX_DEPTH: Final = 500
"""Deepest nesting of `args` and `custom`, in containers."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
"""A character that no jid may have."""

# Possessive quantifiers, and a text may lack its end: else a text of megabytes takes hundreds of megabytes to match,
# and one that is never closed takes time with the square of its length.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.S)
_TOKEN: Final = re.compile(
    rb'"jid"\s*+:\s*+"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-f]{4}){1,512}+)"|%b|[\[{]++|[\]}]++' % _STRING.pattern,
    re.S | re.I,
)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = {91: 1, 123: 1, 93: -1, 125: -1}  # [ { ] }
_JID_WITHIN: Final = 1024 * 1024
"""How many bytes of a document that is no JSON are searched for its jid."""


def check_json(value: Any, path: str, depth: int) -> None:
    """Raise `InvalidJob` unless JSON and the server carry `value`, a container, unchanged."""
    # Runs over all that is pushed: one frame a level, and no path is made for plain values.
    if depth > MAX_DEPTH:
        raise InvalidJob(f"{path[:80]}... is nested more than {MAX_DEPTH} deep; send a reference instead")
    items: Iterable[tuple[str | int, Any]]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InvalidJob(f"{path} has the key {shown(key)}; JSON keys are text: convert it before pushing")
            if not key.isascii():
                check_text(key, f"the key {key!a} of {path}")
        items = value.items()
    else:
        items = enumerate(value)
    for key, item in items:
        kind = type(item)
        if kind is str:
            if not item.isascii():
                check_text(item, _join(path, key))
        elif kind is int:
            if not -MAX_EXACT_INT <= item <= MAX_EXACT_INT:
                raise InvalidJob(
                    f"{_join(path, key)} is an integer beyond 2^53, which the server would change silently; send it as "
                    "text"
                )
        elif item is None or kind is bool:
            pass
        elif kind is float:
            if not isfinite(item):
                raise InvalidJob(f"{_join(path, key)} is {item}; JSON has no such number, send None or text")
        elif kind is list or kind is dict or kind is tuple:
            check_json(item, _join(path, key), depth + 1)
        else:
            raise InvalidJob(
                f"{_join(path, key)} is a {kind.__module__}.{kind.__qualname__}, which would not arrive as one; send "
                "text, a number, a list or a dict (str(x), int(x) of numpy's, x.isoformat(), an enum's x.value), "
                "or declare a typed job (faktory.App), which converts its arguments by their annotations"
            )


def _join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key!a}]"


def check_text(text: str, path: str) -> None:
    """Raise `InvalidJob` when `text`, which stands at `path`, is none that UTF-8 can carry."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidJob(f"{path} holds a lone surrogate, which the server would change; got {text!a:.80}") from exc


def parsed(text: str) -> Any:
    """Return what a JSON text means. Raises `ValueError`, or `RecursionError` where `check_depth` was not asked."""
    # What `json.loads` does, without its looking for blanks around the document, which the server does not send: 1 µs.
    try:
        document, end = json_scan(text, 0)
    except StopIteration:
        return json.loads(text)
    return document if end == len(text) else json.loads(text)


def check_depth(data: bytes) -> None:
    """Raise `ValueError` when a document is nested deeper than `MAX_DEPTH`, besides itself."""
    # json.loads recurses once per level and fails unpredictably early; this counts levels outside of strings.
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH + 1:  # the document is a level itself
        raise ValueError(f"nested more than {MAX_DEPTH} deep")


def jid_in(data: bytes) -> str | None:
    """Find the jid of a document that is no JSON as a whole, so that its job can still be failed.

    Not one inside of `args` or `custom`: that is another job's, which would be failed instead.
    """
    depth = 0
    for token in _TOKEN.finditer(data, 0, _JID_WITHIN):
        if token[1] is not None and depth == 1:
            try:
                jid = json.loads(b'"%b"' % token[1])
            except ValueError:
                return None
            return jid if not CONTROL.search(jid) else None
        depth += _STEPS.get(token[0][0], 0) * len(token[0])  # brackets of one kind come in runs
    return None
