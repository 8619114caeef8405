"""FILTER of `faktoryctl dead requeue` and the like: which jobs an operation is for. Pure.

The server filters by one Redis glob over a job's stored JSON (server/mutate.go). A text is looked for as it stands in
that JSON, with what the server stores as an escape escaped, and with the characters of globs made plain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from ..commands import JobFilter
from ..errors import ConfigurationError
from .parsing import Usage

_COMPARISONS: Final = 1_000_000
"""How many jids times jobs one command is for: the server compares each with each, in 1 µs, and has 5 s."""
_STORED_ESCAPED: Final = re.compile("[<>&\x00-\x1f\u2028\u2029]")
_GLOB: Final = re.compile(r"[\\*?\[\]]")


def filters_of(
    jids: Sequence[str], jobtype: str | None, match: str | None, *, everything: bool, size: int = 0
) -> list[JobFilter]:
    """Return the filters that together are what was asked for, of a set of `size` jobs. Raises `Usage`."""
    named = [
        name
        for name, value in (("--jid", jids), ("--type", jobtype), ("--match", match), ("--all", everything))
        if value not in (None, [], (), False)
    ]
    if not named:
        raise Usage("say which jobs: --jid JID ..., --type TYPE, --match TEXT, or --all")
    if len(named) > 1 and set(named) != {"--type", "--match"}:
        raise Usage(f"{' and '.join(named)} do not go together; --type and --match do")
    try:
        return _filters(jids, jobtype, match, size)
    except ConfigurationError as exc:
        raise Usage(str(exc)) from None


def _filters(jids: Sequence[str], jobtype: str | None, match: str | None, size: int) -> list[JobFilter]:
    if jids:
        at_once = max(1, min(1_000, _COMPARISONS // max(1, size)))
        return [JobFilter(jids=jids[start : start + at_once]) for start in range(0, len(jids), at_once)]
    pattern = None if match is None else glob_of(match)
    if jobtype is None:
        return [JobFilter.everything() if pattern is None else JobFilter(regexp=pattern)]
    try:
        return [JobFilter(jobtype=jobtype, regexp=pattern)]
    except ConfigurationError:
        if pattern is not None or not jobtype:
            raise
    # The server would paste this name into its glob as it is: our own glob has it escaped.
    return [JobFilter(regexp=glob_of(f'"jobtype":{json.dumps(jobtype, ensure_ascii=False)}'))]


def glob_of(text: str) -> str:
    """Return the glob that matches the stored JSON of the jobs with this text in it. Raises `Usage`."""
    if not text:
        raise Usage("--match: expected a text, got an empty one, which every job has; say --all to mean that")
    stored = _STORED_ESCAPED.sub(_escape, text)
    return f"*{_GLOB.sub(lambda found: chr(92) + found[0], stored)}*"


def _escape(found: re.Match[str]) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    return short.get(found[0], f"\\u{ord(found[0]):04x}")
