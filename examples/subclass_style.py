"""A worker that is customised by overriding methods: `python -m examples.subclass_style`, and `... push` for two jobs.

    $ FAKTORY_ISOLATION=process python -m examples.subclass_style  # in child processes, each with its `setup_child`

Uses the server at FAKTORY_URL, else localhost:7419.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from faktory import Client, ConsumerBuilder, Job


class Worker:
    """The base: override what should be different. Class methods, as child processes find them by their names."""

    queues: ClassVar[list[str]] = ["default"]
    jobs: ClassVar[dict[str, Callable[[Job], Any]]] = {}

    @classmethod
    def setup_child(cls) -> None:
        """Called in each child process before its first job, where there are any."""

    @classmethod
    def handle_failure(cls, job: Job, error: BaseException) -> None:
        """Called after a job has raised. It is run again by the server, as its `retry` says: nothing to push here."""

    @classmethod
    def is_running(cls) -> bool:
        """Asked after each job; False ends the worker."""
        return True

    def start(self) -> NoReturn:
        builder = ConsumerBuilder().workers(2).on_child_start(self.setup_child).on_failure(self.handle_failure)
        for jobtype, handler in self.jobs.items():
            builder.register(jobtype, handler)
        builder.stop_when(lambda: not self.is_running()).connect().run_to_completion(self.queues)


def greet(job: Job) -> None:
    print(f"hello {job.args[0]}", flush=True)


def fail(_: Job) -> None:
    raise ValueError("it went wrong")


class MyWorker(Worker):
    jobs = {"greet": greet, "fail": fail}  # noqa: RUF012  # annotated above

    @classmethod
    def setup_child(cls) -> None:
        print(f"process {os.getpid()} establishes its database connection", flush=True)

    @classmethod
    def handle_failure(cls, job: Job, error: BaseException) -> None:
        print(f"background job failed: {job!r}: {error!r}", flush=True)  # or tell the exception tracker


if __name__ == "__main__":
    if sys.argv[1:] == ["push"]:
        with Client() as client:
            client.push(Job("fail", retry=3))
            client.push(Job("greet", ["Ada"]))
    else:
        MyWorker().start()
