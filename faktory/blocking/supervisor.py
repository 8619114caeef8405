"""What the thread that waits in `run` does: it launches the workers, hears of signals, and sees to a careful end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ..core.ending import Act, Ending, wind_down
from ..core.failure import cut_off
from ..core.lifecycle import State
from ..core.session import Session, log_cut_off
from ..errors import ThreadStartFailed
from ..runtime.launch import launch
from ..runtime.signals import Signals, Wish
from ..runtime.ticking import monotonic
from .stacks import dump_stacks
from .state import ConsumerState
from .worker import Worker

log: logging.Logger = logging.getLogger("faktory.consumer")


class Supervisor:
    """Runs one session at a time to its end. `on_quiet()` is called whenever jobs are not taken any more."""

    def __init__(self, state: ConsumerState, on_quiet: Callable[[], None]) -> None:
        self._state = state
        self._on_quiet = on_quiet
        self._signals = Signals()
        self._workers: Sequence[Worker] = ()

    @property
    def forced_by(self) -> int:
        """The number of the signal that has allowed no more time; 0 while none has."""
        return self._signals.forced_by

    def run(self, session: Session, workers: Iterable[Worker]) -> KeyboardInterrupt | None:
        """Run a session, each worker in a thread. Blocks; returns the last KeyboardInterrupt that struck."""
        state = self._state
        interrupt = self._launch(session, workers)
        ending = Ending(state.lifecycle, session, state.options.shutdown_timeout, leaves_jobs=True)
        while True:
            try:
                self._wait(session, ending)
                return interrupt
            except KeyboardInterrupt as exc:
                (state.door.force if interrupt else state.door.terminate)("signal")
                interrupt = exc

    def _launch(self, session: Session, workers: Iterable[Worker]) -> KeyboardInterrupt | None:
        """Start the threads, and let them begin when all are there and what came meanwhile has been heard.

        Returns the KeyboardInterrupt that struck in here, after which nothing is fetched.
        """
        state, gate = self._state, threading.Event()
        self._workers = launched = []
        try:
            for number, worker in enumerate(workers, 1):
                launch(f"faktory-worker-{number}", partial(worker.run, gate))
                launched.append(worker)
            while self._take_mail(0.0):
                pass
        except ThreadStartFailed as exc:
            log.error("%s", exc)
            state.stop(session, exc)
        except KeyboardInterrupt as exc:
            state.door.terminate("signal")
            return exc
        finally:
            state.begin_session(worker.slot for worker in launched)
            gate.set()
        return None

    def _wait(self, session: Session, ending: Ending) -> None:
        """Wait for the workers to end; cut them off when their time is up."""
        state = self._state
        while True:
            state.lifecycle.pulse.tick(monotonic())
            if state.lifecycle.state is not State.RUNNING:
                self._on_quiet()
            if ending.is_pointless:
                state.stop(session)
            act, seconds = ending.next(monotonic(), is_settled=state.is_settled(session))
            if act is Act.WAIT:
                self._take_mail(seconds)
                continue
            if act is Act.CUT_OFF:
                log_cut_off(state.cancel_running())
                state.wait_wound_down(wind_down(self.forced_by))
                for job in state.left_behind():
                    if state.hooks.watch is not None:
                        state.hooks.watch.ended(job, 0.0, cut_off())
                    state.hooks.failed(job, cut_off())
            return

    # -- signals ------------------------------------------------------------------------------------------------

    def note_signal(self, signum: int, at: float) -> None:
        """Have a signal heard soon. For signal handlers: safe whatever was interrupted."""
        self._state.mailbox.put((signum, at))

    def note_waking(self, _signum: int, _at: float) -> None:
        """Have somebody look at what a signal has changed."""
        self._state.look_again()

    def _take_mail(self, seconds: float) -> bool:
        """Wait for a signal, or for something to look at. Returns False when there was none in time."""
        letters = self._state.take_mail(seconds)
        for mail in letters:
            if mail is not None:
                self._obey(self._signals.meaning(*mail))
        return bool(letters)

    def _obey(self, wish: Wish) -> None:
        match wish:
            case Wish.DUMP:
                dump_stacks(self._workers)
            case Wish.QUIET:
                self._state.door.quiet()
            case Wish.FORCE:
                self._state.door.force("signal")
            case Wish.TERMINATE:
                self._state.door.terminate("signal")
            case Wish.NOTHING:
                pass
