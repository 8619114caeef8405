"""Pages with the structure of Faktory's Web UI, made for tests: the smallest that the reader takes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

HEADS = {
    "dead": ["Last Retry", "Queue", "Job", "Arguments", "Error"],
    "retries": ["Next Retry", "Retry Count", "Queue", "Job", "Arguments", "Error"],
    "scheduled": ["When", "Queue", "Job", "Arguments"],
}


def shown(args: Iterable[Any]) -> str:
    """Arguments as a page shows them."""
    return escape(", ".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in args))


def frame(body: str, sizes: dict[str, int] | None = None) -> str:
    """A page around `body`, with the counts of all sets."""
    counts = "".join(
        f'<li class="{name} col"><span class="count">{(sizes or {}).get(name, 0):,}</span></li>'
        for name in ("retries", "scheduled", "dead")
    )
    return f'<!doctype html><html><head><meta charset="utf8" /></head><body><ul>{counts}</ul><br>{body}</body></html>'


def table(heads: Iterable[str], rows: Iterable[Sequence[str]], cls: str = "table") -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="{cls}"><thead><tr>{head}</tr></thead>{body}</table>'


def paging(last: int) -> str:
    return f'<ul class="pagination"><li><a href="/x?page=1">1</a></li><li><a href="/x?page={last}">»</a></li></ul>'


def row(
    place: str, key: str, jobtype: str = "t", args: str = "", error: str = "E: boom", queue: str = "q"
) -> list[str]:
    cells = [f'<input type="checkbox" name="key" value="{escape(key)}" />', "<a>a minute ago</a>"]
    cells += ["0"] if place == "retries" else []
    cells += ["<a>q</a>", f"<code>{escape(jobtype)}</code>", f'<div class="args">{args}</div>']
    return cells + ([f"<div>{escape(error)}</div>"] if place != "scheduled" else [])


def of_set(place: str, rows: Sequence[Sequence[str]], *, size: int | None = None, last: int = 1) -> str:
    """A list of dead, retries or scheduled."""
    links = paging(last) if last > 1 else ""
    return frame(links + table(["", *HEADS[place]], rows), {place: len(rows) if size is None else size})


def of_queue(name: str, jobs: Sequence[dict[str, Any]], last: int = 1) -> str:
    """A page of a queue, the job pushed last first."""
    rows = []
    for job in jobs:
        text = base64.urlsafe_b64encode(json.dumps(job).encode()).decode().rstrip("=")
        box = f'<input type="checkbox" name="bkey" value="{text}" />'
        rows.append([box, job["jid"], job["jobtype"], shown(job["args"])])
    links = paging(last) if last > 1 else ""
    return frame(f"<h3>\n {name} </h3>{links}" + table(["", "JID", "Type", "Arguments"], rows, "queue table"))


def of_queues(paused: dict[str, bool]) -> str:
    """The page of all queues."""
    rows = []
    for name, is_paused in paused.items():
        values = ("delete", "resume" if is_paused else "pause")
        buttons = "".join(f'<button name="action" value="{value}">x</button>' for value in values)
        rows.append([f"<a>{name}</a>", "0", f"<form>{buttons}</form>"])
    return frame(table(["Queue", "Size", "Actions"], rows, "queues table"))


def of_job(facts: dict[str, str], error: dict[str, str] | None = None) -> str:
    """The page of one job: what stands behind each name, as HTML."""
    tables = [facts] if error is None else [facts, error]
    parts = []
    for each in tables:
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in each.items())
        parts.append(f"<table><tbody>{rows}</tbody></table>")
    return frame("".join(parts))
