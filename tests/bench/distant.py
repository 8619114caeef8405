"""What is measured with a server that is far away: each round trip takes 5 or 20 ms more; see `Distance`."""

from __future__ import annotations

from tests.bench.contest import JOBS, Contest
from tests.bench.table import Figure

CONNECTIONS = Figure("connections", "connections at once").below(10)


def contests(jobs: int) -> list[Contest]:
    """Return the contests; `jobs` is the size of a drain nearby."""
    found = []
    nap = min(1.0, jobs / 2_000)
    for latency, count in ((0.005, jobs // 10), (0.020, jobs // 20)):
        away = f"{latency * 1e3:.0f} ms away"
        found += [
            Contest(
                f"{away}, 10 threads", "drain", "bare_drain", {"count": count, "threads": 10, "warm": 10},
                (JOBS.at_least(0.95),), count + 10, latency=latency,
            ),
            # Bare loops have a connection each, and so more on the way at once than any worker on ten: when jobs do
            # nothing. Those who want 200 workers have jobs that wait: 200 end at a time, and one more begins to count.
            _of_200(f"{away}, asyncio with 200 workers, no-op", count, latency),
            _of_200(f"{away}, asyncio with 200 workers, jobs of {nap:g} s", jobs // 25 + 1, latency, nap=nap),
        ]  # fmt: skip
    return found


def _of_200(name: str, count: int, latency: float, nap: float = 0.0) -> Contest:
    parameters = {"count": count, "threads": 200, "warm": 200, "nap": nap}
    figures = (JOBS.at_least(0.9), CONNECTIONS)
    return Contest(
        name, "asyncio_drain", "bare_drain", parameters, figures,
        count + 200, spare=400, latency=latency, is_dear=latency > 0.01,
    )  # fmt: skip
