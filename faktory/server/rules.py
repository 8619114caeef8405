"""What a store and those who add to it say to one another: refusals, reservations, the stations of a job. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .documents import JobDocument

End = Literal["expired", "removed", "dropped", "killed"]
"""How a job ends without success: its time was over when it was fetched; somebody removed it; it failed and is not to
be run again, or nobody has asked for it in the dead set; somebody sent it to the dead set."""


class Refusal(Exception):
    """What the server says no to: the text of the error reply, and its code."""

    def __init__(self, text: str, code: str = "ERR") -> None:
        super().__init__(text)
        self.text = text
        self.code = code

    @property
    def in_bulk(self) -> str:
        """The text in PUSHB's reply, where only codes other than ERR are written."""
        return self.text if self.code == "ERR" else f"{self.code} {self.text}"


@dataclass(slots=True, eq=False)
class Reservation:
    """A job in the hands of a worker. Times are seconds since 1970."""

    jid: str
    text: bytes
    wid: str
    since: float
    expires: float
    extended: float = 0.0
    is_stored: bool = True  # False after FLUSH, which forgets the job but not that it may be acknowledged


class Rules(Protocol):
    """What Faktory Enterprise adds at the stations of a job's life; `server/enterprise.py` has them."""

    def admit(self, job: JobDocument, now: float) -> None:
        """Called before a pushed job is stored; may raise `Refusal`, and has then changed nothing."""

    def may_run(self, job: dict[str, Any], now: float) -> bool:
        """Called when a job leaves its queue; False throws it away, which is told by `ended`."""
        ...

    def acknowledged(self, job: dict[str, Any], now: float) -> None:
        """Called after a job succeeded."""

    def failed(self, job: JobDocument, now: float, will_retry: bool) -> None:
        """Called after a run failed, when the job waits for its retry or is dead."""

    def ended(self, job: dict[str, Any], how: End, frees_lock: bool, now: float) -> None:
        """Called after a job has ended without success."""

    def requeued(self, job: dict[str, Any], now: float) -> None:
        """Called after somebody put a job back into its queue."""

    def forget(self, now: float) -> None:
        """Called each minute: what is past its time can go."""

    def flushed(self) -> None:
        """Called when everything was wiped."""
