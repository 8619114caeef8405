"""Push jobs and run them on asyncio: `python -m examples.asyncio_worker`.

Uses the server at FAKTORY_URL when that is set, else one of its own inside this process.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from secrets import token_hex

from faktory import ConsumerBuilder, Job
from faktory.asyncio import Client

JOBS = 200


async def greet(_: Job) -> None:
    """An async handler: a task on the loop, beside as many others as `workers` allows."""
    await asyncio.sleep(0.2)  # a database, an HTTP call


def checksum(job: Job) -> None:
    """A plain handler: runs in a worker thread, so that it may block."""
    sum(range(job.args[0]))


async def main(url: str | None) -> None:
    queue = f"asyncio-{token_hex(4)}"  # a shared server may hold other people's jobs
    async with Client(url) as client:
        await client.push_bulk(Job("greet", [n], queue=queue) for n in range(JOBS))
        await client.push(Job("checksum", [100_000], queue=queue))
        builder = ConsumerBuilder().register("greet", greet).register("checksum", checksum).workers(100)
        started = time.perf_counter()
        # A service would end with: await consumer.run_to_completion(["default"])
        async with await builder.connect_asyncio(url) as consumer:
            summary = await consumer.drain([queue])
        await client.remove_queues(queue)
    print(f"{summary.succeeded} jobs succeeded, {summary.failed} failed, in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    with ExitStack() as stack:
        where = os.environ.get("FAKTORY_URL") or None
        if where is None and not os.environ.get("FAKTORY_PROVIDER"):
            from faktory.server import Server

            where = stack.enter_context(Server(fetch_wait=0.1)).url
            print(f"FAKTORY_URL is not set: running an in-memory server at {where}")
        asyncio.run(main(where))
