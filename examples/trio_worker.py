"""Push jobs and run them on trio, in a nursery of yours: `python -m examples.trio_worker`.

Uses the server at FAKTORY_URL when that is set, else one of its own inside this process.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from secrets import token_hex

import trio

from faktory import ConsumerBuilder, Job
from faktory.trio import Client

JOBS = 20


async def main(url: str | None) -> None:
    queue = f"trio-{token_hex(4)}"  # a shared server may hold other people's jobs
    done = 0

    async def greet(_: Job) -> None:
        nonlocal done
        await trio.sleep(0.1)
        done += 1
        if done == JOBS:
            enough.set()

    enough = trio.Event()
    builder = ConsumerBuilder().register("greet", greet).workers(10).shutdown_timeout(5)
    async with Client(url) as client, await builder.connect_trio(url) as consumer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.run, [queue])
            await client.push_bulk(Job("greet", [n], queue=queue) for n in range(JOBS))
            await enough.wait()
            nursery.cancel_scope.cancel()  # `run` lets its jobs end and reports them, then goes
        await client.remove_queues(queue)
    print(f"{done} jobs done, the consumer is {consumer.state}")


if __name__ == "__main__":
    with ExitStack() as stack:
        where = os.environ.get("FAKTORY_URL") or None
        if where is None and not os.environ.get("FAKTORY_PROVIDER"):
            from faktory.server import Server

            where = stack.enter_context(Server(fetch_wait=0.1)).url
            print(f"FAKTORY_URL is not set: running an in-memory server at {where}")
        trio.run(main, where)
