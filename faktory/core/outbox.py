"""Outcomes that the server has not confirmed. Pure: `now` is monotonic seconds.

An outcome is put here before anything is sent, and leaves when the server has answered for it, or when keeping it can
do no good. A job's handler is never run again to get its outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ..commands import Ack, Fail
from ..options import REFUSED_REPORT_FIRST, REFUSED_REPORT_LIMIT, SAY_AGAIN

_DEFINITIVE: Final = ("job not found", "invalid ", "unknown command")
"""How errors begin that will be the same next time: what was sent is at fault, not the server's state."""


class Verdict(Enum):
    """What becomes of an outcome that the server has answered with an error."""

    AGAIN = auto()
    """It is sent once more, from its `not_before` on."""
    NEWS = auto()
    """The same, and worth saying: the last such line was long ago."""
    FINAL = auto()
    """It is given up."""


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of a job: the command to send. `deadline` is when its reservation ends at the server.

    One that was refused waits until `not_before`.
    """

    command: Ack | Fail
    deadline: float
    refusals: int = 0
    not_before: float = 0.0

    @property
    def jid(self) -> str:
        """The job's id."""
        return self.command.jid

    def put_off(self, now: float) -> None:
        """Note that it was refused, and wait: longer each time."""
        self.not_before = now + min(REFUSED_REPORT_FIRST * 2.0 ** min(self.refusals, 60), REFUSED_REPORT_LIMIT)
        self.refusals += 1

    def may_be_sent(self, now: float) -> bool:
        """Tell whether the outcome still means this run of the job.

        Past the reservation the server may have handed the job to another worker, which a FAIL would hit.
        An ACK is true whoever gets it: the job was done.
        """
        return now < self.deadline or isinstance(self.command, Ack)


class Outbox:
    """The outcomes not confirmed yet, by jid. The caller locks."""

    __slots__ = ("_said_at", "_waiting", "given_up")

    def __init__(self) -> None:
        self._waiting: dict[str, Outcome] = {}
        self._said_at = float("-inf")
        self.given_up: int = 0
        """Outcomes that the server never confirmed: refused for good, or too late."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def unreported(self) -> int:
        """Outcomes that the server has not confirmed: those that wait, and those given up."""
        return len(self._waiting) + self.given_up

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome until it is settled or given up."""
        self._waiting[outcome.command.jid] = outcome

    def waiting(self) -> list[Outcome]:
        """Return the outcomes, oldest first; a later one of the same job has the place of the earlier."""
        return list(self._waiting.values())

    def settle(self, outcome: Outcome) -> None:
        """Forget an outcome that the server has confirmed."""
        jid = outcome.command.jid
        # The same jid may have come a second time, with an outcome of its own.
        if self._waiting.get(jid) is outcome:
            del self._waiting[jid]

    def give_up(self, outcome: Outcome) -> None:
        """Forget an outcome that is not sent any more, and count it."""
        self.settle(outcome)
        self.given_up += 1

    def refuse(self, outcome: Outcome, text: str, now: float) -> Verdict:
        """Note that the server has answered an outcome with an error, and tell what becomes of it.

        A storage that fails for a moment, a proxy, a later server's middleware: all may accept it a little later. Only
        an error about the command itself is final, and the end of the reservation, when the job is another's.
        """
        if now >= outcome.deadline or text.lower().startswith(_DEFINITIVE):
            self.give_up(outcome)
            return Verdict.FINAL
        outcome.put_off(now)
        if now - self._said_at < SAY_AGAIN:
            return Verdict.AGAIN
        self._said_at = now
        return Verdict.NEWS
