"""An observer and handlers that child processes can import. What is seen in them goes into the journal, a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faktory
from faktory import Discard, Job, Retry
from faktory.observe import Observer, Outcome, Pushing
from faktory.observe.observer import ConnectionEvent, Place


def note(*words: object) -> None:
    with Path(os.environ["TEST_JOURNAL"]).open("ab", buffering=0) as file:
        file.write((" ".join(map(str, words)) + "\n").encode())


class Recorder(Observer):
    """Keeps what it is told in memory; what is seen where the handler runs, in the journal."""

    def __init__(self) -> None:
        self.settlements: list[tuple[str, str]] = []
        self.details: list[tuple[float, float | None, BaseException | None]] = []
        self.events: list[str] = []
        self.pushes: list[int] = []
        self.place: Place | None = None

    def attached(self, place: Place) -> None:
        self.place = place

    @contextmanager
    def pushing(self, jobs: Pushing) -> Generator[None, None, None]:
        self.pushes.append(len(jobs))
        for job in jobs:
            job.custom = {**(job.custom or {}), "seen": True}
        yield
        self.pushes.append(-len(jobs.refused))

    @contextmanager
    def working(self, job: Job) -> Generator[None, None, None]:
        wid = None if self.place is None else self.place.wid
        note("enter", job.jobtype, os.getpid(), wid)
        try:
            yield
        except BaseException as exc:
            note("raised", job.jobtype, type(exc).__name__)
            raise
        finally:
            note("leave", job.jobtype)

    def settled(
        self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
    ) -> None:
        self.settlements.append((job.jobtype, outcome))
        self.details.append((seconds, waited, exc))

    def connection(self, event: ConnectionEvent) -> None:
        self.events.append(event)

    def flush(self) -> None:
        note("flush", os.getpid())


class Hostile(Observer):
    """Raises in everything."""

    def working(self, job: Job) -> Any:
        raise ValueError("working")

    def settled(
        self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
    ) -> None:
        raise SystemExit(1)


def succeed(job: Job) -> None:
    note("run", "succeed")


async def succeed_async(job: Job) -> None:
    note("run", "succeed_async")


def fail(job: Job) -> None:
    raise ValueError("no")


def discard(job: Job) -> None:
    raise Discard("no more")


def retry(job: Job) -> None:
    raise Retry(in_=60)


def nap(job: Job) -> None:
    note("start", job.jid)
    time.sleep(job.args[0])


def crash(job: Job) -> None:
    os._exit(7)


def skip_some(job: Job, call_next: Callable[..., Any]) -> Any:
    return None if job.jobtype == "skipped" else call_next()


app = faktory.App()
recorder = Recorder()


@app.job(queue="typed", discard_on=(KeyError,), retry_on=(IndexError,))
def typed(kind: str) -> None:
    if kind == "discard":
        raise KeyError(kind)
    if kind == "retry":
        raise IndexError(kind)
