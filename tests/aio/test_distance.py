"""Far from the server, tasks fetch at the same time, as threads do."""

from __future__ import annotations

import time

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server
from tests.bench.distance import Distance
from tests.loops import Loop

LATENCY = 0.05
JOBS = 160


def test_under_load_fetches_are_on_their_way_together(loop: Loop, server: Server, client: Client) -> None:
    """With a patience that is shorter than a round trip all tasks would share one FETCH, or two."""
    began: list[float] = []

    async def work(job: Job) -> None:
        began.append(time.monotonic())

    client.push_bulk(Job("work") for _ in range(JOBS))

    async def main() -> None:
        async with await loop.connect(ConsumerBuilder().register("work", work).workers(8), distance.url) as consumer:
            await consumer.drain(["default"])

    with Distance(server.url, LATENCY) as distance:
        loop.run(main)
    assert len(began) == JOBS
    one_at_a_time = JOBS * LATENCY
    assert began[-1] - began[0] < one_at_a_time / 3
