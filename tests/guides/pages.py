"""What a page of Markdown holds: its fenced blocks, and whether an output is the one that it shows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_FILE: Final = re.compile(r"# ([\w./-]+\.\w+)\n")
_VARYING: Final = re.compile(
    r"(?P<any>\.\.\.)|(?P<time>\d\d:\d\d:\d\d)|(?P<hex>\b(?:[0-9a-f]{24}|[0-9a-f]{16}|[0-9a-f]{8})\b)"
    r"|(?P<url>tcp://localhost:\d+)|(?P<date>\b\d{4}-\d\d-\d\d(?= \d\d:))"
    r"|(?P<push>faktoryctl push )|(?P<number>\b\d+(?:\.\d+)?(?= ?(?:ms|µs|s|MB)\b))"
    r"|(?P<version>(?<=faktory-sdk )\d[\d.]*|(?<=Python )\d[\d.]*)|(?P<pid>(?<=pid )\d+)"
)
_FORMS: Final = {
    "any": r".*",
    "time": r"\d\d:\d\d:\d\d",
    "url": r"tcp://(?:localhost|127\.0\.0\.1):\d+",
    "date": r"\d{4}-\d\d-\d\d",
    "push": r"faktoryctl push (?:--url \S+ )?",
    "number": r"\d+(?:\.\d+)?",
    "version": r"\d[\d.]*",
    "pid": r"\d+",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which its text begins, from 1."""

    kind: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that it is, named by a comment on its first line."""
        named = _FILE.match(self.text)
        return None if named is None else named[1]

    @property
    def is_fragment(self) -> bool:
        """True when it says itself that it cannot be run as it stands."""
        return self.text.startswith(("# fragment", "# not run"))


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page. Raises `ValueError` for a fence that is not closed, or indented."""
    blocks = [Block(m[1], m[2], page.count("\n", 0, m.start(2)) + 1) for m in _FENCE.finditer(page)]
    if page.count("```") != 2 * len(blocks):
        raise ValueError("expected fences at the start of their lines, each with its end")
    return blocks


def calls_of(console: str) -> list[tuple[str, str]]:
    """Return each command of a console block with the output shown below it.

    The first command is empty where the block goes on with what a running program prints.
    """
    calls: list[tuple[str, str]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            calls.append((line[2:], ""))
        else:
            command, shown = calls.pop() if calls else ("", "")
            calls.append((command, f"{shown}{line}\n"))
    return calls


def pattern_of(shown: str) -> str:
    """Return a pattern for the outputs that a shown one stands for.

    `...` is anything, on a line of its own any lines. What no two runs share is compared by its form alone: times,
    ids, ports, process ids, versions, and numbers with a unit of time or memory behind them.
    """
    return "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else _pattern_of_line(line) + r"[ ]*\n" for line in shown.splitlines()
    )


def matches(shown: str, output: str) -> bool:
    """Tell whether an output is the one shown."""
    return re.fullmatch(pattern_of(shown), output if not output or output.endswith("\n") else output + "\n") is not None


def _pattern_of_line(line: str) -> str:
    pattern, end = "", 0
    for match in _VARYING.finditer(line):
        kind = match.lastgroup or "any"
        form = f"[0-9a-f]{{{len(match[0])}}}" if kind == "hex" else _FORMS[kind]
        pattern += re.escape(line[end : match.start()]) + form
        end = match.end()
    return pattern + re.escape(line[end:].rstrip())
