"""What a worker's thread shares with others: its job, its outcome, and how it can be interrupted.

Each field says who writes it. What several threads may write is written under the lock of the consumer's state.
"""

from __future__ import annotations

import threading
from typing import Protocol

from ..core.job_timer import JobTimer
from ..core.ledger import is_too_late
from ..core.outbox import Outcome
from ..core.run import Run
from ..isolation import interrupter


class Hands(Protocol):
    """What others ask of the thread that has a slot. Any thread may call these."""

    @property
    def is_connected(self) -> bool:
        """True when it has a connection that has not been found broken."""
        ...

    @property
    def can_be_killed(self) -> bool:
        """True when its job runs in a child process."""
        ...

    def interrupt(self) -> None:
        """Make the exchange under way fail."""
        ...

    def cancel_child(self) -> None:
        """Kill the child that runs its job."""
        ...

    def dump_child(self) -> int:
        """Have its child write its stacks to stderr. Returns the child's pid, 0 without one."""
        ...


class Slot:
    """The place of one job: waiting, running, or done and not yet reported."""

    __slots__ = (
        "_interruption",
        "current",
        "hands",
        "is_cut",
        "is_telling",
        "outcome",
        "thread_id",
        "timer",
        "wake",
    )

    def __init__(self, hands: Hands) -> None:
        self.hands: Hands = hands
        self.timer: JobTimer = JobTimer()
        """Of the job in hand."""
        self.outcome: Outcome | None = None
        """The outcome that its thread is to report."""
        self.is_cut: bool = False
        """True after an exchange was cut off: the outcome goes alone, and first."""
        self.is_telling: bool = False
        """True while hooks are told of a failure whose report waits for them."""
        self.wake: threading.Event = threading.Event()
        """Wakes its thread when it is parked."""
        self.thread_id: int = 0
        self.current: Run | None = None
        """The run of the job in hand, from its begin until its handler was left: only then may it be interrupted."""
        self._interruption: Exception | None = None  # what another thread wants to have raised in that handler

    # -- by its own thread ----------------------------------------------------------------------------------------

    def live_in(self, thread_id: int) -> None:
        """Note which thread it belongs to."""
        self.thread_id = thread_id

    def leave(self) -> Exception | None:
        """End the time in which the job may be interrupted, and take back what was not raised. Returns what that was.

        An interrupt is set only while `current` is the run and `enter` is on the stack, and noted before. So when this
        has looked, none is left that could be raised later.
        """
        self.current = None
        if self._interruption is not None:
            interrupter.take_back(self.thread_id)
        return self._interruption

    def telling(self, *, is_telling: bool) -> None:
        """Note that hooks are told of a failure now, or no more."""
        self.is_telling = is_telling

    def was_reported(self) -> None:
        """Note that an exchange has gone well."""
        self.is_cut = False

    # -- under the lock -------------------------------------------------------------------------------------------

    def begin(self, run: Run | None) -> None:
        """Begin a job; one that nothing runs has no run.

        An outcome still here is one that was answered with this job behind it. One that was refused stays in the
        outbox, from where it is sent once more without waiting for this job to end.
        """
        self.outcome = None
        self.is_cut = False
        self._interruption = None
        self.current = run

    def owe(self, outcome: Outcome) -> None:
        """Have its thread report an outcome."""
        self.outcome = outcome
        self.is_cut = False

    def settle(self) -> None:
        """Owe nothing any more: it was reported, or is left to others."""
        self.outcome = None

    def hand_over(self) -> None:
        """Leave a report that waits for hooks to the heartbeat, at the shutdown's end."""
        if self.is_telling:
            self.outcome = None

    def cut(self) -> None:
        """Note that an exchange was cut off."""
        self.is_cut = True

    def drop_late(self, now: float) -> Outcome | None:
        """Let go of an outcome that the server should not get any more, and return it."""
        outcome = self.outcome
        if outcome is None or not is_too_late(outcome, now, is_cut=self.is_cut):
            return None
        self.outcome = None
        return outcome

    def interrupt(self, error: Exception) -> None:
        """Have the handler end by an exception: one, whatever else comes."""
        run = self.current
        if run is not None and self._interruption is None:
            self._interruption = error  # before it can be raised: whoever raises it takes back what is left of it
            run.cancel()
            if not self.hands.can_be_killed:  # else its runner keeps the limit
                interrupter.request(self, run, error)
