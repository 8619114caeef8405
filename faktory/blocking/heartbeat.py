"""The thread that beats until the very end of the drain, on a connection of its own, never on one with a FETCH.

Between beats it reports the outcomes no worker owns any more, and watches the running jobs' time limits. While the
server cannot be reached a time limit may be noticed late, by up to the connection's time-outs (10 s).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ..commands import Beat, is_unknown_worker
from ..core.backoff import Backoff
from ..core.lifecycle import Lifecycle
from ..core.outage import Outage, least_delay
from ..core.outbox import Outcome
from ..errors import ConnectFailed, ConnectionLost, HandshakeError, ProtocolError, ServerError
from ..options import HEARTBEAT_PATIENCE, REPLY_TIMEOUT, ConsumerOptions
from ..runtime.launch import launch
from ..runtime.logs import LateLog
from ..runtime.logs import close as close_log
from ..runtime.memory import resident_kb
from ..runtime.ticking import boottime, monotonic
from .connection import Connection
from .duties import Duties

log: LateLog = LateLog("faktory.heartbeat")


class Errands(Protocol):
    """What is to be done between beats. Called by the heartbeat's thread."""

    options: ConsumerOptions
    lifecycle: Lifecycle
    wake: threading.Event
    outage: Outage

    def next_alarm_in(self, beat_in: float) -> float: ...

    def sound_alarms(self) -> None: ...

    def watch_fetches(self) -> None: ...

    def server_says(self, wanted: str | None) -> None: ...


class Heartbeat:
    """Keeps the server told that the worker lives. Owns the consumer's steady connection.

    `connect` opens it, given its reply timeout in seconds. `reports` has the outcomes that no worker owns; None where
    every outcome has an owner. `memory` tells how many kB the worker holds, with all its processes.
    """

    def __init__(
        self,
        duties: Errands,
        connect: Callable[[float], Connection],
        reports: Duties | None = None,
        memory: Callable[[], int | None] = resident_kb,
    ) -> None:
        self._duties = duties
        self._connect = connect
        self._memory = memory
        self._reports = reports
        self.beaten_at: float | None = None
        """When the server last answered a beat, or HELLO, which counts as one."""
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._backoff = Backoff()
        self._is_down = False
        self._failed_at = 0.0
        self._is_proven = False  # has the connection carried an exchange?
        self._quiet_until = 0.0  # no report of orphans before: the last one failed
        self._report_at = float("inf")  # when the first of the refused orphans is sent again

    @property
    def is_connected(self) -> bool:
        """True when the connection looks usable."""
        return self._connection is not None and self._connection.is_usable()

    @property
    def server(self) -> str:
        """The server's address, for people."""
        return "no server" if self._connection is None else str(self._connection.address)

    def connect(self) -> None:
        """Open the connection, or replace it. Only while the heartbeat is stopped. Raises what `Connection` raises."""
        self._drop()
        self._connection = self._connect(REPLY_TIMEOUT)
        self.beaten_at = monotonic()

    def start(self) -> None:
        """Begin to beat. Raises `ThreadStartFailed`."""
        # An event for each thread: one that outlived its `stop` must not go on with its successor's.
        self._stopping = threading.Event()
        self._thread = launch("faktory-heartbeat", partial(self._live, self._stopping))

    def stop(self) -> None:
        """Stop beating; the connection stays open. An exchange under way is left to itself after a second."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            self._duties.wake.set()
            thread.join(HEARTBEAT_PATIENCE)
            if thread.is_alive():
                self._drop()
        close_log(HEARTBEAT_PATIENCE)

    def close(self) -> None:
        """Say END and close the connection."""
        self.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def report_orphans(self, *, only_due: bool = False) -> None:
        """Send the outcomes that no worker is going to send, once. Raises what breaks the exchange; the rest is kept.

        With `only_due`, those that the server has refused wait for their time.
        """
        reports = self._reports
        self._report_at = float("inf")
        if reports is None:
            return
        for outcome in reports.orphans():
            now = boottime()
            if not outcome.may_be_sent(now):
                reports.orphan_dropped(outcome)
            elif only_due and now < outcome.not_before:
                self._report_at = min(self._report_at, outcome.not_before)
            else:
                self._report(reports, outcome)

    def _report(self, reports: Duties, outcome: Outcome) -> None:
        try:
            self._opened().call(outcome.command)
        except ServerError as exc:
            reports.orphan_refused(outcome, exc)
        else:
            reports.orphan_settled(outcome)

    def _live(self, stopping: threading.Event) -> None:
        """Beat until stopped. The thread's outermost line."""
        duties, lifecycle = self._duties, self._duties.lifecycle
        while not stopping.is_set():
            try:
                now = monotonic()
                lifecycle.pulse.round(now)
                report_in = max(0.0, self._report_at - boottime(), self._quiet_until - now)
                duties.wake.wait(min(duties.next_alarm_in(self._beat_in(now)), report_in))
                duties.wake.clear()
                duties.sound_alarms()
                duties.watch_fetches()
                if self._is_down and duties.outage.reached_at > self._failed_at:
                    self._quiet_until = 0.0
                    lifecycle.beat_at_once(monotonic())
                if self._beat_in(monotonic()) <= 0:
                    self._beat()
                if monotonic() >= self._quiet_until:
                    self.report_orphans(only_due=True)
            except (ConnectFailed, ConnectionLost, HandshakeError, ProtocolError) as exc:
                self._note_loss(exc)
            except Exception:
                log.exception("heartbeat failed")
                self._note_loss(None)

    def _beat_in(self, now: float) -> float:
        """Return the seconds until the next beat; one that needs a new connection waits until a refusal is over."""
        beat_in = self._duties.lifecycle.beat_in(now)
        return beat_in if self._connection is not None else max(beat_in, self._duties.outage.refused_until - now)

    def _beat(self) -> None:
        lifecycle = self._duties.lifecycle
        told = lifecycle.beat_state
        command = Beat(self._duties.options.wid, current_state=told, rss_kb=self._memory())
        try:
            wanted = self._opened().call(command)
        except ServerError as exc:
            if not is_unknown_worker(exc):
                log.warning("BEAT was answered with an error: %.500a", str(exc))
                lifecycle.beat_sent(monotonic(), told)
                return
            # The server has forgotten us: a new HELLO with the same wid heals that (server/workers.go).
            self._drop()
            wanted = self._opened().call(command)
        self.beaten_at = monotonic()
        lifecycle.beat_sent(self.beaten_at, told)
        self._backoff.reset()
        self._quiet_until = 0.0
        if not self._is_proven:
            self._is_proven = True
            self._duties.outage.note_reached()
        if self._is_down:
            self._is_down = False
            log.info("heartbeat works again")
        self._duties.server_says(wanted)

    def _opened(self) -> Connection:
        connection = self._connection
        if connection is None or not connection.is_usable():
            self._drop()
            self._connection = connection = self._connect(REPLY_TIMEOUT)
        return connection

    def _note_loss(self, exc: Exception | None) -> None:
        self._drop()
        now = monotonic()
        delay = self._backoff.next_delay(0.0 if exc is None else least_delay(exc))
        self._quiet_until = now + delay
        self._failed_at = now
        if exc is not None:
            self._duties.outage.note_unreachable(exc)
        self._duties.lifecycle.beat_failed(now, delay)
        if not self._is_down and exc is not None:
            self._is_down = True
            log.warning("heartbeat cannot reach the server, trying again: %s", exc)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._is_proven = False
        if connection is not None:
            connection.abort()
