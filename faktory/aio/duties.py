"""What the heartbeat's thread does for an async consumer between beats: alarms, and the watch over FETCHes."""

from __future__ import annotations

import threading

from ..core.failure import overran
from ..core.job_timer import Alarm
from ..core.lifecycle import Lifecycle
from ..core.outage import Outage
from ..core.session import log_late
from ..options import ConsumerOptions
from ..runtime.logs import LateLog
from ..runtime.ticking import boottime, monotonic
from .state import ConsumerState

log: LateLog = LateLog("faktory.watch")  # the heartbeat's thread must not wait


class Duties:
    """The errands of the heartbeat. None blocks. Every outcome has an owner here: the tasks that report."""

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        self.options: ConsumerOptions = state.options
        self.lifecycle: Lifecycle = state.lifecycle
        self.outage: Outage = state.outage
        self.wake: threading.Event = state.heartbeat_wake

    def next_alarm_in(self, beat_in: float) -> float:
        """Return the seconds until the heartbeat has something to do, at most `beat_in`."""
        now = monotonic()
        with self._state.lock:
            return max(
                0.0, self._state.jobs.next_look(min(now + beat_in, self._state.fetches.next_look(cuts=False))) - now
            )

    def sound_alarms(self) -> None:
        """Warn of jobs that come near the end of their reservations, and interrupt those past their time limits."""
        with self._state.lock:
            late = self._state.jobs.due(monotonic(), boottime())
        for alarm, task, job, seconds in late:
            log_late(alarm, job, seconds)
            if alarm is Alarm.LIMIT:
                task.interrupt(overran(task.timer.limit))

    def watch_fetches(self) -> None:
        """Recover from what must not happen: idle fetchers that nobody wakes (P13).

        A FETCH that hangs is left to its connection, whose time limit needs no heartbeat.
        """
        if self._state.fetches.is_neglected(monotonic(), has_room=self._state.free > 0):
            log.error("no FETCH was sent for %.0f s, though jobs are wanted", self._state.options.fetch_watch)
            self._state.call_soon(self._state.look_again)

    def server_says(self, wanted: str | None) -> None:
        """Obey the answer to a BEAT."""
        self._state.door.server_says(wanted)
