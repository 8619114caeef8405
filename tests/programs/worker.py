"""A worker process for the tests of signals and restarts: `python -m tests.programs.worker URL QUEUE [options]`.

Prints a line for each event, so that a test can wait for it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time

from faktory import ConsumerBuilder, Job


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # one write: threads do not share lines


def nap(job: Job) -> None:
    say("start", job.jid)
    time.sleep(job.args[0] if job.args else 0)
    say("done", job.jid)


def stubborn(job: Job) -> None:
    say("start", job.jid)
    limit = time.monotonic() + job.args[0]
    while time.monotonic() < limit:
        try:
            time.sleep(0.05)
        except Exception:
            say("ignored", job.jid)


def obedient(job: Job) -> None:
    say("start", job.jid)
    limit = time.monotonic() + job.args[0]
    while time.monotonic() < limit:
        time.sleep(0.01)


def boom(job: Job) -> None:
    say("start", job.jid)
    raise ValueError("no good")


def start_slowly() -> None:
    say("starting")
    time.sleep(float(os.environ["STARTUP"]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=25.0)
    parser.add_argument("--beat", type=float, default=15.0)
    parser.add_argument("--wid")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    builder = (
        ConsumerBuilder()
        .register("nap", nap)
        .register("stubborn", stubborn)
        .register("obedient", obedient)
        .register("boom", boom)
        .workers(options.workers)
        .shutdown_timeout(options.timeout)
        .heartbeat_interval(options.beat)
        .on_shutdown(lambda: say("shutdown"))
    )
    if options.wid:
        builder.wid(options.wid)
    if "STARTUP" in os.environ:
        builder.on_startup(start_slowly)
    consumer = builder.connect(options.url)
    say("ready", consumer.wid)
    consumer.run_to_completion([options.queue])


if __name__ == "__main__":
    main()
