"""The worker of the chaos run: `python -m tests.programs.chaos_worker URL QUEUE JOURNAL`.

Writes a line to the journal for each thing that happens to a job, in one write each, so that the account is true to
the last moment even when the process is killed: started, returned, raised, settled (the server has confirmed it).
"""

from __future__ import annotations

import logging
import os
import sys
import time
import zlib

from faktory import ConsumerBuilder, Job
from faktory.crew import Crew
from faktory.outbox import Outcome


def main() -> None:
    url, queue, path = sys.argv[1:4]
    journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    logging.basicConfig(level=logging.WARNING)

    def note(event: str, jid: str, detail: object = "-") -> None:
        os.write(journal, f"{os.getpid()} {time.time():.6f} {event} {jid} {detail}\n".encode())

    def work(job: Job) -> None:
        errtype = job.failure.errtype if job.failure else "-"
        note("started", job.jid, f"{job.attempt}:{errtype}")
        chance = zlib.crc32(job.jid.encode())
        time.sleep(chance % 4 / 1000)
        if chance % 25 == 0 and job.attempt == 1:
            note("raised", job.jid)
            raise ValueError("one in twenty-five fails the first time")
        note("returned", job.jid)

    # The server's confirmation is no event that users see: the journal listens where it is recorded.
    settled, orphan_settled = Crew.settled, Crew.orphan_settled

    def note_settled(self: Crew, worker: object, outcome: Outcome) -> None:
        note("settled", outcome.jid)
        settled(self, worker, outcome)  # type: ignore[arg-type]

    def note_orphan_settled(self: Crew, outcome: Outcome) -> None:
        note("settled", outcome.jid)
        orphan_settled(self, outcome)

    Crew.settled = note_settled  # type: ignore[method-assign]
    Crew.orphan_settled = note_orphan_settled  # type: ignore[method-assign]

    consumer = ConsumerBuilder().register("chaos", work).workers(8).heartbeat_interval(2).shutdown_timeout(10)
    while True:
        try:
            connected = consumer.connect(url)
            break
        except Exception:
            time.sleep(0.05)  # the server may be away just now: a supervisor would start us again
    note("ready", "-")
    connected.run_to_completion([queue])


if __name__ == "__main__":
    main()
