"""Outcomes that the server has not confirmed. Pure: `now` is monotonic seconds.

An outcome is put here before anything is sent, and leaves when the server has answered for it, or when keeping it can
do no good. A job's handler is never run again to get its outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

from .commands import Ack, Fail


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of a job: the command to send. `deadline` is when its reservation ends at the server."""

    command: Ack | Fail
    deadline: float
    refusals: int = 0

    @property
    def jid(self) -> str:
        """The job's id."""
        return self.command.jid

    def may_be_sent(self, now: float) -> bool:
        """Tell whether the outcome still means this run of the job.

        Past the reservation the server may have handed the job to another worker, which a FAIL would hit.
        An ACK is true whoever gets it: the job was done.
        """
        return now < self.deadline or isinstance(self.command, Ack)


class Outbox:
    """The outcomes not confirmed yet, by jid. The caller locks."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, Outcome] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome until it is settled or given up."""
        self._waiting[outcome.command.jid] = outcome

    def waiting(self) -> list[Outcome]:
        """Return the outcomes, oldest first; a later one of the same job has the place of the earlier."""
        return list(self._waiting.values())

    def settle(self, outcome: Outcome) -> None:
        """Forget an outcome that the server has confirmed, or that was given up."""
        jid = outcome.command.jid
        # The same jid may have come a second time, with an outcome of its own.
        if self._waiting.get(jid) is outcome:
            del self._waiting[jid]

    def refuse(self, outcome: Outcome) -> bool:
        """Note an error reply. Returns True to send once more, False when given up (the server will not change)."""
        outcome.refusals += 1
        if outcome.refusals < 2:
            return True
        self.settle(outcome)
        return False
