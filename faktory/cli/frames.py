"""What `faktoryctl top` shows, as lines: from what INFO told last and before, and the size of the screen. Pure.

Only default colours and the attributes bold and reverse are used, which read on light and on dark. No line is longer
than the screen is wide, and there are no more lines than it is high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .output import escaped

SORTS: Final = ("name", "jobs", "growth")
_BARS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = "_.:-=+*#"
_KEPT: Final = 120  # values of a sparkline
_NAMES: Final = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer to INFO, and when it came, in monotonic seconds. `latencies` are those of queues, in seconds."""

    at: float
    info: Mapping[str, Any]
    latencies: Mapping[str, float] = field(default_factory=dict)

    def count(self, *path: str) -> int:
        """Return a number of the document; 0 for what is none."""
        value: Any = self.info
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value if type(value) is int else 0

    def text(self, *path: str) -> str:
        """Return a value of the document for the screen."""
        value: Any = self.info
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return "?" if value is None else escaped(str(value))[:40]

    def sizes(self, what: str) -> dict[str, int]:
        """Return the queues or the sets with their sizes."""
        faktory = self.info.get("faktory")
        found = faktory.get(what) if isinstance(faktory, Mapping) else None
        return {name: size for name, size in found.items() if type(size) is int} if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class View:
    """How the screen is, and what the user wants to see."""

    width: int = 80
    height: int = 24
    encoding: str = "utf-8"
    sort: str = "name"
    is_paused: bool = False
    has_style: bool = True
    notice: str = ""

    @property
    def bars(self) -> str:
        """The steps of a sparkline, lowest first, that the encoding has."""
        try:
            _BARS.encode(self.encoding)
        except (UnicodeError, LookupError):
            return _ASCII_BARS
        return _BARS


@dataclass(frozen=True, slots=True)
class History:
    """The rates that have been, oldest first, and the sizes of each queue."""

    processed: tuple[float, ...] = ()
    failed: tuple[float, ...] = ()
    queues: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def after(self, last: Sample, before: Sample | None) -> History:
        """Return the history with one sample more."""
        queues = {name: (*self.queues.get(name, ()), size)[-_KEPT:] for name, size in last.sizes("queues").items()}
        if before is None:
            return replace(self, queues=queues)
        processed, failed = rates(last, before)
        return History((*self.processed, processed)[-_KEPT:], (*self.failed, failed)[-_KEPT:], queues)


def rates(last: Sample, before: Sample | None) -> tuple[float, float]:
    """Return how many jobs were processed and failed each second; 0 for a server that has started anew."""
    if before is None or last.at <= before.at:
        return 0.0, 0.0
    seconds = last.at - before.at
    counts = [
        last.count("faktory", name) - before.count("faktory", name) for name in ("total_processed", "total_failures")
    ]
    return max(0, counts[0]) / seconds, max(0, counts[1]) / seconds


def frame(last: Sample, before: Sample | None, history: History, address: str, view: View) -> list[str]:
    """Return the lines of the screen."""
    lines = [_title(last, address, view), "", *_rates(last, before, history, view), _sets(last), ""]
    lines += _queues(last, before, history, view, view.height - len(lines) - 1)
    lines = [_clipped(line, view.width) for line in lines[: max(0, view.height - 1)]]
    lines += [""] * (view.height - 1 - len(lines))
    styled = [_bold(line, view) if number in (0, 6) and line else line for number, line in enumerate(lines)]
    return [*styled, _reverse(_footer(view), view)][: view.height]


def once(last: Sample, before: Sample | None, history: History, address: str, view: View) -> list[str]:
    """Return the lines for an output that is no screen: as many as it takes, without a style and a footer."""
    height = 8 + max(1, len(last.sizes("queues")))
    lines = frame(last, before, history, address, replace(view, height=height, has_style=False))
    return lines[:-1]


def sparkline(values: Sequence[float], width: int, bars: str) -> str:
    """Return the last values as bars; the highest is that of the greatest value, and only zero has the lowest."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0)
    steps = len(bars) - 1
    return "".join(bars[0 if value <= 0 else max(1, round(value / top * steps))] for value in shown)


def _title(last: Sample, address: str, view: View) -> str:
    version = f"{last.text('server', 'description')} {last.text('server', 'faktory_version')}"
    up = _duration(last.count("server", "uptime"))
    state = "  PAUSED" if view.is_paused else ""
    connections = last.text("server", "connections")
    memory = last.text("server", "used_memory_mb")
    return f"{escaped(address)}  {version}  up {up}  {connections} connections  {memory} MB{state}"


def _rates(last: Sample, before: Sample | None, history: History, view: View) -> list[str]:
    lines = []
    pairs = (("processed", "total_processed", history.processed), ("failed", "total_failures", history.failed))
    for (name, key, values), rate in zip(pairs, rates(last, before), strict=True):
        shown = "      -" if before is None else f"{rate:>7.1f}"
        text = f"{name:<10}{last.count('faktory', key):>14,}{shown}/s  "
        lines.append(text + sparkline(values, min(60, view.width - len(text)), view.bars))
    return lines


def _sets(last: Sample) -> str:
    sizes = last.sizes("sets")
    names = [name for name in ("working", "retries", "scheduled", "dead") if name in sizes]
    return "   ".join(f"{name} {sizes[name]:,}" for name in [*names, *sorted(sizes.keys() - set(names))])


def _queues(last: Sample, before: Sample | None, history: History, view: View, room: int) -> list[str]:
    sizes = last.sizes("queues")
    seconds = last.at - before.at if before is not None else 0.0
    earlier = before.sizes("queues") if before is not None else {}
    growth = {name: (size - earlier.get(name, 0)) / seconds if seconds > 0 else 0.0 for name, size in sizes.items()}
    names = sorted(sizes)
    if view.sort == "jobs":
        names.sort(key=lambda name: -sizes[name])
    elif view.sort == "growth":
        names.sort(key=lambda name: -growth[name])
    width = min(_NAMES, max([5, *(len(escaped(name)) for name in names)]))
    lines = [f"{'queue':<{width}}  {'jobs':>11}  {'change/s':>9}  {'oldest':>7}"]
    for name in names:
        shown = f"{growth[name]:>+9.1f}" if before is not None else f"{'-':>9}"
        wait = _duration(last.latencies[name]) if name in last.latencies else "?"
        text = f"{_clipped(escaped(name), width):<{width}}  {sizes[name]:>11,}  {shown}  {wait:>7}  "
        lines.append(text + sparkline(history.queues.get(name, ()), min(60, view.width - len(text)), view.bars))
    if not names:
        lines.append("no queues yet")
    if len(lines) > room > 2:
        hidden = len(lines) - room + 1
        lines = [*lines[: room - 1], f"and {hidden} more; s sorts"]
    return lines


def _footer(view: View) -> str:
    text = f" q quit   space {'go on' if view.is_paused else 'pause'}   s sort: {view.sort}   {escaped(view.notice)}"
    return _clipped(text, view.width).ljust(max(0, view.width))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 360_000 else f"{seconds / 86_400:.0f} d"


def _clipped(text: str, width: int) -> str:
    return text[: max(0, width)].rstrip()


def _bold(text: str, view: View) -> str:
    return f"\x1b[1m{text}\x1b[0m" if view.has_style else text


def _reverse(text: str, view: View) -> str:
    return f"\x1b[7m{text}\x1b[0m" if view.has_style else text
