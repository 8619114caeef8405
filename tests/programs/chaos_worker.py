"""The worker of the chaos run: `python -m tests.programs.chaos_worker FRONT URL QUEUE JOURNAL`.

FRONT is threads, asyncio or trio. Writes a line to the journal for each thing that happens to a job, in one write each,
so that the account is true to the last moment even when the process is killed: started, returned, raised, settled (the
server has confirmed it).
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
import zlib
from typing import Any

from faktory import ConsumerBuilder, Job
from faktory.core.ledger import Ledger
from faktory.core.outbox import Outcome


class Journal:
    """What happens to jobs here, a line each."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, event: str, jid: str, detail: object = "-") -> None:
        os.write(self._file, f"{os.getpid()} {time.time():.6f} {event} {jid} {detail}\n".encode())

    def start(self, job: Job) -> float:
        """Note a job's start; return how many seconds it takes."""
        self.note("started", job.jid, f"{job.attempt}:{job.failure.errtype if job.failure else '-'}")
        return zlib.crc32(job.jid.encode()) % 4 / 1000

    def end(self, job: Job) -> None:
        """Note a job's end, and raise what it raises."""
        if zlib.crc32(job.jid.encode()) % 25 == 0 and job.attempt == 1:
            self.note("raised", job.jid)
            raise ValueError("one in twenty-five fails the first time")
        self.note("returned", job.jid)

    def listen(self) -> None:
        """Note what the server confirms: that is no event that users see, so listen where it is recorded."""
        settle = Ledger.settle

        def note_settled(ledger: Ledger, outcome: Outcome, now: float) -> None:
            self.note("settled", outcome.jid)
            settle(ledger, outcome, now)

        Ledger.settle = note_settled  # type: ignore[assignment,method-assign]


def run_in_threads(builder: ConsumerBuilder, journal: Journal, url: str, queue: str) -> None:
    def work(job: Job) -> None:
        time.sleep(journal.start(job))
        journal.end(job)

    builder.register("chaos", work)
    while True:
        try:
            consumer = builder.connect(url)
            break
        except Exception:
            time.sleep(0.05)  # the server may be away just now: a supervisor would start us again
    journal.note("ready", "-")
    consumer.run_to_completion([queue])


async def run_on_loop(loop: Any, builder: ConsumerBuilder, journal: Journal, url: str, queue: str) -> None:
    async def work(job: Job) -> None:
        await loop.sleep(journal.start(job))
        journal.end(job)

    builder.register("chaos", work)
    connect = builder.connect_trio if loop.__name__ == "trio" else builder.connect_asyncio
    while True:
        try:
            consumer = await connect(url)
            break
        except Exception:
            await loop.sleep(0.05)
    journal.note("ready", "-")
    await consumer.run_to_completion([queue])


def main() -> None:
    front, url, queue, path = sys.argv[1:5]
    logging.basicConfig(level=logging.WARNING)
    journal = Journal(path)
    journal.listen()
    builder = ConsumerBuilder().workers(8).heartbeat_interval(2).shutdown_timeout(10)
    if front == "threads":
        run_in_threads(builder, journal, url, queue)
        return
    loop = importlib.import_module(front)
    if front == "trio":
        loop.run(run_on_loop, loop, builder, journal, url, queue)
    else:
        loop.run(run_on_loop(loop, builder, journal, url, queue))


if __name__ == "__main__":
    main()
