"""A thread that sees to the end of the process when the event loop cannot: a handler blocks it.

The loop's own way is always the better one, and is given its time: the guard asks the loop for a sign of life, and acts
only when none comes. Jobs that run then are failed, and what is not reported yet is reported, as far as a second
allows; hooks are not called.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress

from ..commands import Fail
from ..core.ledger import cut_off_report
from ..core.outbox import Outcome
from ..errors import FaktoryError
from ..options import FORCED_EXIT, WIND_DOWN
from ..runtime.signals import Signals, Wish
from ..runtime.ticking import boottime, monotonic
from .state import ConsumerState

log: logging.Logger = logging.getLogger("faktory.consumer")

_ASK_AGAIN = 0.25
"""Seconds between two questions to a loop that answers."""


class Guard:
    """Watches the loop from the moment in which it is told to end. `signalled` is called by the signals' thread."""

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        self._signals = Signals()  # of its own: it sees them when they come, the loop when it comes to it
        self._news = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._live, name="faktory-guard", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._state.guarded_by(self._news.set)
        self._thread.start()

    def close(self) -> None:
        """End the watch: all has ended as it should."""
        self._is_over = True
        self._news.set()
        self._thread.join()

    def signalled(self, signum: int, at: float) -> None:
        """Note a signal, and have the loop look at it."""
        state = self._state
        state.call_soon(state.mail.ring)
        wish = self._signals.meaning(signum, at)
        if wish is Wish.TERMINATE and not self._is_loop_alive(_ASK_AGAIN):
            state.door.terminate("signal")  # so that the jobs can know of it
        self._news.set()

    def _live(self) -> None:
        """Watch until the end. The thread's outermost line."""
        lifecycle = self._state.lifecycle
        while True:
            is_forced = self._signals.forced_by != 0
            left = 0.0 if is_forced else lifecycle.deadline - monotonic()
            if left > 0 or not lifecycle.is_ending:
                self._news.wait(min(left, threading.TIMEOUT_MAX))
            elif self._is_loop_alive(FORCED_EXIT if is_forced else WIND_DOWN):
                self._news.wait(_ASK_AGAIN)
            elif not self._is_over:
                self._end_process(self._signals.forced_by)
            self._news.clear()
            if self._is_over:
                return

    def _is_loop_alive(self, patience: float) -> bool:
        answer = threading.Event()
        self._state.call_soon(answer.set)
        return answer.wait(patience)

    def _end_process(self, signum: int) -> None:
        last = threading.Thread(target=self._say_the_last, name="faktory-last-words", daemon=True)
        with suppress(RuntimeError):  # no thread is to be had
            last.start()
            last.join(FORCED_EXIT)
        os._exit(128 + signum if signum else 1)

    def _say_the_last(self) -> None:
        """Report and log, in a thread that can be left: both can take for ever."""
        outcomes = self._outcomes()
        with suppress(FaktoryError, OSError):
            connection = self._state.connect(FORCED_EXIT)
            for outcome in outcomes:
                connection.call(outcome.command)
            connection.close()
        log.error(
            "the event loop is blocked and cannot end the jobs; ending without it, %d jobs cut off",
            sum(isinstance(outcome.command, Fail) for outcome in outcomes),
        )
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()

    def _outcomes(self) -> list[Outcome]:
        state, now = self._state, boottime()
        with state.lock:
            timers = [task.timer for task in state.jobs.holders]
        running = [
            Outcome(cut_off_report(timer.job.jid), timer.expires_at)
            for timer in timers
            if timer.job is not None and not timer.is_cut_off
        ]
        return [each for each in [*state.ledger.outbox.waiting(), *running] if each.may_be_sent(now)]
