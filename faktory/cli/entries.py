"""A job that waits somewhere, whoever told of it: the server itself, or a page of its Web UI. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .output import escaped

SETS: Final = ("dead", "retries", "scheduled")
TIMES: Final = {"dead": "died", "retries": "runs again", "scheduled": "due"}
"""What the time of an entry is, in each set."""
ARRIVES: Final = ("created_at", "enqueued_at", "failure")
"""What the server adds to a job: `push --from` leaves it out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One job. `args` is None where it was not told whole; `args_text` is what was."""

    jid: str
    jobtype: str
    queue: str
    args: list[Any] | None
    args_text: str = ""
    time: str | None = None
    """When it died, runs again or is due: RFC 3339, UTC. None in a queue."""
    error: str | None = None
    document: dict[str, Any] | None = None
    """The job as `push --from` takes it; None when only a list told of it."""
    untold: tuple[str, ...] = field(default=())
    """The fields that the job may have, and `document` has not."""

    @classmethod
    def of_document(cls, job: dict[str, Any], time: str | None = None, untold: Sequence[str] = ()) -> Entry:
        """Return the entry of a whole job."""
        args = job.get("args")
        failure = job.get("failure")
        error = f"{failure.get('errtype', '')}: {failure.get('message', '')}" if isinstance(failure, dict) else None
        return cls(
            str(job.get("jid", "")),
            str(job.get("jobtype", "")),
            str(job.get("queue", "default")),
            args if isinstance(args, list) else None,
            "",
            time,
            error,
            job,
            tuple(untold),
        )

    @property
    def row(self) -> dict[str, Any]:
        """What `list --json` prints. `args` is null where the page cut them; `args_text` is then what it showed."""
        row = {
            "jid": self.jid,
            "jobtype": self.jobtype,
            "queue": self.queue,
            "args": self.args,
            "time": self.time,
            "error": self.error,
        }
        return row if self.args is not None else {**row, "args_text": self.args_text}

    @property
    def shown_args(self) -> str:
        """The arguments for a person."""
        if self.args is None:
            return self.args_text
        return ", ".join(compact(each) for each in self.args)


def compact(value: object) -> str:
    """Return a value as JSON without spaces, as the server stores it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def json_line(value: object) -> str:
    """Return a value as one line of JSON that any locale and any terminal takes."""
    return json.dumps(value, separators=(",", ":"))


def table(entries: Sequence[Entry], title: str | None, width: int) -> list[str]:
    """Return a heading and a line for each job; the last column takes what is left of `width`, at least 20."""
    heads = [*([title] if title else []), "jid", "queue", "type", "arguments"]
    heads += ["error"] if any(each.error is not None for each in entries) else []
    rows = [_cells(each, title is not None, len(heads)) for each in entries]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    if "error" in heads:  # the last two share what the others leave
        left = max(20, width - sum(widths[:-2]) - 2 * (len(heads) - 1))
        widths[-2] = min(widths[-2], max(left // 2, left - widths[-1]))
        widths[-1] = max(10, left - widths[-2])
    else:
        widths[-1] = max(20, width - sum(widths[:-1]) - 2 * (len(heads) - 1))
    return ["  ".join(_fit(cell, at) for cell, at in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]]


def _cells(entry: Entry, has_time: bool, count: int) -> list[str]:
    cells = [(entry.time or "?")[:19].replace("T", " ")] if has_time else []
    cells += [entry.jid, entry.queue, entry.jobtype, entry.shown_args, entry.error or ""]
    return [escaped(cell[:500]) for cell in cells[:count]]


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 3]}..."


def details(entry: Entry, place: str) -> list[str]:
    """Return the lines that show one job to a person."""
    job = entry.document or {}
    failure = job.get("failure") or {}
    facts = [
        ("jid", entry.jid),
        ("type", entry.jobtype),
        ("queue", entry.queue),
        (TIMES.get(place, "time"), entry.time),
        *((name, job.get(name)) for name in ("created_at", "enqueued_at", "at", "retry", "reserve_for")),
        *((f"custom {name}", compact(value)) for name, value in (job.get("custom") or {}).items()),
        ("retried", failure.get("retry_count")),
        ("retries left", failure.get("remaining")),
        ("failed first", failure.get("failed_at")),
        ("error", entry.error),
    ]
    shown = [(name, escaped(str(value))) for name, value in facts if value not in (None, "")]
    width = max(len(name) for name, _ in shown)
    lines = [f"{name:<{width}}  {value}" for name, value in shown]
    args = [compact(each) for each in entry.args] if entry.args is not None else [entry.args_text]
    lines += [f"{f'argument {number}':<{width}}  {escaped(each)}" for number, each in enumerate(args, 1)]
    return lines + [f"    {escaped(str(line))}" for line in failure.get("backtrace") or ()]
