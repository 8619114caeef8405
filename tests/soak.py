"""Run for long and watch what grows: `python -m tests.soak --jobs 1000000 --reconnects 1000 [--real]`.

No-op jobs through a proxy that cuts all connections now and then. Every 100,000 jobs a line: jobs/s, resident memory,
descriptors, threads. Ends with exit code 1 when, after the first 100,000 jobs, memory grew by 1 MB or more per 100,000
(least squares), or descriptors or threads are more than at the start.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
from pathlib import Path

from faktory import Client, ConsumerBuilder, Job, JobFilter
from faktory.core.queues import order_of
from faktory.core.session import Session
from faktory.runtime.memory import resident_kb
from tests.program import Program
from tests.proxy import Proxy
from tests.real_server import RealServer

STEP = 100_000


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def slope(points: list[tuple[int, float]]) -> float:
    """Return the growth per 100,000 jobs, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return STEP * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--reconnects", type=int, default=1_000)
    parser.add_argument("--real", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.real:
        with RealServer() as real, Proxy(real.port) as proxy:
            return soak(options, real.url, proxy)
    # In a process of its own, so that its memory is not counted with ours.
    with Program("faktory", "server", "--bind", "127.0.0.1:0", env={**os.environ, "FAKTORY_PASSWORD": ""}) as program:
        program.expect("Faktory server")
        url = next(word for word in program.lines[0].split() if word.startswith("tcp://"))
        with Proxy(int(url.rpartition(":")[2])) as proxy:
            return soak(options, url, proxy)


def soak(options: argparse.Namespace, url: str, proxy: Proxy) -> int:
    done = 0

    def count(job: Job) -> None:
        nonlocal done
        done += 1  # one bytecode too many to be exact with threads, and near enough here

    consumer = ConsumerBuilder().register("noop", count).workers(4).connect(proxy.url)
    session = Session(order_of(["soak"]), is_persistent=True, until_empty=False)
    worker = threading.Thread(target=consumer._work, args=[session])
    worker.start()
    points: list[tuple[int, float]] = []
    states: list[tuple[int, int]] = []
    pushed = cuts = 0
    started = time.monotonic()
    with Client(url) as client:
        for step in range(STEP, options.jobs + STEP, STEP):
            begun = time.monotonic()
            while (seen := consumer._state.ledger.tally().total) < min(step, options.jobs) - 50:
                if pushed - seen < 5_000 and pushed < options.jobs:
                    client.push_bulk(Job("noop", [1], queue="soak", reserve_for=60) for _ in range(5_000))
                    pushed += 5_000
                elif pushed >= options.jobs and time.monotonic() - begun > 600:
                    break
                if seen * options.reconnects > cuts * options.jobs:
                    cuts += 1
                    proxy.reset_all()
                if cuts % 50 == 0:
                    client.requeue("retries", JobFilter.everything())
                time.sleep(0.02)
            state = (descriptors(), threading.active_count())
            states.append(state)
            memory = (resident_kb() or 0) / 1024
            points.append((consumer._state.ledger.tally().total, memory))
            rate = STEP / (time.monotonic() - begun)
            print(
                f"{consumer._state.ledger.tally().total} jobs, {rate:,.0f} jobs/s, {memory:.1f} MB, "
                f"{state[0]} descriptors, "
                f"{state[1]} threads, "
                f"{cuts} cuts, {consumer.health().reconnects} connections lost",
                flush=True,
            )
    consumer.terminate()
    worker.join(30)
    consumer.close()
    growth = slope(points[1:]) if len(points) > 2 else 0.0
    print(f"{time.monotonic() - started:.0f} s; memory grew by {growth:.2f} MB per 100,000 jobs")
    last = points[-1][0]
    # The proxy's side of a connection that was cut a moment ago may still be counted.
    leaks = states[-1][0] > states[0][0] + 8 or states[-1][1] > states[0][1]
    return 1 if growth >= 1 or leaks or last < options.jobs * 0.99 else 0


if __name__ == "__main__":
    raise SystemExit(main())
