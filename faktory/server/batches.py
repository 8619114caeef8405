"""Batches of Faktory Enterprise: BATCH NEW, OPEN, COMMIT and STATUS, callbacks, nesting. Pure.

Sources: client/batch.go of contribsys/faktory, the wiki page Ent-Batches, and what the tests of faktory-rs saw the
Enterprise server do (tests/real/enterprise.rs). The rules:

* a job joins with `custom.bid`, a child batch with `parent_bid`; nothing is called back before the commit;
* *complete* means that every job was executed once, succeeded or not; *success* that every one succeeded;
* the success callback enters its queue only after the complete callback, if there is one, has succeeded;
* a parent waits for its children, and for the callbacks of these.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .documents import JobDocument
from .gojson import encode, parse, read_fields
from .store import Refusal
from .timestamps import timestamp

UNCOMMITTED_FOR: Final = 1_800.0
"""A batch not committed for this many seconds is forgotten."""
_BATCH: Final = {"parent_bid": "string", "description": "string", "success": "object", "complete": "object"}
_EVENTS: Final[tuple[str, ...]] = ("complete", "success")
_PENDING, _ENQUEUED, _DONE = "", "1", "2"


@dataclass(slots=True, eq=False)
class Batch:
    """One batch. The callbacks are absent, pending, enqueued or done: None, "", "1", "2"."""

    bid: str
    created_at: float
    description: str
    parent: Batch | None
    callbacks: dict[str, JobDocument]
    states: dict[str, str] = field(default_factory=lambda: {"complete": _PENDING, "success": _PENDING})
    children: list[Batch] = field(default_factory=list["Batch"])
    jobs: dict[str, str] = field(default_factory=dict[str, str])  # jid to "pending", "failed"; succeeded ones are gone
    total: int = 0
    is_committed: bool = False

    @property
    def failed(self) -> int:
        """How many jobs failed when they ran last."""
        return sum(state == "failed" for state in self.jobs.values())

    def has_reached(self, event: str) -> bool:
        """True when its jobs, its children and their callbacks are through with `event`."""
        if not self.is_committed or not all(child.is_through(event) for child in self.children):
            return False
        return not self.jobs if event == "success" else "pending" not in self.jobs.values()

    def is_through(self, event: str) -> bool:
        """True when a parent need not wait any more."""
        if event in self.callbacks:
            return self.states[event] == _DONE
        return self.has_reached(event)


class Batches:
    """The batches of a server. `push` puts a callback job into its queue."""

    def __init__(self, push: Callable[[JobDocument, float], None], randomness: random.Random) -> None:
        self._push = push
        self._random = randomness
        self._batches: dict[str, Batch] = {}
        self._callbacks: dict[str, tuple[Batch, str]] = {}

    # -- commands -------------------------------------------------------------------------------------------

    def command(self, word: bytes, payload: bytes, now: float) -> str | None:
        """Carry out BATCH `word`; the text to answer, or None for OK."""
        if word == b"NEW":
            return self._new(payload, now)
        bid = payload.decode("utf-8", "replace")
        if word == b"OPEN":
            return self._find(bid, now).bid
        if word == b"COMMIT":
            committed = self._find(bid, now)
            committed.is_committed = True
            self._advance(committed, now)
            return None
        if word == b"STATUS":
            return self._status(self._find(bid, now))
        raise Refusal(f"no such BATCH subcommand: {word.decode('utf-8', 'replace')}")

    def _new(self, payload: bytes, now: float) -> str:
        told = read_fields(parse(payload), _BATCH, "Batch", "client.Batch")
        callbacks = {event: self._callback(told[event], event) for event in _EVENTS if event in told}
        if not callbacks:
            raise Refusal("batches must have a success or complete callback")
        parent = self._find(told["parent_bid"], now) if told.get("parent_bid") else None
        bid = f"b-{self._random.getrandbits(64):016x}"
        batch = Batch(bid, now, told.get("description", ""), parent, callbacks)
        self._batches[batch.bid] = batch
        if parent is not None:
            parent.children.append(batch)
        return batch.bid

    def _callback(self, told: dict[str, Any], event: str) -> JobDocument:
        job = JobDocument.read(told, f"Batch.{event}")
        job.jid = job.jid or f"{self._random.getrandbits(96):024x}"
        job.args = [] if job.args is None else job.args
        if not job.jobtype:
            raise Refusal("jobs must have a jobtype parameter")
        return job

    def _status(self, batch: Batch) -> str:
        status: dict[str, Any] = {
            "bid": batch.bid,
            "created_at": timestamp(batch.created_at),
            "complete_st": batch.states["complete"],
            "success_st": batch.states["success"],
            "total": batch.total,
            "pending": len(batch.jobs),
            "failed": batch.failed,
        }
        if batch.parent is not None:
            status["parent_bid"] = batch.parent.bid
        if batch.description:
            status["description"] = batch.description
        return encode(status)

    def _find(self, bid: str, now: float) -> Batch:
        batch = self._batches.get(bid)
        if batch is None or (not batch.is_committed and batch.created_at + UNCOMMITTED_FOR < now):
            self._batches.pop(bid, None)
            raise Refusal(f"no such batch {bid}")
        return batch

    # -- the jobs of batches --------------------------------------------------------------------------------

    def join(self, job: JobDocument, now: float) -> None:
        """Count a pushed job into its batch, if it names one."""
        bid = (job.custom or {}).get("bid")
        if isinstance(bid, str):
            batch = self._find(bid, now)
            batch.total += job.jid not in batch.jobs
            batch.jobs[job.jid] = "pending"

    def settle(self, jid: str, custom: dict[str, Any] | None, succeeded: bool, now: float) -> None:
        """Note the end of a job's run, be it one of a batch or a callback."""
        called = self._callbacks.get(jid)
        if called is not None and succeeded:
            del self._callbacks[jid]
            owner, event = called
            owner.states[event] = _DONE
            self._advance(owner, now)
        bid = (custom or {}).get("bid")
        batch = self._batches.get(bid) if isinstance(bid, str) else None
        if batch is not None and jid in batch.jobs:
            if succeeded:
                del batch.jobs[jid]
            else:
                batch.jobs[jid] = "failed"
            self._advance(batch, now)

    def clear(self) -> None:
        """Forget everything."""
        self._batches.clear()
        self._callbacks.clear()

    def _advance(self, batch: Batch, now: float) -> None:
        """Call back what is due for a batch and those above it."""
        above: Batch | None = batch
        while above is not None:
            for event in _EVENTS:
                if event in above.callbacks and above.states[event] == _PENDING and self._is_due(above, event):
                    above.states[event] = _ENQUEUED
                    self._call(above, event, now)
            above = above.parent

    def _is_due(self, batch: Batch, event: str) -> bool:
        if event == "success" and "complete" in batch.callbacks and batch.states["complete"] != _DONE:
            return False
        return batch.has_reached(event)

    def _call(self, batch: Batch, event: str, now: float) -> None:
        job = batch.callbacks[event]
        job.custom = {**(job.custom or {}), "_bid": batch.bid, "_cb": event}
        if batch.parent is not None:
            job.custom["_pbid"] = batch.parent.bid
        self._callbacks[job.jid] = (batch, event)
        self._push(job, now)
