"""What Faktory Enterprise documents beyond the open-source server, for tests. Pure.

Unique and expiring jobs are here, batches and tracking next door. Sources: client/job.go of contribsys/faktory, the
wiki pages Ent-Unique-Jobs and Ent-Expiring-Jobs. Best effort: the Enterprise server's source is not public.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from .batches import Batches
from .documents import JobDocument
from .gojson import encode
from .store import Refusal, Store
from .timestamps import parse_timestamp, timestamp
from .tracking import Tracking


class Enterprise:
    """The `Rules` of a store, and the commands that go with them."""

    def __init__(self, store: Store, randomness: random.Random) -> None:
        self._batches = Batches(store.push, randomness)
        self._tracking = Tracking(store)
        self._locks: dict[str, tuple[str, float]] = {}  # what is unique, to the jid that holds it and until when
        self.batch: Callable[[bytes, bytes, float], str | None] = self._batches.command
        self.track: Callable[[bytes, bytes, float], str | None] = self._tracking.command

    # -- stations of a job ----------------------------------------------------------------------------------

    def admit(self, job: JobDocument, now: float) -> None:
        """Refuse a job that is not unique, and count one that is pushed into a batch."""
        custom = job.custom
        if custom:
            key = _unique_key(job.jobtype, job.args, job.queue, custom)
            if key is not None and self._is_locked(key, now):
                raise Refusal("Job not unique", "NOTUNIQUE")
            self._batches.join(job, now)
            if key is not None:
                start = max(now, job.due or now)
                self._locks[key] = (job.jid, start + float(custom["unique_for"]))
            if "expires_at" not in custom and _is_positive(custom.get("expires_in")):
                custom["expires_at"] = timestamp(now + custom["expires_in"])
            self._tracking.note(job.jid, custom, "enqueued", now)

    def fetched(self, job: dict[str, Any], now: float) -> bool:
        """Free the lock of a job that is unique until it starts; False for one that has expired."""
        custom = job.get("custom")
        if custom:
            if _has_expired(custom, now):
                return False
            if custom.get("unique_until") == "start":
                self._unlock(job)
            self._tracking.note(job["jid"], custom, "working", now)
        return True

    def acknowledged(self, job: dict[str, Any], now: float) -> None:
        """Free the lock, and tell batches and tracking of the success."""
        custom = job.get("custom")
        if custom:
            self._unlock(job)
            self._tracking.note(job["jid"], custom, "success", now)
            self._batches.settle(job["jid"], custom, True, now)

    def failed(self, job: JobDocument, now: float, will_retry: bool) -> None:
        """Tell batches and tracking of the failure; the lock stays until its time is over."""
        self._tracking.note(job.jid, job.custom, "failed" if will_retry else "dead", now)
        self._batches.settle(job.jid, job.custom, False, now)

    def flushed(self) -> None:
        """Forget everything."""
        self._batches.clear()
        self._tracking.clear()
        self._locks.clear()

    # -- unique jobs ----------------------------------------------------------------------------------------

    def _is_locked(self, key: str, now: float) -> bool:
        lock = self._locks.get(key)
        if lock is not None and lock[1] <= now:
            del self._locks[key]
            return False
        return lock is not None

    def _unlock(self, job: dict[str, Any]) -> None:
        key = _unique_key(job["jobtype"], job["args"], job["queue"], job["custom"])
        if key is not None and self._locks.get(key, ("", 0.0))[0] == job["jid"]:
            del self._locks[key]


def _unique_key(jobtype: str, args: list[Any] | None, queue: str, custom: dict[str, Any]) -> str | None:
    """Return what makes a job unique, its type, arguments and queue; None for a job without `unique_for`."""
    return encode([jobtype, args, queue]) if _is_positive(custom.get("unique_for")) else None


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _has_expired(custom: dict[str, Any], now: float) -> bool:
    expires_at = custom.get("expires_at")
    if not isinstance(expires_at, str):
        return False
    try:
        return parse_timestamp(expires_at) <= now
    except ValueError:
        return False  # what is no time never comes
