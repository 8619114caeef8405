"""`faktoryctl top`: a server's queues and sets, again and again. The shell around `frames`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..client import Client
from ..errors import FaktoryError
from ..runtime.ticking import monotonic
from .connecting import connect
from .frames import SORTS, History, Sample, View, frame, once
from .info import document_of, latencies_of
from .output import INTERRUPTED, OK, PIPE_CLOSED, Output
from .parsing import Parser, Usage, seconds

if TYPE_CHECKING:
    from .screen import Screen

SETTINGS: Final = ("url", "ca", "interval")
WORDS: Final = None
EPILOG: Final = """\
q quits, space stops and goes on, s sorts by name, jobs or growth. ^Z and ^C do as everywhere.
INFO is not harmless: one that meets a push to a new queue can crash servers up to 1.10. So it is asked each 5 s, and
each second at most.
With --once, --json, or where there is no terminal: one frame, whose rates are not known.
FAKTORY_TOP_INTERVAL stands for --interval, and so on for --url and --ca."""
_EVERY: Final = 5.0
_LEAST: Final = 1.0
_FOR_EVER: Final = 3_600.0


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_server_options()
    parser.add_argument("-i", "--interval", type=seconds, metavar="SECONDS", help="between two looks; 5, at least 1")
    parser.add_argument("--once", action="store_true", help="print one frame and end")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Show frames until `q`, or one."""
    every = _EVERY if arguments.interval is None else arguments.interval
    if every < _LEAST:
        raise Usage(f"--interval: expected {_LEAST:g} or more, got {every:g}: asking is not harmless, see --help")
    with connect(arguments) as client:
        first = _ask(client)
        if arguments.json:
            output.result(document_of(first.info, first.latencies))
            return OK
        view = View(encoding=encoding_of(os.environ, sys.stdout), has_style=output.color != "never")
        if arguments.once or not _is_screen():
            width = shutil.get_terminal_size((80, 24)).columns
            history = History().after(first, None)
            lines = once(first, None, history, str(client.address), replace(view, width=width))
            output.result("\n".join(line.rstrip() for line in lines))
            return OK
        return _watch(client, first, every, view)


def _is_screen() -> bool:
    streams = (sys.stdin, sys.stdout)
    is_terminal = all(stream is not None and stream.isatty() for stream in streams)
    return is_terminal and os.name == "posix" and os.environ.get("TERM", "") not in ("", "dumb")


def encoding_of(environ: Mapping[str, str], stream: object) -> str:
    """Return what the terminal is taken to show: ASCII in a C locale, though Python then writes UTF-8."""
    names = [environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if names[1] == "C.UTF-8" and not names[0] and names[2] in ("", "C", "POSIX"):
        names[1] = ""  # set by Python itself, as it does in a C locale
    locale = next((name for name in names if name), "C")
    return "ascii" if locale in ("C", "POSIX") else str(getattr(stream, "encoding", None) or "ascii")


def _ask(client: Client) -> Sample:
    info = client.info()
    sample = Sample(monotonic(), info)
    return replace(sample, latencies=latencies_of(client, sample.sizes("queues")))


def _watch(client: Client, first: Sample, every: float, view: View) -> int:
    from .screen import Ended, Screen

    try:
        with Screen() as screen:
            _loop(client, first, every, view, screen)
    except Ended as exc:
        if exc.number == signal.SIGINT:
            return INTERRUPTED
        signal.signal(exc.number, signal.SIG_DFL)  # all is given back: end as the signal has it
        os.kill(os.getpid(), exc.number)
    except OSError:  # the terminal is gone
        return PIPE_CLOSED
    return OK


def _loop(client: Client, last: Sample, every: float, view: View, screen: Screen) -> None:
    before: Sample | None = None
    history = History().after(last, None)
    due = monotonic() + every
    while True:
        size = os.get_terminal_size(sys.stdout.fileno())
        view = replace(view, width=size.columns, height=size.lines)
        lines = frame(last, before, history, str(client.address), view)
        screen.draw("\x1b[H" + "\r\n".join(f"\x1b[2K{line}" for line in lines) + "\x1b[J")
        key = screen.wait(_FOR_EVER if view.is_paused else due - monotonic())
        if key in ("q", "Q"):
            return
        view = _obeyed(key, view)
        if view.is_paused or monotonic() < due:
            continue
        try:
            with screen.interruptible():
                last, before = _ask(client), last
        except FaktoryError as exc:  # it may come back
            view = replace(view, notice=str(exc))
        else:
            history = history.after(last, before)
            view = replace(view, notice="")
        due = monotonic() + every


def _obeyed(key: str | None, view: View) -> View:
    """Return what the user wants to see after a key; those that mean nothing change nothing."""
    if key == " ":
        return replace(view, is_paused=not view.is_paused)
    if key == "s":
        return replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)])
    return view
