"""A worker that stays alive whatever its jobs do: `python -m examples.forking_worker`, and `... push` for three jobs.

Each job runs in a process of its own, which is new: one that crashes, or hangs past its time limit and is killed, fails
alone, is reported, and run again later. Uses the server at FAKTORY_URL, else localhost:7419.
"""

from __future__ import annotations

import os
import sys

import faktory

app = faktory.App()


@app.job(name="example.say-hello", queue="example")
def say_hello(name: str) -> None:
    print(f"Hello {name}! from process {os.getpid()}", flush=True)


@app.job(name="example.crash", queue="example", timeout=30, retry=3)
def crash() -> None:
    os._exit(3)  # as a bug in a library written in C would end it


def report(job: faktory.Job, error: BaseException) -> None:
    """Runs in the worker for a job whose process is gone."""
    print(f"{job.jobtype} failed: {type(error).__name__}", flush=True)


def main() -> None:
    builder = app.consumer().processes(2, max_jobs_per_child=1).on_failure(report)
    builder.connect().run_to_completion()  # the queues of the app's jobs


if __name__ == "__main__":  # the children import this module, and must not start workers of their own
    if sys.argv[1:] == ["push"]:
        crash.enqueue()
        say_hello.enqueue("Ada")
        say_hello.enqueue("Grace")
    else:
        main()
