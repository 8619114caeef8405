"""Which test proves which row of the fault matrix: `python -m tests.faults.ids` rewrites the table in the README here.

A test carries a row's id in its docstring or its name.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parent.parent
README = Path(__file__).parent / "README.md"
ROWS = {
    "N": ("reaching the server", range(1, 17)),
    "H": ("a hostile or broken server", range(1, 11)),
    "J": ("FETCH, run, ACK, FAIL, BEAT", range(1, 17)),
    "W": ("handlers", range(1, 11)),
    "D": ("payloads and names", range(1, 11)),
    "P": ("process, threads, signals", range(1, 16)),
    "T": ("figures to reach", range(1, 21)),
}
LATER = {
    "T4": "run by hand: `python -m tests.chaos --real --crashes 20`",
    "T5": "run by hand: the server and its Redis killed together",
    "T11": "run by hand: `python -m tests.soak`",
}
_ID = re.compile(r"\b([NHJWDPT])(\d{1,2})(?:-\1?(\d{1,2}))?\b")
_NAME_ID = re.compile(r"(?:^|_)([nhjwdpt])(\d{1,2})(?=_|$)")


def found_in(text: str, pattern: re.Pattern[str] = _ID) -> set[str]:
    ids: set[str] = set()
    for match in pattern.finditer(text):
        letter, first = match[1].upper(), int(match[2])
        last = int(match[3]) if pattern is _ID and match[3] else first
        ids.update(f"{letter}{number}" for number in range(first, last + 1))
    return ids


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


def table() -> str:
    found = proofs_by_id()
    lines: list[str] = []
    for letter, (title, numbers) in ROWS.items():
        lines += [f"## {letter}: {title}", "", "| id | tests |", "|---|---|"]
        for number in numbers:
            row = f"{letter}{number}"
            names = found.get(row, [])
            shown = ", ".join(f"`{name}`" for name in names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
            if row in LATER:
                shown = f"{LATER[row]}{'; ' + shown if shown else ''}"
            lines.append(f"| {row} | {shown} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    head, _, _ = README.read_text().partition("## N:")
    README.write_text(head + table())


if __name__ == "__main__":
    main()
