"""A consumer for tests: it runs what the server has, raises what jobs raise, and leaves nothing running."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from copy import copy
from dataclasses import replace
from typing import Any, Final, Self

from .. import override
from ..app import App
from ..builder import ConsumerBuilder
from ..consumer import Consumer
from ..core.callables import is_async
from ..core.queues import Queues
from ..core.standing import Summary
from ..errors import ConfigurationError
from .children import note_failure
from .jobs import described
from .serving import Serving

PATIENCE: Final = 30.0
"""Seconds that a drain may take."""
WIND_DOWN: Final = 1.0
"""Seconds that jobs get to end when the test is over."""
NOTHING: Final = Summary(0, 0, 0.0)


class Worker:
    """Runs the jobs of an app or a builder on the test's server. Connects when first used; a context manager.

    `queues` are those of the drains that name none; when None, those in which the test's server has jobs, or, on a real
    server, those of the app. Async handlers run on an asyncio loop of their own, or on the test's by `adrain`.

    >>> with serve(), Worker(app) as worker:
    ...     resize.enqueue("cat.png")
    ...     assert worker.drain().succeeded == 1
    """

    def __init__(self, runs: App | ConsumerBuilder, queues: Queues | None = None) -> None:
        active = override.active()
        if not isinstance(active, Serving):
            raise ConfigurationError("a test's worker needs a server; use the fixture faktory_server, or serve()")
        self._serving = active
        self._runs = runs
        self._queues = queues
        self._builder = _prepared(runs)
        self._has_async = any(is_async(handler.function) for handler in self._builder._registry.build().values())
        self._consumer: Consumer | None = None

    @property
    def consumer(self) -> Consumer:
        """The consumer itself. Raises `ConfigurationError` where an async handler needs another for each drain."""
        if self._has_async:
            raise ConfigurationError(
                "this worker has async handlers, which run on a loop for each drain; for a consumer of your own use "
                "await builder.connect_asyncio()"
            )
        if self._consumer is None:
            self._consumer = self._builder.connect()
        return self._consumer

    @property
    def wid(self) -> str:
        """The worker's id at the server: for `server.quiet(wid)`, say."""
        return self.consumer.wid

    # -- running ----------------------------------------------------------------------------------------------------

    def drain(self, queues: Queues | None = None, *, raise_failures: bool = True, timeout: float = PATIENCE) -> Summary:
        """Run jobs until no queue has any, also those that jobs push; return a summary.

        Jobs of later and retries wait for the server's clock, and stay. Raises, when all have run, what the first job
        that failed has raised, unless `raise_failures` is False; and `AssertionError` when it takes more than `timeout`
        seconds.
        """
        before = len(self._serving.failures.all())
        if not self._has_async:
            total = self._drain(self.consumer, queues, timeout)
        else:
            total = self._in_own_thread(lambda: asyncio.run(self.adrain(queues, raise_failures=False, timeout=timeout)))
        if raise_failures:
            self._raise_since(before)
        return total

    def _drain(self, consumer: Consumer, queues: Queues | None, timeout: float) -> Summary:
        total = NOTHING
        with self._no_longer_than(timeout, consumer.terminate):
            for names in self._next_queues(queues):
                done = consumer.drain(names)
                total = _sum(total, done)
                if not done.total:
                    break
        return total

    async def adrain(
        self, queues: Queues | None = None, *, raise_failures: bool = True, timeout: float = PATIENCE
    ) -> Summary:
        """Run what is in the queues, as `drain` does, with handlers on the loop that runs, asyncio's or trio's."""
        before, total = len(self._serving.failures.all()), NOTHING
        async with await self._connect() as consumer:
            with self._no_longer_than(timeout, consumer.terminate):
                for names in self._next_queues(queues):
                    done = await consumer.drain(names)
                    total = _sum(total, done)
                    if not done.total:
                        break
        if raise_failures:
            self._raise_since(before)
        return total

    def _connect(self) -> Awaitable[Any]:
        trio: Any = sys.modules.get("trio")  # whoever runs it has imported it
        is_trio = trio is not None and trio.lowlevel.in_trio_run()
        return self._builder.connect_trio() if is_trio else self._builder.connect_asyncio()

    def run_one(self, queues: Queues | None = None, *, raise_failures: bool = True) -> bool:
        """Run one job in this thread; return False when there is none. Raises what the job raises, as `drain` does."""
        before = len(self._serving.failures.all())
        names = next(self._next_queues(queues), None)
        did_run = names is not None and self.consumer.run_one(names)
        if raise_failures:
            self._raise_since(before)
        return did_run

    def _next_queues(self, queues: Queues | None) -> Generator[Queues, None, None]:
        """Yield what to drain next, until nothing is left there."""
        told = self._queues if queues is None else queues
        server = self._serving.server
        if told is None and server is None:
            told = _queues_of(self._runs)
        if told is not None or server is None:
            yield told or ["default"]
            return
        while names := [name for name, size in server.queues.items() if size and name not in server.paused]:
            yield names

    @contextmanager
    def _no_longer_than(self, seconds: float, terminate: Callable[[], object]) -> Generator[None, None, None]:
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            terminate()

        timer = threading.Timer(seconds, stop)
        timer.name = "faktory-testing-limit"
        timer.daemon = True
        timer.start()
        try:
            yield
        except BaseException as exc:
            if is_late.is_set():
                raise _late(seconds) from exc
            raise
        else:
            if is_late.is_set():
                raise _late(seconds)
        finally:
            timer.cancel()
            timer.join()

    def _in_own_thread(self, call: Callable[[], Summary]) -> Summary:
        """Return what a call that runs a loop returns, also where a loop runs already."""
        results: list[Summary] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(call())
            except BaseException as exc:
                errors.append(exc)

        thread = threading.Thread(target=copy_context().run, args=(work,), name="faktory-testing-loop", daemon=True)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _raise_since(self, before: int) -> None:
        for job, exc in self._serving.failures.all()[before:]:
            exc.add_note(f"raised by the job {job.jid}, attempt {job.attempt}: {described(job)}")
            raise exc

    # -- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the consumer; the next use connects anew. Raises `AssertionError` when jobs still run."""
        if self._consumer is None:
            return
        busy = self._consumer.health().busy
        running = [described(job) for job in self._serving.server.working] if self._serving.server else []
        self._consumer.close()
        self._consumer = None
        if busy:
            raise AssertionError(f"the test has ended, but {busy} jobs still run: {'; '.join(running)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Worker of {self._runs!r}>"


def _prepared(runs: App | ConsumerBuilder) -> ConsumerBuilder:
    """Return a builder of the test's own, which tells what jobs raise."""
    if not isinstance(runs, (App, ConsumerBuilder)):
        raise ConfigurationError(f"a test's worker runs an App or a ConsumerBuilder, got {type(runs).__name__}")
    builder = runs.consumer() if isinstance(runs, App) else copy(runs)
    builder._hooks = replace(builder._hooks, failure=[*builder._hooks.failure, note_failure])
    return builder.shutdown_timeout(min(builder._shutdown_timeout, WIND_DOWN))


def _queues_of(runs: App | ConsumerBuilder) -> Sequence[str] | None:
    return sorted({job.options.queue for job in runs.jobs.values()}) if isinstance(runs, App) else None


def _sum(one: Summary, other: Summary) -> Summary:
    return Summary(
        one.succeeded + other.succeeded,
        one.failed + other.failed,
        one.seconds + other.seconds,
        one.skipped + other.skipped,
    )


def _late(seconds: float) -> AssertionError:
    return AssertionError(f"drain did not end within {seconds:g} s: a job waits for ever, or pushes itself again")
