"""Which test proves which row of the fault matrix: `python -m tests.faults.ids [ID …]` lists them.

The rows are those of the README here. A test carries a row's id in its docstring or its name.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent.parent
README = Path(__file__).parent / "README.md"
_ID = re.compile(r"\b([NHJWDPCAT])(\d{1,2})(?:-\1?(\d{1,2}))?\b")
_NAME_ID = re.compile(r"(?:^|_)([nhjwdpcat])(\d{1,2})(?=_|$)")
_ROW = re.compile(r"^\| ([NHJWDPCAT]\d{1,2}) \| (.+) \| (.+) \|$", re.MULTILINE)


def rows() -> dict[str, bool]:
    """Return the ids of the page, and whether each is proven by hand."""
    return {row: done.startswith("By hand") for row, _fault, done in _ROW.findall(README.read_text())}


def found_in(text: str, pattern: re.Pattern[str] = _ID) -> set[str]:
    ids: set[str] = set()
    for match in pattern.finditer(text):
        letter, first = match[1].upper(), int(match[2])
        last = int(match[3]) if pattern is _ID and match[3] else first
        ids.update(f"{letter}{number}" for number in range(first, last + 1))
    return ids


@cache
def proofs_by_id() -> dict[str, list[str]]:
    """Return the tests that carry each id, as `path::name`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        if path.parent.name == "server":
            continue  # the embedded server's own tests prove nothing about the client
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                ids = found_in(ast.get_docstring(node) or "") | found_in(node.name.removeprefix("test"), _NAME_ID)
                for each in ids:
                    found[each].append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def main() -> None:
    found = proofs_by_id()
    for row in sys.argv[1:] or rows():
        print(f"{row}:", *found.get(row, ["no test"]), sep="\n  ")


if __name__ == "__main__":
    main()
