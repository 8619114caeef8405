"""PEEK: read what waits, and change nothing. An extension of this server; the real one has its web pages. Pure.

``PEEK {"set":"dead","skip":0,"count":25}`` reads dead, retries or scheduled jobs, in the order of their time;
``"queue":"default"`` in the place of `set` those of a queue, next one first; ``"jid":"..."`` only those under it. The
answer is ``{"size":412,"paused":["slow"],"entries":[{"time":"2026-11-26T08:00:00Z","job":{...}}]}``: how many there are
in all, the paused queues, and the jobs with their time (when it died, runs again, is due; null in a queue).
``PEEK {}`` tells the paused queues alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from .gojson import parse, read_fields
from .rules import Refusal
from .store import DEAD_FOR, Store
from .timestamps import timestamp

MOST: Final = 1_000
"""How many jobs one PEEK tells at most."""
_FIELDS: Final = {"set": "string", "queue": "string", "jid": "string", "skip": "int", "count": "int"}

Entry = tuple[float | None, bytes]


def peek(store: Store, payload: bytes) -> str:
    """Return the answer to one PEEK as JSON. Raises `Refusal` or `DocumentError`."""
    asked = read_fields(parse(payload), _FIELDS, "Peek", "Peek")
    skip, count = asked.get("skip", 0), asked.get("count", MOST)
    if skip < 0 or count < 0:
        raise Refusal("PEEK: skip and count must not be negative")
    entries = _entries(store, asked)
    jid = asked.get("jid", "")
    chosen: Iterable[Entry] = [entry for entry in entries if _jid(entry[1]) == jid] if jid else entries
    told = [
        f'{{"time":{json.dumps(None if time is None else timestamp(time))},"job":{text.decode()}}}'
        for time, text in list(chosen)[skip : skip + min(count, MOST)]
    ]
    paused = json.dumps(store.paused, separators=(",", ":"))
    return f'{{"size":{len(entries)},"paused":{paused},"entries":[{",".join(told)}]}}'


def _entries(store: Store, asked: dict[str, Any]) -> list[Entry]:
    name, queue = asked.get("set", ""), asked.get("queue", "")
    if name and queue:
        raise Refusal("PEEK: expected a set or a queue, got both")
    if not name:
        return [(None, text) for text in store.queued(queue)]
    sets = {"dead": store.dead, "retries": store.retries, "scheduled": store.scheduled}
    if name not in sets:
        raise Refusal("PEEK: set must be dead, retries or scheduled")
    early = DEAD_FOR if name == "dead" else 0.0  # the score of a dead job is when it is forgotten
    return [(score - early, text) for score, text in sets[name].scored()]


def _jid(text: bytes) -> object:
    job = json.loads(text)
    return job.get("jid") if isinstance(job, dict) else None
