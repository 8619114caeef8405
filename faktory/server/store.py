"""The jobs of a server: queues, reservations, retries, scheduled and dead ones. Pure: no clock, `now` is passed in.

`now` is seconds since 1970. Jobs are kept as the text that workers get. What the server refuses raises `Refusal`.
Nothing here waits: a session that finds no job parks itself (`waiters`), and `take_pushed` names the queues to serve.

Sources: manager/*.go and storage/*.go of contribsys/faktory. Where the real server harms its users we differ:

* a job pushed without `retry` gets 25, not the last `retry` anybody pushed (server/commands.go `push`);
* each fetch of a duplicate jid has a reservation of its own, and each can be settled (manager/working.go).

A job that ends without success, however it does, is told to `rules` at one place, `_ended`, and always after it has
left where it was: what the rules do then (the callback of a batch, say) cannot keep it there, or lose it.
"""

from __future__ import annotations

import heapq
import json
import logging
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Final, ParamSpec

from .documents import DEFAULT_RETRY, FailureDocument, JobDocument
from .gojson import clean, integer, parse
from .goquote import quote
from .rules import End, Refusal, Reservation, Rules
from .sorted_set import SortedSet
from .timestamps import LATEST, parse_timestamp, timestamp

DEAD_FOR: Final = 180 * 86_400.0
"""How long dead jobs are kept, in seconds (manager/manager.go)."""
DEFAULT_RESERVE: Final = 1_800
MIN_RESERVE: Final = 60
MAX_RESERVE: Final = 86_400
MIN_JID_BYTES: Final = 8
_QUEUE_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")
_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
P = ParamSpec("P")

_log = logging.getLogger("faktory.server")


