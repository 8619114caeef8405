"""An async worker process for tests: `python -m tests.programs.async_worker LIBRARY URL QUEUE [TIMEOUT]`.

Prints a line for each event, so that a test can wait for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import Any

import faktory
from faktory import Job
from faktory.core.run import running
from tests.programs.worker import say, start_slowly


def main() -> None:
    library, url, queue = sys.argv[1:4]
    timeout = float(sys.argv[4]) if len(sys.argv) > 4 else 25.0
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    loop: Any = __import__("trio" if library == "trio" else "asyncio")

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

    async def block(job: Job) -> None:
        say("start", job.jid)
        time.sleep(job.args[0])  # on purpose

    async def block_in_c(job: Job) -> None:
        """Wait for a database that is locked: no signal handler of Python's runs meanwhile."""
        import sqlite3
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/locked.db"
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as mine:
                mine.execute("BEGIN EXCLUSIVE")
                with contextlib.closing(sqlite3.connect(path, timeout=job.args[0])) as other:
                    say("start", job.jid)
                    other.execute("CREATE TABLE never (id)")

    async def block_until_told(job: Job) -> None:
        run = running.get()
        assert run is not None
        say("start", job.jid)
        while not run.stopping:
            time.sleep(0.05)
        say("done", job.jid)

    async def run() -> None:
        builder = (
            faktory.ConsumerBuilder()
            .register("nap", nap)
            .register("stubborn", stubborn)
            .register("block", block)
            .register("block_in_c", block_in_c)
            .register("block_until_told", block_until_told)
            .workers(4)
            .shutdown_timeout(timeout)
            .on_shutdown(lambda: say("shutdown"))
        )
        if "STARTUP" in os.environ:
            builder.on_startup(start_slowly)
        connect = builder.connect_trio if library == "trio" else builder.connect_asyncio
        await (await connect(url)).run_to_completion([queue])

    if library == "trio":
        loop.run(run)
    elif library == "uvloop":
        with loop.Runner(loop_factory=__import__("uvloop").new_event_loop) as runner:
            runner.run(run())
    else:
        loop.run(run())


if __name__ == "__main__":
    main()
