"""The thread that goes on telling how a worker is: a health file, and a service manager. Only while the worker lives.

What it says of life is backed by the main loop: while that hangs the watchdog gets no sign, and the file grows old.
"""

from __future__ import annotations

import logging
import threading
from math import inf
from typing import Final

from ..errors import ThreadStartFailed
from ..runtime.ticking import monotonic
from .collecting import Subject
from .health import Healthy, document_of, reason_not_live
from .healthfile import EVERY, HealthFile
from .notify import Notifier

log: logging.Logger = logging.getLogger("faktory.observe")

FASTEST: Final = 0.05
"""Seconds between two rounds at least, however impatient a watchdog is."""
EXTENSION: Final = 10.0
"""Seconds that a service manager is asked for, again and again while jobs end."""
SOON: Final = 0.1
"""Seconds between two rounds until the worker is ready."""


class Teller:
    """Tells of a worker from `start` to `close`."""

    def __init__(self, subject: Subject, file: HealthFile | None, notifier: Notifier) -> None:
        self._subject = subject
        self._file = file
        self._notifier = notifier
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._written_at = -inf
        self._signalled_at = -inf
        self._told_tick: float | None = None
        self._has_failed = False
        watchdog = inf if notifier.watchdog is None else notifier.watchdog
        # Four signs fit into the watchdog's time: one may come late on a busy machine.
        self._every = max(FASTEST, min(EVERY / 5, watchdog / 4))
        self._is_ready = not notifier.is_heard
        subject.pulse.watch(self._every, monotonic())

    def start(self) -> None:
        """Begin. Raises `ThreadStartFailed`."""
        self._thread = threading.Thread(target=self._live, name="faktory-tell", daemon=True)
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as exc:
            raise ThreadStartFailed(f"the thread faktory-tell could not be started ({exc})") from exc

    def close(self) -> None:
        """Say that the worker ends, and take the file away: a clean end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(EVERY)
        self._notifier.stopping()
        self._notifier.close()
        if self._file is not None:
            self._file.remove()

    def _live(self) -> None:
        """Go round until closed. The thread's outermost line."""
        while True:
            try:
                self.look(monotonic())
            except Exception as exc:
                if not self._has_failed:  # once: a disk that is full stays so
                    log.error("how the worker is cannot be told: %s", exc)
                self._has_failed = True
            if self._stopping.wait(self._every if self._is_ready else min(SOON, self._every)):
                return

    def look(self, now: float) -> None:
        """Tell what there is to tell at a moment on the monotonic clock, in seconds."""
        health = self._subject.health()
        is_live = reason_not_live(self._subject.pulse.ages(now)) is None
        if self._notifier.is_heard:
            self._notify(health, is_live=is_live)
        if self._file is not None and is_live and now >= self._written_at + EVERY:
            self._file.write(document_of(health, is_live=True))
            self._written_at = now
            self._has_failed = False

    def _notify(self, health: Healthy, *, is_live: bool) -> None:
        notifier, state = self._notifier, getattr(health.state, "value", health.state)
        if health.is_ready:
            self._is_ready = True
            notifier.ready()
        if state in ("terminating", "terminated"):
            notifier.stopping()
            if is_live:
                notifier.extend(EXTENSION)
        notifier.status(f"{state}: {health.busy} of {health.workers} busy, {health.unreported} outcomes to report")
        ticked_at = self._subject.pulse.ticked_at
        # A sign for the watchdog only when the main loop has gone round since the last one.
        if is_live and ticked_at is not None and ticked_at != self._told_tick:
            self._told_tick = ticked_at
            notifier.alive()
