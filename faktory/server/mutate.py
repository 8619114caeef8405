"""MUTATE: clear, kill, discard and requeue what waits in the retries, scheduled and dead sets. Pure.

Sources: server/mutate.go of contribsys/faktory; the patterns are those of Redis' SCAN, matched against the stored text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from .gojson import parse, read_fields
from .goquote import quote
from .rules import Refusal
from .sorted_set import SortedSet
from .store import Store

_OPERATION: Final = {"filter": "object", "cmd": "string", "target": "string"}
_FILTER: Final = {"regexp": "string", "jobtype": "string", "jids": "[]string"}

Matches = Callable[[bytes], bool]


def mutate(store: Store, payload: bytes, now: float) -> None:
    """Carry out the JSON of one MUTATE. Raises `Refusal` or `DocumentError`."""
    operation = read_fields(parse(payload), _OPERATION, "Operation", "client.Operation")
    act = _ACTS.get(operation.get("cmd", ""))
    if act is None:
        raise Refusal("unknown mutate operation")
    chosen = operation.get("filter")
    if chosen is not None:
        chosen = read_fields(chosen, _FILTER, "Operation.filter")
    targets = {"retries": store.retries, "scheduled": store.scheduled, "dead": store.dead}
    target = targets.get(operation.get("target", ""))
    if target is None:
        raise Refusal("invalid target for mutation command")
    act(store, target, chosen, now)


def _clear(store: Store, target: SortedSet, chosen: dict[str, Any] | None, now: float) -> None:  # noqa: ARG001
    for text in target:  # the filter is ignored, as in the real server
        store.discard(target, text, now)


def _kill(store: Store, target: SortedSet, chosen: dict[str, Any] | None, now: float) -> None:
    for text in filter(_matcher(chosen), target):
        store.kill(target, text, now)


def _discard(store: Store, target: SortedSet, chosen: dict[str, Any] | None, now: float) -> None:
    for text in filter(_matcher(chosen), target):
        store.discard(target, text, now)


def _requeue(store: Store, target: SortedSet, chosen: dict[str, Any] | None, now: float) -> None:
    for text in filter(_matcher(chosen), target):
        store.requeue(target, text, now)


_ACTS: Final = {"clear": _clear, "kill": _kill, "discard": _discard, "requeue": _requeue}


def _matcher(chosen: dict[str, Any] | None) -> Matches:
    """Make the test for a filter: jids win over the rest, and no filter means everything."""
    if not chosen:
        return _everything
    jids = chosen.get("jids")
    if jids:
        marks = [f'"jid":{quote(jid)}'.encode() for jid in jids]
        return lambda text: any(text.find(mark) > 0 for mark in marks)
    pattern, jobtype = chosen.get("regexp", ""), chosen.get("jobtype", "")
    if pattern:
        matches = glob(pattern.encode())
        if not jobtype:
            return matches
        mark = f'"jobtype":{quote(jobtype)}'.encode()
        return lambda text: text.find(mark) > 0 and matches(text)
    return glob(f'*"jobtype":{quote(jobtype)}*'.encode()) if jobtype else _everything


def _everything(_: bytes) -> bool:
    return True


def glob(pattern: bytes) -> Matches:
    """Compile a Redis pattern: `*`, `?`, `[a-c]`, `[^a]` and a backslash before a plain character, byte by byte.

    Takes time in proportion to text and pattern, whatever the pattern: the pieces between stars have a fixed length
    and are looked for from left to right.
    """
    pieces = [(re.compile(b"".join(marks), re.DOTALL), len(marks)) for marks in _pieces(pattern)]
    (first, _), (last, last_size) = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return lambda text: first.fullmatch(text) is not None
    middle = [piece for piece, _ in pieces[1:-1]]

    def matches(text: bytes) -> bool:
        found = first.match(text)
        for piece in middle:
            if found is None:
                return False
            found = piece.search(text, found.end())
        return found is not None and last.fullmatch(text, max(found.end(), len(text) - last_size)) is not None

    return matches


def _pieces(pattern: bytes) -> list[list[bytes]]:
    """Split at the stars; each piece is a list of regular expressions that match one byte."""
    pieces: list[list[bytes]] = [[]]
    position = 0
    while position < len(pattern):
        mark = pattern[position : position + 1]
        position += 1
        if mark == b"*":
            pieces.append([])
        elif mark == b"?":
            pieces[-1].append(b".")
        elif mark == b"[":
            one_of, position = _class(pattern, position)
            pieces[-1].append(one_of)
        else:
            if mark == b"\\" and position < len(pattern):
                mark = pattern[position : position + 1]
                position += 1
            pieces[-1].append(re.escape(mark))
    return pieces


def _class(pattern: bytes, position: int) -> tuple[bytes, int]:
    """Read a class after its bracket; one without an end goes on to the end of the pattern, as in Redis."""
    negated = pattern[position : position + 1] == b"^"
    position += negated
    wanted: set[int] = set()
    while position < len(pattern):
        mark = pattern[position]
        if mark == 0x5C and position + 1 < len(pattern):  # backslash
            wanted.add(pattern[position + 1])
            position += 2
        elif mark == 0x5D:  # ]
            position += 1
            break
        elif position + 2 < len(pattern) and pattern[position + 1] == 0x2D:  # -
            low, high = sorted((mark, pattern[position + 2]))
            wanted.update(range(low, high + 1))
            position += 3
        else:
            wanted.add(mark)
            position += 1
    listed = b"".join(b"\\x%02x" % byte for byte in sorted(wanted))
    if not wanted:
        return (b"." if negated else b"(?!)."), position
    return (b"[^%b]" if negated else b"[%b]") % listed, position
