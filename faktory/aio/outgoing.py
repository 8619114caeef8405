"""The order in which outcomes leave, and in which pieces. Pure: `now` is monotonic seconds.

Outcomes never sent may leave ahead of a FETCH. One whose answer was lost goes without a FETCH behind it, and one that
the server refuses waits for its next try. All of them are in the outbox until they are settled or given up.
"""

from __future__ import annotations

from collections import deque

from ..core.ledger import is_too_late
from ..core.outbox import Outbox, Outcome, Verdict
from ..options import REPORT_BATCH, REPORT_BYTES


class Outgoing:
    """The outcomes of one consumer on their way to the server."""

    __slots__ = ("_again", "_fresh", "_later", "outbox")

    def __init__(self, outbox: Outbox) -> None:
        self.outbox: Outbox = outbox
        self._fresh: deque[Outcome] = deque()  # never sent
        self._again: deque[Outcome] = deque()  # sent, but the answer was lost
        self._later: list[Outcome] = []  # refused by the server, for now

    @property
    def has_fresh(self) -> bool:
        """True while some may leave ahead of a FETCH."""
        return bool(self._fresh)

    @property
    def has_refused(self) -> bool:
        """True while some wait for the server to take them after all."""
        return bool(self._later)

    @property
    def is_idle(self) -> bool:
        """True when there is none but those that the server refuses."""
        return len(self.outbox) == len(self._later)

    def carry_over(self) -> None:
        """Begin anew with what has not been confirmed."""
        self._fresh.clear()
        self._again = deque(self.outbox.waiting())
        self._later.clear()

    def add(self, outcome: Outcome) -> None:
        """Have an outcome of the outbox sent for the first time."""
        self._fresh.append(outcome)

    def add_again(self, outcomes: list[Outcome]) -> None:
        """Have outcomes sent again whose answers were lost."""
        self._again.extend(outcomes)

    def take_fresh(self, now: float) -> tuple[list[Outcome], list[Outcome]]:
        """Return those that leave ahead of a FETCH, and those given up: it is too late to send them."""
        return self._take(self._fresh, now, is_cut=False)

    def take_any(self, now: float) -> tuple[list[Outcome], list[Outcome]]:
        """Return those that leave by themselves, first the ones that were sent already, and those given up."""
        if self._later:
            self._again.extend(outcome for outcome in self._later if outcome.not_before <= now)
            self._later = [outcome for outcome in self._later if outcome.not_before > now]
        taken, given_up = self._take(self._again, now, is_cut=True)
        if not taken:
            taken, more = self._take(self._fresh, now, is_cut=False)
            given_up += more
        return taken, given_up

    def _take(self, waiting: deque[Outcome], now: float, *, is_cut: bool) -> tuple[list[Outcome], list[Outcome]]:
        taken: list[Outcome] = []
        given_up: list[Outcome] = []
        size = 0
        while waiting and len(taken) < REPORT_BATCH and size < REPORT_BYTES:
            outcome = waiting.popleft()
            if is_too_late(outcome, now, is_cut=is_cut):
                self.outbox.give_up(outcome)
                given_up.append(outcome)
            else:
                taken.append(outcome)
                size += len(outcome.command.line)
        return taken, given_up

    def refuse(self, outcome: Outcome, text: str, now: float) -> Verdict:
        """Note an error reply: the outcome is sent again later, unless the error is final."""
        verdict = self.outbox.refuse(outcome, text, now)
        if verdict is not Verdict.FINAL:
            self._later.append(outcome)
        return verdict

    def next_in(self, now: float) -> float:
        """Return the seconds until a refused outcome is sent again, infinite without one."""
        return max(0.0, min((outcome.not_before for outcome in self._later), default=float("inf")) - now)
