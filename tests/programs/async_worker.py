"""An async worker process for tests: `python -m tests.programs.async_worker LIBRARY URL QUEUE [TIMEOUT]`.

Prints a line for each event, so that a test can wait for it.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import faktory
from faktory import Job

from .worker import say


def main() -> None:
    library, url, queue = sys.argv[1:4]
    timeout = float(sys.argv[4]) if len(sys.argv) > 4 else 25.0
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    loop: Any = __import__(library)

    async def nap(job: Job) -> None:
        say("start", job.jid)
        await loop.sleep(job.args[0])
        say("done", job.jid)

    async def stubborn(job: Job) -> None:
        say("start", job.jid)
        limit = time.monotonic() + job.args[0]
        while time.monotonic() < limit:
            try:
                await loop.sleep(0.05)
            except BaseException:
                time.sleep(0.01)  # level cancellation would make this a busy loop

    async def run() -> None:
        builder = (
            faktory.ConsumerBuilder()
            .register("nap", nap)
            .register("stubborn", stubborn)
            .workers(4)
            .shutdown_timeout(timeout)
            .on_shutdown(lambda: say("shutdown"))
        )
        connect = builder.connect_asyncio if library == "asyncio" else builder.connect_trio
        await (await connect(url)).run_to_completion([queue])

    if library == "trio":
        loop.run(run)
    else:
        loop.run(run())


if __name__ == "__main__":
    main()
