"""Draw the README's picture of a terminal: `python -m tests.guides.terminal [file.svg]`.

A real session in a pseudo-terminal, read by a terminal emulator; each cell is drawn as it stands on the screen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import pexpect
import pyte

ROOT: Final = Path(__file__).parents[2]
PICTURE: Final = ROOT / "examples" / "guides" / "terminal.svg"
COLUMNS: Final = 88
LINES: Final = 20
WIDTH: Final = 8.4
HEIGHT: Final = 19
APP: Final = """\
from faktory import App

app = App()


@app.job
def add(a: int, b: int) -> None:
    print(f"{a} + {b} = {a + b}")


@app.job(retry=3)
def divide(a: int, b: int) -> None:
    print(f"{a} / {b} = {a / b}")
"""
_CALL: Final = "import sys; from faktory.cli import main; sys.exit(main())"
_COLORS: Final = {
    "default": "#d5d8dc",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": "#ffffff",
}


def record(folder: Path) -> pyte.Screen:
    """Run `faktoryctl dev` on an app, push a job that succeeds and one that fails, and return the screen."""
    (folder / "app.py").write_text(APP)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAKTORY", "NO_COLOR"))}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    stream.feed("$ faktoryctl dev app.py\r\n")
    program = pexpect.spawn(
        sys.executable,
        ["-c", _CALL, "dev", "app.py"],
        cwd=str(folder),
        env=environment,
        encoding="utf-8",
        dimensions=(LINES, COLUMNS),
        timeout=20,
    )
    url = "tcp://localhost:7419"
    for pattern, push in (("ready", "add 1 2"), ("ok ", "--app app.py divide 1 0"), (r"in divide\S*\r\n", "")):
        program.expect(pattern)
        stream.feed(program.before + program.after)
        if push:
            words = [sys.executable, "-c", _CALL, "push", "--url", url, *push.split()]
            subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)
    program.sendintr()
    program.expect(pexpect.EOF)
    stream.feed(program.before)
    return screen


def drawn(screen: pyte.Screen) -> str:
    """Return a screen as SVG."""
    lines = [_line(screen.buffer[number], number) for number in range(LINES)]
    height = (max((number for number, line in enumerate(lines) if line), default=0) + 1) * HEIGHT + 24
    style = "font: 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * WIDTH + 24:.0f} {height}" '
        'role="img" xml:space="preserve">\n'
        "<title>faktoryctl dev: one job succeeds, one fails</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>\n<g style="{style}">\n'
        + "".join(line for line in lines if line)
        + "</g>\n</svg>\n"
    )


def _line(cells: Any, number: int) -> str:
    row = [cells[column] for column in range(COLUMNS)]
    while row and row[-1].data == " ":
        row.pop()
    parts, column = "", 0
    for (color, is_bold), group in groupby(row, key=lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in group)
        weight = ' font-weight="bold"' if is_bold else ""
        fill = _COLORS.get(color, f"#{color}" if re.fullmatch(r"[0-9a-f]{6}", color) else _COLORS["default"])
        at = f'x="{12 + column * WIDTH:.1f}" textLength="{len(text) * WIDTH:.1f}"'
        parts += f'<tspan {at} fill="{fill}"{weight}>{escape(text)}</tspan>'
        column += len(text)
    return f'<text y="{26 + number * HEIGHT}">{parts}</text>\n' if parts else ""


def main() -> None:
    """Write the picture."""
    path = Path(sys.argv[1]) if sys.argv[1:] else PICTURE
    with tempfile.TemporaryDirectory() as folder:
        path.write_text(drawn(record(Path(folder))))
    print(path)


if __name__ == "__main__":
    main()
