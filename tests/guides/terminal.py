"""Draw the pictures of terminals, `terminal.svg` and `top.svg`: `python -m tests.guides.terminal [folder]`.

Real sessions in a pseudo-terminal, read by a terminal emulator; each cell is drawn as it stands on the screen.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import pexpect
import pyte

from faktory import Client, ConsumerBuilder, Job
from faktory.runtime.ticking import monotonic
from faktory.server import Server

ROOT: Final = Path(__file__).parents[2]
GUIDES: Final = ROOT / "examples" / "guides"
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


def started(words: list[str], folder: Path, columns: int, lines: int, url: str | None = None) -> pexpect.spawn[str]:
    """Start `faktoryctl` on a terminal of this size."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAKTORY", "NO_COLOR"))}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": str(columns)}
    if url is not None:
        environment["FAKTORY_URL"] = url
    return pexpect.spawn(
        sys.executable,
        ["-c", _CALL, *words],
        cwd=str(folder),
        env=environment,
        encoding="utf-8",
        dimensions=(lines, columns),
        timeout=20,
    )


def dev(folder: Path) -> pyte.Screen:
    """Run `faktoryctl dev` on an app, push a job that succeeds and one that fails, and return the screen."""
    (folder / "app.py").write_text(APP)
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.Stream(screen)
    stream.feed("$ faktoryctl dev app.py\r\n")
    program = started(["dev", "app.py"], folder, COLUMNS, LINES)
    url = "tcp://localhost:7419"
    for pattern, push in (("ready", "add 1 2"), ("ok ", "--app app.py divide 1 0"), (r"in divide\S*\r\n", "")):
        program.expect(pattern)
        stream.feed(program.before + program.after)
        if push:
            started(["push", "--url", url, *push.split()], folder, COLUMNS, LINES).expect(pexpect.EOF)
    program.sendintr()
    program.expect(pexpect.EOF)
    stream.feed(program.before)
    return screen


def top(folder: Path) -> pyte.Screen:
    """Run `faktoryctl top` on a server that jobs come to, and return the screen after some frames."""
    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    with Server(fetch_wait=0.01) as server, Client(server.url) as client:
        program = started(["top", "-i", "1"], folder, 80, 24, server.url)
        until = monotonic() + 7
        for number in count(1):
            jobs = [Job("welcome", [n], queue="mail") for n in range(40 + 25 * (number % 4))]
            client.push_bulk([*jobs, Job("resize", [number], queue="images"), Job("report", [], at=3_600.0)])
            with ConsumerBuilder().register("welcome", lambda _: None).connect(server.url) as consumer:
                while len(server.queue("mail")) > 10 * number:
                    consumer.run_one(["mail"])
            try:
                stream.feed(program.read_nonblocking(100_000, timeout=0.8))
            except pexpect.TIMEOUT:
                continue
            if monotonic() > until:
                break
        program.send("q")
        program.expect(pexpect.EOF)
    return screen


def drawn(screen: pyte.Screen, title: str) -> str:
    """Return a screen as SVG."""
    lines = [
        _line([screen.buffer[number][column] for column in range(screen.columns)], number)
        for number in range(screen.lines)
    ]
    height = (max((number for number, line in enumerate(lines) if line), default=0) + 1) * HEIGHT + 24
    style = "font: 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {screen.columns * WIDTH + 24:.0f} {height}" '
        'role="img" xml:space="preserve">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>\n<g style="{style}">\n'
        + "".join(line for line in lines if line)
        + "</g>\n</svg>\n"
    )


def _line(row: list[Any], number: int) -> str:
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
    """Write the pictures."""
    to = Path(sys.argv[1]) if sys.argv[1:] else GUIDES
    with tempfile.TemporaryDirectory() as folder:
        (to / "terminal.svg").write_text(drawn(dev(Path(folder)), "faktoryctl dev: one job succeeds, one fails"))
        (to / "top.svg").write_text(drawn(top(Path(folder)), "faktoryctl top: queues that grow and shrink"))


if __name__ == "__main__":
    main()
