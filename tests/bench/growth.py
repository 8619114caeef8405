"""What is measured as something grows: queues that are listed, workers, and the size of jobs."""

from __future__ import annotations

from tests.bench.contest import CPU, JOBS, Contest
from tests.bench.table import Figure

PEAK = Figure("peak_mb", "MB resident, at most")
MB = 1_000_000


def contests(jobs: int) -> list[Contest]:
    """Return the contests; `jobs` is the size of a usual drain."""
    return [*_queues(jobs), *_workers(jobs), *_sizes(jobs)]


def _queues(jobs: int) -> list[Contest]:
    return [
        Contest(
            f"{queues} queue{'s'[: queues > 1]} listed", "drain", "bare_drain",
            {"count": count, "threads": 4, "queues": queues}, (JOBS, CPU), count, is_dear=queues == 10,
        )
        for queues, count in ((1, jobs // 2), (10, jobs // 2), (100, jobs // 5))
    ]  # fmt: skip


def _workers(jobs: int) -> list[Contest]:
    return [
        Contest(
            f"{workers} {kind}", subject, "bare_drain", {"count": jobs // 2, "threads": workers, "warm": workers},
            (JOBS, CPU, PEAK), jobs // 2 + workers, spare=100 + 2 * workers, is_dear=workers != 100,
        )
        for kind, subject in (("threads", "drain"), ("asyncio workers", "asyncio_drain"))
        for workers in (10, 100, 1000)
    ]  # fmt: skip


def _sizes(jobs: int) -> list[Contest]:
    sizes = (("1 kB", 1000, jobs // 5), ("100 kB", 100_000, jobs // 25), ("10 MB", 10 * MB, max(2, jobs // 1000)))
    figures = (JOBS, CPU, PEAK)
    return [
        *(
            Contest(
                f"jobs of {name}", "drain", "bare_drain", {"count": count, "threads": 1}, figures,
                count, spare=2, size=size, is_dear=size > MB,
            )
            for name, size, count in sizes
        ),
        *(
            Contest(f"push of {name}", "push", "bare_push", {"count": count, "size": size}, figures, is_dear=size > MB)
            for name, size, count in sizes
        ),
    ]  # fmt: skip
