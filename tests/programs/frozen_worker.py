"""An async worker that a test freezes: `python -m tests.programs.frozen_worker LIBRARY URL LIMIT`.

LIMIT is how many seconds it waits for the answer to FETCH. Prints a line for each job.
"""

from __future__ import annotations

import sys
from typing import Any

import faktory
import faktory.aio.consumer as shell
from faktory import Job
from tests.programs.worker import say


def main() -> None:
    library, url, limit = sys.argv[1:]
    vars(shell)["FETCH_TIMEOUT"] = float(limit)
    loop: Any = __import__("trio" if library == "trio" else "asyncio")

    async def work(job: Job) -> None:
        say("done", job.jid)

    async def run() -> None:
        builder = faktory.ConsumerBuilder().register("work", work)
        connect = builder.connect_trio if library == "trio" else builder.connect_asyncio
        await (await connect(url)).run_to_completion(["default"])

    if library == "trio":
        loop.run(run)
    elif library == "uvloop":
        with loop.Runner(loop_factory=__import__("uvloop").new_event_loop) as runner:
            runner.run(run())
    else:
        loop.run(run())


if __name__ == "__main__":
    main()
