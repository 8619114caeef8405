"""A worker that does nothing but handling jobs: `python -m examples.worker`, and `... push` for a job.

Both use the server at FAKTORY_URL, or the one whose variable FAKTORY_PROVIDER names, else localhost:7419. The worker
reconnects when it loses the server, and ends when the server's Web UI, Ctrl-C or TERM says so.
"""

from __future__ import annotations

import sys

from faktory import Client, ConsumerBuilder, Job


def foobar(job: Job) -> None:
    """Returning is success; what it raises is reported to the server, which has the job run again later."""
    print(f"{job!r} {job.args}", flush=True)


def main() -> None:
    consumer = (
        ConsumerBuilder()
        .register("foobar", foobar)
        .labels("python", "example")  # for the server's Web UI
        .workers(4)  # jobs at a time, each in a thread
        .connect()  # tries once, so that a wrong URL is seen at once
    )
    consumer.run_to_completion(["default"])  # ends the process; `run` is for finer control, `run_one` for a single job


def push() -> None:
    with Client() as client:
        print(client.push(Job("foobar", [1, "two"])), flush=True)


if __name__ == "__main__":
    push() if sys.argv[1:] == ["push"] else main()
