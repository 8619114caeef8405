"""What a test may look at: jobs and workers as they are now, read-only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from ..job import Job


class Jobs(Sequence[Job]):
    """The jobs of one place of a server, next one first. Always up to date; iterating goes over a copy.

    >>> assert [job.jobtype for job in server.queue("default")] == ["resize"]
    >>> assert len(server.dead) == 0
    """

    def __init__(self, name: str, texts: Callable[[], list[bytes]]) -> None:
        self.name = name
        self._texts = texts

    @property
    def texts(self) -> list[bytes]:
        """The JSON documents as they are stored."""
        return self._texts()

    @property
    def jids(self) -> list[str]:
        """The jobs' ids."""
        return [job.jid for job in self]

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Job: ...

    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...

    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        found = self.texts[index]
        return [_job(text) for text in found] if isinstance(found, list) else _job(found)

    def __iter__(self) -> Iterator[Job]:
        return map(_job, self.texts)

    def __repr__(self) -> str:
        return f"<Jobs {self.name!r} {len(self)}>"


def _job(text: bytes) -> Job:
    return Job.from_document(json.loads(text))


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the server sees it. `state` is "running", "quiet" or "terminate".

    >>> for worker in server.workers:
    ...     print(worker.wid, worker.hostname, worker.state)
    """

    wid: str
    hostname: str
    pid: int
    labels: tuple[str, ...]
    state: str
    rss_kb: int
    connections: int
    started_at: datetime
    last_beat: datetime


@dataclass(frozen=True, slots=True)
class ReservationView:
    """Who holds a job, since when and until when.

    >>> for reservation in server.reservations:
    ...     print(reservation.jid, "until", reservation.expires_at)
    """

    jid: str
    wid: str
    reserved_at: datetime
    expires_at: datetime