class Store:
    """All jobs of one server. Not thread-safe: its owner holds the lock.

    `jitter` gives the random part of retry delays; a seeded one makes them repeatable.
    """

    def __init__(self, jitter: random.Random | None = None) -> None:
        self.scheduled: SortedSet = SortedSet()
        self.retries: SortedSet = SortedSet()
        self.dead: SortedSet = SortedSet()
        self.processed: int = 0
        self.failures: int = 0
        self.rules: Rules | None = None
        self._jitter = jitter or random.Random()
        self._queues: dict[str, deque[bytes]] = {}
        self._paused: dict[str, None] = {}
        self._pushed: dict[str, None] = {}
        self._reservations: dict[str, list[Reservation]] = {}
        self._expiries: list[tuple[float, int, Reservation]] = []
        self._order = count()
        self._stored_reservations = 0

    # -- pushing --------------------------------------------------------------------------------------------

    def check(self, job: JobDocument, now: float) -> float | None:
        """Refuse what no push may store, and fill in what was left out; when the job is due, None for at once."""
        if len(job.jid) < MIN_JID_BYTES and len(job.jid.encode()) < MIN_JID_BYTES:
            raise Refusal("jobs must have a reasonable jid parameter")
        if not job.jobtype:
            raise Refusal("jobs must have a jobtype parameter")
        if job.args is None:
            raise Refusal("jobs must have an args parameter")
        if job.reserve_for > MAX_RESERVE:
            raise Refusal("jobs cannot be reserved for more than one day")
        if job.retry is None:
            job.retry = DEFAULT_RETRY
        job.created_at = job.created_at or timestamp(now)
        job.queue = job.queue or "default"
        try:
            due = job.due
        except ValueError as exc:
            raise Refusal(f"invalid timestamp for 'at': {quote(job.at)}: {exc}") from None
        if due is None or due <= now:
            self._check_queue(job.queue)  # a bad name of a scheduled job shows only when it is due
            return None
        return due

    def push(self, job: JobDocument, now: float) -> None:
        """Check a job and store it: in its queue, or in the scheduled set when its `at` is later than `now`."""
        due = self.check(job, now)
        if self.rules is not None:
            job.encode()  # refuses what cannot be written, before anything is changed
            self.rules.admit(job, now)
        if due is not None:
            self.scheduled.add(job.encode(), due)
        else:
            self.enqueue(job, now)

    def enqueue(self, job: JobDocument, now: float) -> None:
        """Put a job at the end of its queue."""
        self._check_queue(job.queue)
        job.enqueued_at = timestamp(now)
        self.enqueue_text(job.queue, job.encode())

    def enqueue_text(self, queue: str, text: bytes) -> None:
        """Put a stored job at the end of `queue`, which is made when it is new."""
        self._queues.setdefault(queue, deque()).append(text)
        self._pushed[queue] = None

    def check_queue_name(self, name: str) -> None:
        """Refuse a name that no queue may have, unless it has one already (storage/redis.go `GetQueue`)."""
        if name in self._queues:
            return
        if not name:
            raise Refusal("queue name cannot be blank")
        if not _QUEUE_NAME.fullmatch(name):
            raise Refusal(r"queue names must match \A[a-zA-Z0-9._-]+\z")

    def _check_queue(self, name: str) -> None:
        try:
            self.check_queue_name(name)
        except Refusal as exc:
            raise Refusal(f"cannot get {quote(name)} queue: {exc.text}") from None

    def take_pushed(self) -> Iterable[str]:
        """Name the queues that got a job since the last call, in order."""
        if not self._pushed:
            return ()
        pushed, self._pushed = self._pushed, {}
        return pushed

    # -- fetching and settling ------------------------------------------------------------------------------

    def unpaused(self, queues: Iterable[str]) -> list[str]:
        """Return those of `queues` that are not paused."""
        return [name for name in queues if name not in self._paused]

    def fetch(self, queues: Iterable[str], wid: str, now: float) -> bytes | None:
        """Reserve the first job of the first of `queues` that has one. Whether they are paused is the caller's care."""
        for name in queues:
            jobs = self._queues.get(name)
            while jobs:
                text = jobs.popleft()
                try:
                    if self._reserve(text, wid, now):
                        return text
                except Exception:
                    self._bury_broken(text, now)
        return None

    def _reserve(self, text: bytes, wid: str, now: float) -> bool:
        job = json.loads(text) if self.rules is None else parse(text)
        if self.rules is not None and not self.rules.may_run(job, now):
            self._ended(text, "expired", now)
            return False
        seconds = integer(job.get("reserve_for", 0)) or DEFAULT_RESERVE
        seconds = min(max(seconds, MIN_RESERVE), MAX_RESERVE)
        reservation = Reservation(job["jid"], text, wid, now, now + seconds)
        held = self._reservations.setdefault(reservation.jid, [])
        if held:  # those of before a FLUSH are overwritten: only what is stored can be settled twice
            held[:] = [each for each in held if each.is_stored]
        held.append(reservation)
        self._keep(reservation)
        return True

    def _keep(self, reservation: Reservation) -> None:
        heapq.heappush(self._expiries, (reservation.expires, next(self._order), reservation))
        reservation.is_stored = True
        self._stored_reservations += 1

    def acknowledge(self, jid: str, now: float) -> bool:
        """Settle a job that succeeded; False, and no error, when nobody holds it (manager/working.go)."""
        reservation = self._release(jid)
        if reservation is None:
            return False
        self.processed += 1
        if self.rules is not None:
            self._tell(self.rules.acknowledged, parse(reservation.text), now)
        return True

    def fail(self, jid: str, errtype: str, message: str, backtrace: list[str], now: float) -> None:
        """Settle a job that failed: it is retried, buried or dropped (manager/retry.go)."""
        if not jid:
            raise Refusal("missing JID")
        held = self._reservations.get(jid)
        was_stored = held[-1].is_stored if held else False
        reservation = self._release(jid)
        if reservation is None:
            raise Refusal(f"Job not found {jid}")
        if was_stored:
            self._end_run(reservation, _cut(errtype, 100), _cut(message, 1000), backtrace[:50], now)

    def _release(self, jid: str) -> Reservation | None:
        """Forget the youngest reservation of `jid`."""
        held = self._reservations.get(jid)
        if not held:
            return None
        reservation = held.pop()
        if not held:
            del self._reservations[jid]
        if reservation.is_stored:
            reservation.is_stored = False  # its entry among the expiries is void
            self._stored_reservations -= 1
            if len(self._expiries) > 2 * self._stored_reservations + 64:
                self._expiries = [entry for entry in self._expiries if entry[2].is_stored]
                heapq.heapify(self._expiries)
        return reservation

    def _end_run(self, reservation: Reservation, errtype: str, message: str, backtrace: list[str], now: float) -> None:
        """Find the place of a job whose run has failed, whatever happens: nobody holds it any more."""
        try:
            self._failed(reservation, errtype, message, backtrace, now)
        except Exception:
            self._bury_broken(reservation.text, now)

    def _failed(self, reservation: Reservation, errtype: str, message: str, backtrace: list[str], now: float) -> None:
        self.failures += 1
        self.processed += 1  # a failed run is a run (storage/history.go)
        job = JobDocument.load(reservation.text)
        retry = DEFAULT_RETRY if job.retry is None else job.retry
        failure = job.failure
        if failure is None:
            failure = job.failure = FailureDocument(failed_at=timestamp(now), remaining=retry)
        else:
            failure.retry_count += 1
            failure.remaining -= failure.remaining > 0
        failure.errtype, failure.message, failure.backtrace = errtype, message, backtrace
        will_retry = failure.retry_count < retry and retry != 0
        if will_retry:
            number = failure.retry_count
            delay = number**4 + 15 + self._jitter.randrange(30) * (number + 1)
            due = max(0.0, min(now + delay, LATEST))
            failure.next_at = timestamp(due)
            self.retries.add(job.encode(), due)
        elif retry != 0:
            self.dead.add(job.encode(), now + DEAD_FOR)
        if self.rules is not None:
            self._tell(self.rules.failed, job, now, will_retry)
        if retry == 0:
            self._ended(reservation.text, "dropped", now)

    def extend(self, jid: str, until: float) -> None:
        """Prolong a reservation; an earlier time or an unknown jid changes nothing (manager/working.go)."""
        held = self._reservations.get(jid)
        if held and held[-1].expires < until:
            held[-1].extended = until

    # -- the end of a job without success -------------------------------------------------------------------

    def discard(self, target: SortedSet, text: bytes, now: float) -> None:
        """Throw away a job of the retries, scheduled or dead set."""
        if target.remove(text):
            # Manually removing the job from the retry queue will not remove the lock: the wiki page Ent-Unique-Jobs.
            self._ended(text, "removed", now, frees_lock=target is not self.retries)

    def kill(self, target: SortedSet, text: bytes, now: float) -> None:
        """Move a job to the dead set."""
        was_dead = target is self.dead
        target.remove(text)
        self.dead.add(text, now + DEAD_FOR)
        if not was_dead:
            self._ended(text, "killed", now)

    def requeue(self, target: SortedSet, text: bytes, now: float) -> None:
        """Put a job of a set back into its queue, as it is: a scheduled one gets no `enqueued_at`."""
        queue = JobDocument.load(text).queue
        self.check_queue_name(queue)
        self.enqueue_text(queue, text)
        target.remove(text)
        if self.rules is not None:
            self._tell(self.rules.requeued, parse(text), now)

    def remove_queue(self, name: str, now: float) -> None:
        """Drop a queue with its jobs, and its pause."""
        jobs = self._queues.pop(name, ())
        self._paused.pop(name, None)
        for text in jobs:
            self._ended(text, "removed", now)

    def _ended(self, text: bytes, how: End, now: float, frees_lock: bool = True) -> None:
        """Tell the rules of a job that has ended without success: every way there is leads through here."""
        if self.rules is not None:
            # One that failed keeps its lock until its time is over, as documented.
            self._tell(self.rules.ended, parse(text), how, frees_lock and how != "dropped", now)

    def _tell(self, station: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a rule. What goes wrong there must not touch the job, which has its place already."""
        try:
            station(*args, **kwargs)
        except Exception:
            _log.exception("the embedded server could not finish %s", getattr(station, "__name__", station))

    def _bury_broken(self, text: bytes, now: float) -> None:
        """Put a job that broke us among the dead, rather than lose it, and go on with the others."""
        _log.exception("a job of %d bytes broke the embedded server, and is now among the dead", len(text))
        self.dead.add(text, now + DEAD_FOR)

    # -- the passing of time --------------------------------------------------------------------------------

    def enqueue_due(self, waiting: SortedSet, now: float) -> int:
        """Move what is due in `scheduled` or `retries` to its queue; how many (manager/scheduler.go)."""
        moved = 0
        while (text := waiting.pop_due(now)) is not None:
            moved += self._enqueue_waiting(text, now)
        return moved

    def _enqueue_waiting(self, text: bytes, now: float) -> bool:
        """Queue a job whose time has come. One whose queue has a bad name is lost, as in the real server."""
        try:
            self.enqueue(JobDocument.load(text), now)
        except Refusal:  # PUSH did not check the name of a scheduled one
            self._ended(text, "dropped", now)
            return False
        except Exception:
            self._bury_broken(text, now)
            return False
        return True

    def expire_reservations(self, now: float) -> int:
        """Fail every job whose reservation has run out; how many (manager/working.go `ReapExpiredJobs`)."""
        expired = 0
        while self._expiries and self._expiries[0][0] <= now:
            expired += self._expire_first(now)
        return expired

    def _expire_first(self, now: float) -> bool:
        """Look at the reservation that ends first; True when its job was failed."""
        reservation = heapq.heappop(self._expiries)[2]
        if not reservation.is_stored:
            return False
        self._stored_reservations -= 1
        if reservation.extended > now:
            reservation.expires = reservation.extended
            self._keep(reservation)
            return False
        reservation.is_stored = False
        held = self._reservations[reservation.jid]
        held.remove(reservation)
        if not held:
            del self._reservations[reservation.jid]
        self._end_run(reservation, "ReservationExpired", "Faktory job reservation expired", [], now)
        return True

    def catch_up(self, now: float) -> dict[str, int]:
        """Do all that is due by `now`, each in its time, as the tasks do it; how many, by task.

        A job whose reservation ends in a jump waits for its retry from that time on, and comes back in the same jump.
        """
        done = {"Busy": 0, "Scheduled": 0, "Retries": 0}
        while True:
            expiry = self._expiries[0][0] if self._expiries else None
            firsts = (
                ("Busy", expiry),
                ("Scheduled", self.scheduled.first_score),
                ("Retries", self.retries.first_score),
            )
            due = [(when, task) for task, when in firsts if when is not None and when <= now]
            if not due:
                return done
            when, task = min(due, key=lambda each: each[0])
            if task == "Busy":
                done[task] += self._expire_first(max(when, self._expiries[0][2].since))
            else:
                text = (self.scheduled if task == "Scheduled" else self.retries).pop_due(when)
                done[task] += text is not None and self._enqueue_waiting(text, when)

    def purge_dead(self, now: float) -> int:
        """Drop the dead jobs whose time is over, and what the rules keep for as long; how many jobs."""
        purged = 0
        while (text := self.dead.pop_due(now)) is not None:
            self._ended(text, "dropped", now)
            purged += 1
        if self.rules is not None:
            self._tell(self.rules.forget, now)
        return purged

    # -- queues and the whole -------------------------------------------------------------------------------

    def pause(self, name: str) -> None:
        """Stop FETCH from taking jobs of `name`; an unknown queue is ignored (manager/fetch.go)."""
        if name in self._queues:
            self._paused[name] = None

    def resume(self, name: str) -> None:
        """Undo `pause`; an unknown queue is ignored."""
        if name in self._queues:
            self._paused.pop(name, None)

    def latency(self, name: str, now: float) -> float:
        """Return how long the oldest job of a queue has waited, in seconds. 0.0 for an empty or unknown one."""
        jobs = self._queues.get(name)
        if not jobs:
            return 0.0
        try:
            # Absent after MUTATE requeue of a scheduled job: an error, as in the real server.
            return now - parse_timestamp(JobDocument.load(jobs[0]).enqueued_at)
        except ValueError as exc:
            raise Refusal(f"QUEUE: {exc}") from None

    def flush(self) -> None:
        """Wipe the jobs. Queue names, pauses and the memory of reservations stay (server/commands.go, FLUSHDB)."""
        for jobs in self._queues.values():
            jobs.clear()
        for jobs_by_time in (self.scheduled, self.retries, self.dead):
            jobs_by_time.clear()
        for _, _, reservation in self._expiries:
            reservation.is_stored = False
        self._expiries.clear()
        self._stored_reservations = 0
        self.processed = 0
        self.failures = 0
        if self.rules is not None:
            self.rules.flushed()

    @property
    def sizes(self) -> dict[str, int]:
        """How many jobs each known queue holds."""
        return {name: len(jobs) for name, jobs in self._queues.items()}

    @property
    def paused(self) -> tuple[str, ...]:
        """The paused queues."""
        return tuple(self._paused)

    @property
    def working_count(self) -> int:
        """How many jobs are reserved."""
        return self._stored_reservations

    @property
    def is_idle(self) -> bool:
        """True when no job is queued or reserved; retries and scheduled jobs wait for their time and do not count."""
        return not self._stored_reservations and not any(self._queues.values())

    def queued(self, name: str) -> list[bytes]:
        """Return a copy of a queue, next job first."""
        return list(self._queues.get(name, ()))

    def reservations(self) -> Iterator[Reservation]:
        """Iterate over a copy of the reservations, oldest first."""
        held = [reservation for every in self._reservations.values() for reservation in every if reservation.is_stored]
        return iter(sorted(held, key=lambda reservation: reservation.since))


def _cut(text: str, size: int) -> str:
    """Trim, and cut to `size` bytes of UTF-8; "unknown" when nothing is left (manager/retry.go `cleanse`)."""
    text = text.strip(_SPACES)
    if not text:
        return "unknown"
    data = text.encode()
    return text if len(data) <= size else clean(data[:size].decode("utf-8", "surrogateescape"))
