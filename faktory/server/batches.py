"""Batches of Faktory Enterprise: BATCH NEW, OPEN, COMMIT and STATUS, callbacks, nesting. Pure but for its log.

Sources: client/batch.go of contribsys/faktory, the wiki page Ent-Batches, and what the tests of faktory-rs saw the
Enterprise server do (tests/real/enterprise.rs). The rules:

* a job joins with `custom.bid`, a child batch with `parent_bid`; nothing is called back before the commit;
* *complete* means that every job was executed once, succeeded or not; *success* that every one succeeded;
* the success callback enters its queue only after the complete callback, if there is one, has succeeded;
* a parent waits for its children, and for the callbacks of these.

Where the sources are silent:

* a job that was thrown away (it expired, or was removed) is no longer pending but failed: *success* never comes;
* a callback that the server refuses, or that was thrown away, never comes; its state is "" or "1" for good;
* a batch for which nothing can happen any more is forgotten after 30 minutes;
* a child that was never committed counts as complete, not as a success, when it is forgotten.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from .documents import JobDocument
from .gojson import DocumentError, encode, parse, read_fields
from .rules import Refusal
from .timestamps import timestamp

UNCOMMITTED_FOR: Final = 1_800.0
"""A batch not committed for this many seconds is forgotten."""
KEPT_FOR: Final = 1_800.0
"""A batch that is over is forgotten after this many seconds."""
_BATCH: Final = {"parent_bid": "string", "description": "string", "success": "object", "complete": "object"}
_EVENTS: Final[tuple[str, ...]] = ("complete", "success")
_MARKS: Final[tuple[str, ...]] = (*_EVENTS, "over")
_PENDING, _ENQUEUED, _DONE = "", "1", "2"

_log = logging.getLogger("faktory.server")


@dataclass(slots=True, eq=False)
class Batch:
    """One batch. The states of its callbacks are pending, enqueued or done: "", "1", "2".

    A batch is *through* with an event when a parent need not wait for it any more, and with "over" when nothing can
    happen to it any more. Each keeps count of its children that are not: so a change costs no look at all of them.
    """

    bid: str
    created_at: float
    description: str
    parent: Batch | None
    callbacks: dict[str, JobDocument]
    states: dict[str, str] = field(default_factory=lambda: dict.fromkeys(_EVENTS, _PENDING))
    void: set[str] = field(default_factory=set[str])  # events whose callback will never run
    jobs: dict[str, str] = field(default_factory=dict[str, str])  # jid to "pending", "failed"; succeeded ones are gone
    counts: dict[str, int] = field(default_factory=lambda: {"pending": 0, "failed": 0})
    total: int = 0
    lost: int = 0
    is_committed: bool = False
    is_forgotten: bool = False
    changed_at: float = 0.0
    through: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(_MARKS, False))
    below: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_MARKS, 0))

    def put(self, jid: str, state: str | None) -> None:
        """Note the state of a job; None takes it out."""
        before = self.jobs.pop(jid, None)
        if before is not None:
            self.counts[before] -= 1
        if state is not None:
            self.jobs[jid] = state
            self.counts[state] += 1

    def has_reached(self, event: str) -> bool:
        """True when its jobs, its children and their callbacks are through with `event`."""
        if not self.is_committed or self.below[event]:
            return False
        return not self.jobs and not self.lost if event == "success" else not self.counts["pending"]

    def is_due(self, event: str) -> bool:
        """True when the callback of `event` is to be pushed now."""
        if event not in self.callbacks or event in self.void or self.states[event] != _PENDING:
            return False
        if event == "success" and "complete" in self.callbacks and self.states["complete"] != _DONE:
            return False
        return self.has_reached(event)

    def settle(self) -> bool:
        """Note what the batch is through with; False when that is what it was, so that its parent need not look."""
        changed = False
        for mark in _MARKS:
            is_through = self._is_through(mark)
            if is_through != self.through[mark]:
                self.through[mark] = is_through
                changed = True
                if self.parent is not None:
                    self.parent.below[mark] += -1 if is_through else 1
        return changed

    def _is_through(self, mark: str) -> bool:
        if self.is_forgotten:
            return mark != "success"
        if mark == "over":
            is_called = any(self.states[event] == _ENQUEUED and event not in self.void for event in _EVENTS)
            return self.is_committed and not self.below[mark] and not self.jobs and not is_called
        if mark in self.callbacks:
            return self.states[mark] == _DONE
        return self.has_reached(mark)


class Batches:
    """The batches of a server.

    `push` puts a callback job into its queue, `check` refuses what `push` would, whenever it comes.
    """

    def __init__(
        self,
        check: Callable[[JobDocument, float], object],
        push: Callable[[JobDocument, float], None],
        randomness: random.Random,
    ) -> None:
        self._check = check
        self._push = push
        self._random = randomness
        self._batches: dict[str, Batch] = {}

    def __len__(self) -> int:
        return len(self._batches)

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
        callbacks = {event: self._callback(told[event], event, now) for event in _EVENTS if event in told}
        if not callbacks:
            raise Refusal("batches must have a success or complete callback")
        parent = self._find(told["parent_bid"], now) if told.get("parent_bid") else None
        bid = f"b-{self._random.getrandbits(64):016x}"
        self._batches[bid] = Batch(bid, now, told.get("description", ""), parent, callbacks)
        if parent is not None:
            for mark in _MARKS:
                parent.below[mark] += 1
            self._advance(parent, now)
        return bid

    def _callback(self, told: dict[str, Any], event: str, now: float) -> JobDocument:
        job = JobDocument.read(told, f"Batch.{event}")
        job.jid = job.jid or f"{self._random.getrandbits(96):024x}"
        job.args = [] if job.args is None else job.args
        bid = (job.custom or {}).get("bid")
        if isinstance(bid, str):
            self._find(bid, now)
        self._check(replace(job), now)
        return job

    def _status(self, batch: Batch) -> str:
        status: dict[str, Any] = {
            "bid": batch.bid,
            "created_at": timestamp(batch.created_at),
            "complete_st": batch.states["complete"],
            "success_st": batch.states["success"],
            "total": batch.total,
            "pending": len(batch.jobs),
            "failed": batch.counts["failed"] + batch.lost,
        }
        if batch.parent is not None:
            status["parent_bid"] = batch.parent.bid
        if batch.description:
            status["description"] = batch.description
        return encode(status)

    def _find(self, bid: str, now: float) -> Batch:
        batch = self._batches.get(bid)
        if batch is None or _is_stale(batch, now):
            raise Refusal(f"no such batch {bid}")
        return batch

    # -- the jobs of batches --------------------------------------------------------------------------------

    def join(self, job: JobDocument, now: float) -> None:
        """Count a pushed job into its batch, if it names one."""
        bid = (job.custom or {}).get("bid")
        if isinstance(bid, str):
            batch = self._find(bid, now)
            batch.total += job.jid not in batch.jobs
            batch.put(job.jid, "pending")
            self._advance(batch, now)

    def succeeded(self, jid: str, custom: dict[str, Any], now: float) -> None:
        """Note a success, be it of a job of a batch or of a callback."""
        owner = self._owner(jid, custom)
        if owner is not None:
            owner.states[custom["_cb"]] = _DONE
            self._advance(owner, now)
        batch = self._batch(jid, custom)
        if batch is not None:
            batch.put(jid, None)
            self._advance(batch, now)

    def failed(self, jid: str, custom: dict[str, Any], now: float) -> None:
        """Note the failure of a job that may still succeed."""
        batch = self._batch(jid, custom)
        if batch is not None:
            batch.put(jid, "failed")
            self._advance(batch, now)

    def lost(self, jid: str, custom: dict[str, Any], now: float) -> None:
        """Note that a job, or a callback, will not run any more."""
        owner = self._owner(jid, custom)
        if owner is not None:
            owner.void.add(custom["_cb"])
            self._advance(owner, now)
        batch = self._batch(jid, custom)
        if batch is not None:
            batch.put(jid, None)
            batch.lost += 1
            self._advance(batch, now)

    def _batch(self, jid: str, custom: dict[str, Any]) -> Batch | None:
        """Return the batch that waits for a job."""
        bid = custom.get("bid")
        batch = self._batches.get(bid) if isinstance(bid, str) else None
        return batch if batch is not None and jid in batch.jobs else None

    def _owner(self, jid: str, custom: dict[str, Any]) -> Batch | None:
        """Return the batch that has called a job back."""
        bid, event = custom.get("_bid"), custom.get("_cb")
        batch = self._batches.get(bid) if isinstance(bid, str) else None
        if batch is None or event not in _EVENTS or batch.states[event] != _ENQUEUED:
            return None
        return batch if batch.callbacks[event].jid == jid else None

    def clear(self) -> None:
        """Forget everything."""
        self._batches.clear()

    def forget(self, now: float) -> None:
        """Forget the batches that are over, and those that were not committed in time."""
        for batch in list(self._batches.values()):
            if _is_stale(batch, now):
                batch.is_forgotten = True
                self._advance(batch, now)
            elif not batch.through["over"] or batch.changed_at + KEPT_FOR >= now:
                continue
            del self._batches[batch.bid]

    def _advance(self, batch: Batch, now: float) -> None:
        """Call back what is due for a batch that has changed, and for those above it as far as that changes them."""
        above: Batch | None = batch
        while above is not None:
            above.changed_at = now
            for event in _EVENTS:
                if above.is_due(event):
                    self._call(above, event, now)
            if not above.settle():
                return
            above = above.parent

    def _call(self, batch: Batch, event: str, now: float) -> None:
        job = batch.callbacks[event]
        job.custom = {**(job.custom or {}), "_bid": batch.bid, "_cb": event}
        if batch.parent is not None:
            job.custom["_pbid"] = batch.parent.bid
        batch.states[event] = _ENQUEUED
        try:
            self._push(job, now)
        except (Refusal, DocumentError) as exc:  # whose job has just ended is not to suffer for it
            batch.states[event] = _PENDING
            batch.void.add(event)
            _log.error("the %s callback of batch %s is refused, and never comes: %.200s", event, batch.bid, exc)


def _is_stale(batch: Batch, now: float) -> bool:
    return not batch.is_committed and batch.created_at + UNCOMMITTED_FOR < now
