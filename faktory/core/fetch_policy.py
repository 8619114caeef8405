"""Who may FETCH, who parks, who ends; and how few FETCHes wait on empty queues. Pure: `now` is monotonic seconds.

A FETCH whose client dies takes a job with it for a whole reservation, so idle slots park but for one or two. Each job
that arrives wakes one parked slot before it runs; under load every slot fetches for itself.

A *slot* is whoever fetches: a worker's thread, or a task. The policy knows nothing of it and keeps all that it needs to
know by slot, so any object that can be hashed will do. The shells carry out what it says and tell it what came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from ..options import FETCH_WATCH_PATIENCE, IDLE_FETCH_PATIENCE, IDLE_FETCH_PATIENCE_LIMIT, IDLE_FETCH_ROUND_TRIPS
from .lifecycle import Lifecycle
from .overdue import FetchWatch

S = TypeVar("S", bound=Hashable)


class Step(Enum):
    """What a slot does next."""

    REPORT = auto()
    """Send the outcome alone: no new job is wanted, or the last try was cut off."""
    REPORT_AND_FETCH = auto()
    """Send the outcome and FETCH in one write."""
    FETCH = auto()
    PARK = auto()
    """Wait to be woken."""
    END = auto()


class Aim(Protocol):
    """What the policy asks of a session."""

    @property
    def is_stopping(self) -> bool:
        """True once it ends after what is in hand."""
        ...

    @property
    def until_empty(self) -> bool:
        """True when it ends with the queues."""
        ...


class FetchPolicy(Generic[S]):
    """The FETCHes of one consumer. The caller locks; `is_consuming` and `is_neglected` need no lock.

    `idle_limit` is how many FETCHes may wait that nothing but hope has sent; `watch` is how many seconds a FETCH may be
    unanswered.
    """

    __slots__ = (
        "_asked",
        "_idle",
        "_idle_limit",
        "_lifecycle",
        "_parked",
        "_patience",
        "_reconnecting",
        "_reported",
        "_sent",
        "_starved",
        "_waited",
        "_watch",
        "_woken",
        "answered_at",
        "living",
    )

    def __init__(self, lifecycle: Lifecycle, idle_limit: int, watch: float) -> None:
        self.answered_at: float | None = None
        """When the last FETCH was answered, with or without a job; the session's begin before the first."""
        self.living: set[S] = set()
        """The slots that have not ended."""
        self._lifecycle = lifecycle
        self._idle_limit = idle_limit
        self._patience = IDLE_FETCH_PATIENCE
        self._idle: dict[S, float] = {}  # those that may wait on empty queues, and since when
        self._asked: dict[S, float] = {}  # FETCHes under way, and when they were decided upon
        self._sent: dict[S, float] = {}  # those of them that have left, and when
        self._waited: dict[S, float] = {}  # how long the FETCH of a job just done has waited for it
        self._reported: dict[S, float] = {}  # when an outcome left alone, until its answer is there
        self._woken: set[S] = set()  # allowed one FETCH by a job that came elsewhere
        self._parked: deque[S] = deque()  # jobs are scarce
        self._starved: deque[S] = deque()  # places for jobs are scarce
        self._reconnecting: set[S] = set()
        self._watch: FetchWatch[S] = FetchWatch(watch, FETCH_WATCH_PATIENCE)

    def begin(self, slots: Iterable[S], now: float) -> None:
        """Begin a session with these slots, and forget those of the last one."""
        for each in (self._idle, self._asked, self._sent, self._waited, self._reported):
            each.clear()
        for some in (self._woken, self._reconnecting, self._parked, self._starved):
            some.clear()
        self.living = set(slots)
        self.answered_at = now

    # -- what a slot asks, and tells ------------------------------------------------------------------------------

    def next_step(
        self,
        slot: S,
        session: Aim,
        now: float,
        *,
        has_outcome: bool = False,
        is_cut: bool = False,
        has_room: bool = True,
    ) -> Step:
        """Return what to do: report first, fetch while jobs are wanted, else park or end.

        `has_outcome` tells of one that this slot is to report, `is_cut` that the last exchange of this slot was lost,
        `has_room` that there is a place for one more job.
        """
        wants_jobs = self._lifecycle.may_fetch and not session.is_stopping
        woken, idle, waited = self._woken, self._idle, self._waited.get(slot)
        is_woken = slot in woken
        if is_woken:
            woken.discard(slot)
        elif wants_jobs and session.until_empty and not has_outcome and waited is None and self._asked:
            wants_jobs = False  # that FETCH tells whether the queues are empty; another would put the end off by 2 s
        if wants_jobs and has_room and not (has_outcome and is_cut):
            has_idle_place = len(idle) < self._idle_limit
            if is_woken or has_idle_place or (waited is not None and self._is_busy(now, waited)):
                if has_idle_place:
                    idle[slot] = now
                self._asked[slot] = now
                if waited is not None:
                    del self._waited[slot]
                return Step.REPORT_AND_FETCH if has_outcome else Step.FETCH
        ending = session.is_stopping or self._lifecycle.is_ending
        return self._without_fetch(slot, now, has_outcome, is_cut, ending, wants_jobs and not has_room)

    def _is_busy(self, now: float, waited: float) -> bool:
        """Tell whether a slot that has just done a job may fetch for itself.

        Not when its own FETCH had `waited` for a while, or an idle one has: then the queues are empty, and it would
        only wait, too.
        """
        return waited < self._patience and now - next(iter(self._idle.values())) < self._patience

    def _without_fetch(
        self, slot: S, now: float, has_outcome: bool, is_cut: bool, ending: bool, is_starved: bool
    ) -> Step:
        self._idle.pop(slot, None)
        if not is_starved:
            self._waited.pop(slot, None)
        reported_at = self._reported.pop(slot, None)
        if has_outcome:
            if not is_cut:
                self._reported[slot] = now
            return Step.REPORT
        if reported_at is not None and not is_cut:  # else the answer never came
            self.measure(now - reported_at)
        if ending:
            return Step.END
        (self._starved if is_starved else self._parked).append(slot)
        return Step.PARK

    def measure(self, round_trip: float) -> None:
        """Note how many seconds the server's answer to a report took: the least that a FETCH takes in any case.

        With less patience than that, slots far from the server would share one FETCH a round trip under load.
        """
        self._patience = min(max(IDLE_FETCH_PATIENCE, IDLE_FETCH_ROUND_TRIPS * round_trip), IDLE_FETCH_PATIENCE_LIMIT)

    def leaves(self, slot: S, now: float) -> None:
        """Note that a slot's FETCH is about to be sent."""
        self._sent[slot] = now

    def got_job(self, slot: S, now: float, *, has_room: bool = True) -> S | None:
        """Note that a FETCH has brought a job. Returns whom to wake for the next one; `has_room` as in `next_step`."""
        self.answered_at = now
        self._idle.pop(slot, None)
        self._sent.pop(slot, None)
        self._waited[slot] = now - self._asked.pop(slot, now)
        return self._wake(self._parked.popleft(), now) if self._parked and has_room else None

    def got_nothing(self, slot: S, now: float) -> None:
        """Note the end of a FETCH without a job."""
        self.answered_at = now
        self.lost(slot)

    def lost(self, slot: S) -> None:
        """Note that a slot's FETCH, if it has sent one, will have no answer."""
        self.withdraw(slot)
        self._waited.pop(slot, None)

    def withdraw(self, slot: S) -> None:
        """Note that a slot sends no FETCH now after all."""
        self._idle.pop(slot, None)
        self._asked.pop(slot, None)
        self._sent.pop(slot, None)

    def yield_place(self, slot: S) -> None:
        """Note that a slot sends no FETCH yet, and keeps its place for a job: it waits for what is to run that."""
        self._idle.pop(slot, None)

    def reconnects(self, slot: S) -> None:
        """Note that a slot cannot go on until something is there: a connection, or a child process."""
        self._reconnecting.add(slot)

    def has_reconnected(self, slot: S) -> None:
        """Note that a slot has what it waited for, or waits no more."""
        self._reconnecting.discard(slot)

    def has_ended(self, slot: S) -> None:
        """Note that a slot asks for no more steps."""
        self.lost(slot)
        self._woken.discard(slot)
        self._reconnecting.discard(slot)
        self.living.discard(slot)

    # -- whom to wake ---------------------------------------------------------------------------------------------

    def _wake(self, slot: S, now: float) -> S:
        self._woken.add(slot)
        # Its place is taken from now on: else the slot that has its job could be done with that first, and fetch, too.
        if len(self._idle) < self._idle_limit:
            self._idle[slot] = now
        return slot

    def successor(self, now: float, is_able: Callable[[S], bool]) -> S | None:
        """Return whom to wake in the place of one that cannot fetch now: a parked slot that `is_able` to; or None."""
        if len(self._idle) >= self._idle_limit:
            return None
        slot = next(filter(is_able, self._parked), None)
        if slot is None:
            return None
        self._parked.remove(slot)
        return self._wake(slot, now)

    def wake_all(self) -> list[S]:
        """Return everybody who is to look at what has changed; that allows nobody a FETCH."""
        slots = [*self._parked, *self._starved]
        self._parked.clear()
        self._starved.clear()
        return slots

    def has_place(self) -> S | None:
        """Return whom to wake now that there is a place for one more job."""
        return self._starved.popleft() if self._starved else None

    # -- what is true of all ---------------------------------------------------------------------------------------

    @property
    def fetching(self) -> int:
        """How many FETCHes are under way, or about to leave."""
        return len(self._asked)

    def may_get_job(self, slot: S) -> bool:
        """Tell whether a slot may be about to get a job."""
        return slot in self._asked or slot in self._woken

    def is_reconnecting(self, slot: S) -> bool:
        """Tell whether a slot waits for a connection, or a child process."""
        return slot in self._reconnecting

    @property
    def has_all_left(self) -> bool:
        """True when every slot has ended, or only tries to connect."""
        return self.living <= self._reconnecting

    # -- the watch over it -----------------------------------------------------------------------------------------

    def next_look(self, *, cuts: bool = True) -> float:
        """Return when the watch wants to look again. `cuts` as the caller uses `overdue`."""
        return self._watch.next_look(dict(self._sent) if cuts else {})

    def overdue(self, now: float) -> list[tuple[S, float]]:
        """Return whose FETCH hangs and is to be cut, and for how many seconds it was not answered."""
        sent = dict(self._sent)  # a slot notes without the lock that its FETCH leaves
        hanging = self._watch.overdue(sent, now) if self._lifecycle.may_fetch else []
        return [(slot, now - sent[slot]) for slot in hanging]

    def neglected(self, now: float) -> S | None:
        """Return a parked slot that nobody else would wake, though jobs are wanted; None while all is as it should."""
        return self._wake(self._parked.popleft(), now) if self.is_neglected(now) else None

    def is_neglected(self, now: float, *, has_room: bool = True) -> bool:
        """Tell whether there is one: parked slots, and nobody who fetches, is about to, or tries to, for long."""
        is_idle = bool(self._parked) and has_room and self._lifecycle.may_fetch
        under_way = self._asked or self._woken or self._reconnecting
        return self._watch.is_neglected(now, is_idle=is_idle and not under_way)

    def is_consuming(self, now: float) -> bool:
        """Tell whether jobs are taken, or nobody is free to take one."""
        is_anyone_free = bool(self._parked) or bool(self._reconnecting)
        return self._watch.is_consuming(
            dict(self._sent), is_anyone_free=is_anyone_free, answered_at=self.answered_at, now=now
        )
