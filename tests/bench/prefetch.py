"""A prototype of a worker that takes several jobs a round trip, beside ours; here "bare" is our worker without it.

Each thread sends the acknowledgements of the jobs that it has done, and as many FETCHes, in one write. It is no part of
the package: a job that waits behind another in a busy thread is nobody else's, on an empty queue each FETCH of a round
waits its 2 s before the ones behind it, and what a worker has taken when it dies comes again only when its reservation
ends, for all of them.
"""

from __future__ import annotations

import threading

from faktory import Job
from faktory.commands import Ack, Fetch
from faktory.connection import Connection
from faktory.options import FETCH_TIMEOUT
from faktory.protocol.handshake import Identity
from tests.bench.contest import CPU, JOBS, Contest
from tests.bench.subjects import Meter, Result, main

_AHEAD = (2, 10)


def contests(jobs: int) -> list[Contest]:
    """Return the contests: some jobs a round trip, in one thread and in ten, nearby and far away."""
    found = []
    for latency, share in ((0.0, 1), (0.005, 10), (0.020, 20)):
        for threads in (1, 10):
            count = jobs // share // (1 if threads > 1 or not latency else 4)
            where = f"{latency * 1e3:.0f} ms away, {threads} thread{'s'[: threads > 1]}"
            found += [
                Contest(
                    f"{ahead} jobs a round trip, {where}", "prefetch:drain", "subjects:drain",
                    {"count": count, "threads": threads, "ahead": ahead}, (JOBS, CPU), count,
                    bare_parameters={"count": count, "threads": threads}, spare=_AHEAD[-1] * threads + 100,
                    latency=latency, is_dear=latency > 0,
                )
                for ahead in _AHEAD
            ]  # fmt: skip
    return found


def drain(url: str, queue: str, count: int, threads: int, ahead: int) -> Result:
    meter = Meter(count)
    workers = [threading.Thread(target=_work, args=[url, queue, ahead, meter]) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return meter.result()


def _work(url: str, queue: str, ahead: int, meter: Meter) -> None:
    fetch = Fetch([queue])
    identity = Identity("prefetch", 1, f"prefetch-{threading.get_ident():x}", ("prefetch",))
    with Connection(url, identity=identity, timeout=FETCH_TIMEOUT) as connection:
        done: list[Ack] = []
        while not meter.enough.is_set():
            connection.send(b"".join([ack.line for ack in done]) + fetch.line * ahead, len(done) + ahead)
            for ack in done:
                ack.decode(connection.receive())
            jobs: list[Job | None] = [fetch.decode(connection.receive()) for _ in range(ahead)]
            done = []
            for job in jobs:
                if job is not None:
                    meter(job)
                    done.append(Ack(job.jid))


if __name__ == "__main__":
    main(globals())
