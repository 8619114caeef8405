"""What a job costs more with observers, in microseconds: `python -m tests.bench.observed`.

The seam alone, as the rest of a job would hide it: the calls that a worker makes for each job, many times. The least of
several rounds, as others use the machine, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from faktory import Job
from faktory.core.hooks import Hooks
from faktory.core.registry import Registry
from faktory.observe.metrics import Metrics
from faktory.observe.observer import Observer, watch_of

ROUNDS = 7
TIMES = 20_000


def handler(job: Job) -> None:
    pass


def cost_of(observers: list[Observer]) -> float:
    """Return the microseconds of what a worker does for one job, of the seam and its handler."""
    watch = watch_of(observers)
    registry = Registry()
    registry.register("work", handler)
    registry.outermost = () if watch is None or not watch.has_workers else (watch.around,)
    call, hooks = registry.build()["work"].call, Hooks(watch=watch)
    document = {"jid": "0123456789ab", "jobtype": "work", "args": [], "enqueued_at": datetime.now(UTC).isoformat()}
    jobs = [Job.from_document(dict(document)) for _ in range(TIMES)]

    def run() -> None:
        for job in jobs:
            call(job)
            if hooks.watch is not None:
                hooks.watch.ended(job, 0.001, None)

    return min(_seconds(run) for _ in range(ROUNDS)) / TIMES * 1e6


def bare() -> float:
    """Return the microseconds of the handler alone."""
    job = Job("work")

    def run() -> None:
        for _ in range(TIMES):
            handler(job)

    return min(_seconds(run) for _ in range(ROUNDS)) / TIMES * 1e6


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


class Around(Observer):
    """Overrides `working`, and does nothing there."""

    def working(self, job: Job) -> object:  # type: ignore[override]
        return super().working(job)


def main() -> None:
    base = bare()
    for name, observers in (("no observer", []), ("metrics", [Metrics()]), ("around the handler", [Around()])):
        extra = cost_of(list(observers)) - base
        print(f"{name:<20} {extra:6.2f} µs a job more, {(base + extra) / base:5.1f} times an empty handler")


if __name__ == "__main__":
    main()
