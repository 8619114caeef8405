"""What Faktory Enterprise documents beyond the open-source server, for tests. Pure but for its log.

Unique and expiring jobs are here, batches and tracking next door. Sources: client/job.go of contribsys/faktory, the
wiki pages Ent-Unique-Jobs and Ent-Expiring-Jobs. Best effort: the Enterprise server's source is not public.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from .batches import Batches
from .documents import JobDocument
from .gojson import encode, number
from .rules import End, Refusal
from .store import Store
from .timestamps import LATEST, parse_timestamp, timestamp
from .tracking import Tracking

_log = logging.getLogger("faktory.server")


class Enterprise:
    """The `Rules` of a store, and the commands that go with them."""

    def __init__(self, store: Store, randomness: random.Random) -> None:
        self._batches = Batches(self._check, store.push, randomness)
        self._tracking = Tracking(store)
        self._store = store
        self._locks: dict[str, tuple[str, float]] = {}  # what is unique, to the jid that holds it and until when
        self.batch: Callable[[bytes, bytes, float], str | None] = self._batches.command
        self.track: Callable[[bytes, bytes, float], str | None] = self._tracking.command

    # -- stations of a job ----------------------------------------------------------------------------------

    def admit(self, job: JobDocument, now: float) -> None:
        """Refuse a job that is not unique, and count one that is pushed into a batch."""
        custom = job.custom
        if not custom:
            return
        expires_at = _expiry(job.jid, custom, now)
        unique_for = _unique_for(custom)
        if unique_for is None and custom.get("unique_for") is not None:
            _warn_of(job.jid, "unique_for", custom, "a number of seconds above 0")
        key = None if unique_for is None else _key(job.jobtype, job.args, job.queue)
        if key is not None and self._is_locked(key, now):
            raise Refusal("Job not unique", "NOTUNIQUE")
        self._batches.join(job, now)
        if key is not None and unique_for is not None:
            self._locks[key] = (job.jid, max(now, job.due or now) + unique_for)
        if expires_at is not None:
            custom["expires_at"] = timestamp(expires_at)
        self._tracking.note(job.jid, custom, "enqueued", now)

    def may_run(self, job: dict[str, Any], now: float) -> bool:
        """Free the lock of a job that is unique until it starts; False for one that has expired."""
        custom = job.get("custom")
        if custom:
            if _has_expired(custom, now):
                _log.info("job %a (%a) has expired, and is thrown away", job["jid"], job["jobtype"])
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
            self._batches.succeeded(job["jid"], custom, now)

    def failed(self, job: JobDocument, now: float, will_retry: bool) -> None:
        """Tell batches and tracking of the failure; the lock stays until its time is over."""
        if job.custom:
            self._tracking.note(job.jid, job.custom, "failed" if will_retry else "dead", now)
            self._batches.failed(job.jid, job.custom, now)

    def ended(self, job: dict[str, Any], how: End, frees_lock: bool, now: float) -> None:
        """Tell batches and tracking of a job that has ended without success, and free its lock if it should be."""
        custom = job.get("custom")
        if not custom:
            return
        if frees_lock:
            self._unlock(job)
        if how == "killed":
            self._tracking.note(job["jid"], custom, "dead", now)
            self._batches.failed(job["jid"], custom, now)
            return
        if how != "dropped":  # what it died of stays known for its time
            self._tracking.forget(job["jid"])
        self._batches.lost(job["jid"], custom, now)

    def requeued(self, job: dict[str, Any], now: float) -> None:
        """Note that a job waits in its queue again."""
        self._tracking.note(job["jid"], job.get("custom"), "enqueued", now)

    def flushed(self) -> None:
        """Forget everything."""
        self._batches.clear()
        self._tracking.clear()
        self._locks.clear()

    def forget(self, now: float) -> None:
        """Forget what is past its time: locks, tracks, and batches that are over or were never committed."""
        self._locks = {key: lock for key, lock in self._locks.items() if lock[1] > now}
        self._tracking.forget_old(now)
        self._batches.forget(now)

    def _check(self, job: JobDocument, now: float) -> None:
        """Refuse what could never be pushed. Whether it is unique shows only then."""
        self._store.check(job, now)
        job.encode()
        _expiry(job.jid, job.custom or {}, now)

    # -- unique jobs ----------------------------------------------------------------------------------------

    def _is_locked(self, key: str, now: float) -> bool:
        lock = self._locks.get(key)
        return lock is not None and lock[1] > now

    def _unlock(self, job: dict[str, Any]) -> None:
        if _unique_for(job["custom"]) is not None:
            key = _key(job["jobtype"], job["args"], job["queue"])
            if self._locks.get(key, ("", 0.0))[0] == job["jid"]:
                del self._locks[key]


def _key(jobtype: str, args: list[Any] | None, queue: str) -> str:
    """Return what makes a job unique: its type, arguments and queue."""
    return encode([jobtype, args, queue])


def _unique_for(custom: dict[str, Any]) -> float | None:
    """Return for how many seconds a job is unique; None when it is not."""
    seconds = number(custom.get("unique_for"))
    return seconds if seconds is not None and seconds > 0 else None


def _expiry(jid: str, custom: dict[str, Any], now: float) -> float | None:
    """Return when a job expires that says so in seconds from now; None for others. Warns of what means nothing."""
    if custom.get("expires_at") is not None:
        if _expires_at(custom) is None:
            _warn_of(jid, "expires_at", custom, "an RFC 3339 time with a zone")
        return None
    if custom.get("expires_in") is None:
        return None
    seconds = number(custom["expires_in"])
    if seconds is None or seconds <= 0:
        _warn_of(jid, "expires_in", custom, "a number of seconds above 0")
        return None
    if now + seconds > LATEST:
        raise Refusal(f"invalid expires_in: {encode(custom['expires_in'])} seconds from now is beyond the year 9999")
    return now + seconds


def _expires_at(custom: dict[str, Any]) -> float | None:
    expires_at = custom.get("expires_at")
    try:
        return parse_timestamp(expires_at) if isinstance(expires_at, str) else None
    except ValueError:
        return None


def _has_expired(custom: dict[str, Any], now: float) -> bool:
    expires_at = _expires_at(custom)  # what is no time never comes
    return expires_at is not None and expires_at <= now


def _warn_of(jid: str, name: str, custom: dict[str, Any], expected: str) -> None:
    _log.warning("job %a: %s must be %s to mean anything, got %.80s", jid, name, expected, encode(custom[name]))
