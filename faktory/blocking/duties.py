"""What the heartbeat's thread does for a consumer between beats: alarms, the watch, and outcomes that nobody owns."""

from __future__ import annotations

import threading

from ..core.failure import overran
from ..core.job_timer import Alarm
from ..core.lifecycle import Lifecycle
from ..core.outage import Outage
from ..core.outbox import Outcome
from ..core.session import log_given_up, log_late
from ..errors import ServerError
from ..options import ConsumerOptions
from ..runtime.logs import LateLog
from ..runtime.ticking import boottime, monotonic
from .state import ConsumerState

log: LateLog = LateLog("faktory.watch")  # the heartbeat's thread must not wait


class Duties:
    """The errands of the heartbeat. None blocks; each takes the lock of the consumer's state for a moment."""

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        self.options: ConsumerOptions = state.options
        self.lifecycle: Lifecycle = state.lifecycle
        self.outage: Outage = state.outage
        self.wake: threading.Event = state.heartbeat_wake

    def orphans(self) -> list[Outcome]:
        """Return the outcomes that no living worker is going to report."""
        with self._state.lock:
            return self._state.ledger.orphans({id(slot.outcome) for slot in self._state.fetches.living})

    def next_alarm_in(self, beat_in: float) -> float:
        """Return the seconds until the heartbeat has something to do, at most `beat_in`."""
        now = monotonic()
        with self._state.lock:
            return max(0.0, self._state.jobs.next_look(min(now + beat_in, self._state.fetches.next_look())) - now)

    def sound_alarms(self) -> None:
        """Warn of jobs that come near the end of their reservations, and interrupt those past their time limits."""
        with self._state.lock:
            late = self._state.jobs.due(monotonic(), boottime())
            for alarm, slot, _, _ in late:
                if alarm is Alarm.LIMIT:
                    slot.interrupt(overran(slot.timer.limit))
        for alarm, _, job, seconds in late:
            log_late(alarm, job, seconds)

    def watch_fetches(self) -> None:
        """Recover from what must not happen: a FETCH that hangs, or idle workers that nobody wakes (P13)."""
        now = monotonic()
        with self._state.lock:
            hanging = self._state.fetches.overdue(now)
            woken = self._state.fetches.neglected(now)
        for slot, seconds in hanging:
            log.error("a FETCH was not answered for %.0f s; cutting its connection", seconds)
            slot.hands.interrupt()
        if woken is not None:
            log.error("no worker has sent a FETCH for %.0f s, though jobs are wanted", self._state.options.fetch_watch)
            woken.wake.set()

    def orphan_settled(self, outcome: Outcome) -> None:
        """Note that the server has confirmed an outcome that no worker owns."""
        with self._state.lock:
            self._state.ledger.settle(outcome, monotonic())
            self._state.changed.notify_all()
        self._state.look_again()

    def orphan_dropped(self, outcome: Outcome) -> None:
        """Note that an outcome that no worker owns is too late to be sent."""
        with self._state.lock:
            self._state.ledger.outbox.give_up(outcome)
            self._state.changed.notify_all()
        self._state.look_again()
        log_given_up(outcome)

    def orphan_refused(self, outcome: Outcome, error: ServerError) -> None:
        """Note that the server has answered such an outcome with an error: it is sent again later, unless final."""
        self._state.refused(None, outcome, error)

    def server_says(self, wanted: str | None) -> None:
        """Obey the answer to a BEAT."""
        self._state.door.server_says(wanted)
