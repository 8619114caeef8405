"""Blocking consumers that run in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn

import faktory.consumer
from faktory import (
    Consumer,
    ConsumerBuilder,
    Job,
)
from faktory.runtime.exiting import end_process
from faktory.server import Server

COMPLETING: Final = "run-to-completion"


class _Ended(Exception):
    """Raised in our threads where the process would end."""


def _end(code: int, *, at_once: bool) -> NoReturn:
    if threading.current_thread().name == COMPLETING:
        raise _Ended(code)
    end_process(code, at_once=at_once)


setattr(faktory.consumer, "end_process", _end)  # noqa: B010 (it is not ours to declare)


class Completing:
    """`run_to_completion` in a thread; of the end of the process only `code` is left."""

    def __init__(self, consumer: Consumer, queues: Any = ("default",)) -> None:
        self.consumer = consumer
        self.code: int | None = None
        self._queues = queues
        self._thread = threading.Thread(target=self._run, name=COMPLETING)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.consumer.run_to_completion(self._queues)
        except _Ended as ended:
            (self.code,) = ended.args

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert self.code is not None


class Persistent:
    """A consumer that runs to completion, of jobs called "work"."""

    def __init__(self, server: Server, workers: int = 4, builder: ConsumerBuilder | None = None) -> None:
        self.done: list[str] = []
        self.handler: Callable[[Job], object] | None = None
        builder = (builder or ConsumerBuilder()).register("work", self._work).workers(workers)
        self.consumer: Consumer = builder.connect(server.url)
        self._run = Completing(self.consumer)

    def _work(self, job: Job) -> None:
        if self.handler is not None:
            self.handler(job)
        self.done.append(job.jid)

    def join(self) -> None:
        self._run.join()
        self.consumer.close()


class InThread:
    """A `run` in a thread of its own."""

    def __init__(self, consumer: Consumer, queues: Any = ("default",)) -> None:
        self.consumer = consumer
        self.error: BaseException | None = None
        self.busy: int | None = None
        self._queues = queues
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.busy = self.consumer.run(self._queues)
        except BaseException as exc:
            self.error = exc

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def end(server: Server, run: InThread) -> None:
    """Terminate a run, without the 2 s of a FETCH that waits."""
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()
