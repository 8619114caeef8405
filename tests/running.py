"""Blocking consumers that run in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from faktory import (
    Consumer,
    ConsumerBuilder,
    Job,
)
from faktory.core.queues import order_of
from faktory.core.session import Session
from faktory.server import Server


class Persistent:
    """What `run_to_completion` does, without the end of the process."""

    def __init__(self, server: Server, workers: int = 4, builder: ConsumerBuilder | None = None) -> None:
        self.done: list[str] = []
        self.handler: Callable[[Job], object] | None = None
        builder = (builder or ConsumerBuilder()).register("work", self._work).workers(workers)
        self.consumer: Consumer = builder.connect(server.url)
        self._session = Session(order_of(["default"]), is_persistent=True, until_empty=False)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self.consumer._working():
            self.consumer._work(self._session)

    def _work(self, job: Job) -> None:
        if self.handler is not None:
            self.handler(job)
        self.done.append(job.jid)

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()
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
