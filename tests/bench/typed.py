"""What a typed job costs over a raw handler, in CPU microseconds: `python -m tests.bench.typed`. No server, no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from faktory import App, Job, JobContext
from faktory.core.run import Run, running

app = App("tcp://localhost:1", mode="queue")
wrapped = App("tcp://localhost:1", mode="queue")


@dataclass
class Item:
    name: str
    price: Decimal


@dataclass
class Order:
    items: list[Item]
    note: str | None = None


@app.job
def plain(user: int, name: str, flag: bool) -> None: ...


@app.job
def with_context(ctx: JobContext, user: int, name: str, flag: bool) -> None: ...


@app.job
def with_lists(ctx: JobContext, ids: list[int], ratio: float, note: str | None = None) -> None: ...


@app.job
def with_dataclasses(ctx: JobContext, order: Order) -> None: ...


@wrapped.job
def with_middleware(ctx: JobContext, user: int, name: str, flag: bool) -> None: ...


@wrapped.use
def around(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
    return call_next()


def raw(job: Job) -> None:
    _user, _name, _flag = job.args


def measure(call: Callable[[], object], times: int = 50_000) -> float:
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            call()
        best = min(best, time.process_time() - started)
    return best / times * 1e6


def main() -> None:
    few: tuple[Any, ...] = (1, "a", True)
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (plain, few),
        (with_context, few),
        (with_middleware, few),
        (with_lists, (list(range(10)), 0.5)),
        (with_dataclasses, (Order([Item("a", Decimal("1.5"))] * 3),)),
    ]
    raw_job = Job("raw", few)
    running.set(Run(raw_job, time.monotonic() + 3600, app.managed))
    raw_run = measure(lambda: raw(raw_job))
    raw_push = measure(lambda: Job("raw", few))
    print(f"{'µs over a raw handler, over Job(...)':<40}{'run':>8}{'push':>8}")
    for typed, args in calls:
        job = typed.to_job(*args)
        run = measure(lambda typed=typed, job=job: typed.__faktory_handler__(job))  # type: ignore[misc]
        push = measure(lambda typed=typed, args=args: typed.to_job(*args))  # type: ignore[misc]
        print(f"{typed.jobtype:<40}{run - raw_run:>8.2f}{push - raw_push:>8.2f}")


if __name__ == "__main__":
    main()
