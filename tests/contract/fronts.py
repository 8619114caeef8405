"""The kinds of consumer behind one face that blocks, for the contract suite."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from faktory import Consumer, ConsumerBuilder, Summary
from faktory.consumer import Queues

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here waits that long when it works."""


class Running(Protocol):
    """A consumer at work."""

    consumer: Any

    def wait(self) -> int:
        """Return what `run` returned, or raise what it raised."""
        ...


class Front(Protocol):
    def start(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Running: ...

    def drain(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Summary: ...

    def run_one(self, builder: ConsumerBuilder, url: str, queues: Queues) -> bool: ...


class ThreadRun:
    def __init__(self, consumer: Consumer, queues: Queues) -> None:
        self.consumer = consumer
        self._result: int | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(queues,), name="test-run")
        self._thread.start()

    def _run(self, queues: Queues) -> None:
        try:
            self._result = self.consumer.run(queues)
        except BaseException as exc:
            self._error = exc

    def wait(self) -> int:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the consumer did not end"
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result


class ThreadFront:
    def start(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Running:
        return ThreadRun(builder.connect(url), queues)

    def drain(self, builder: ConsumerBuilder, url: str, queues: Queues) -> Summary:
        with builder.connect(url) as consumer:
            return consumer.drain(queues)

    def run_one(self, builder: ConsumerBuilder, url: str, queues: Queues) -> bool:
        with builder.connect(url) as consumer:
            return consumer.run_one(queues)
