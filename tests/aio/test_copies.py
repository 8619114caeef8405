"""A copy of the worker that a coroutine forks is no worker: it ends where it comes back, and reports nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server
from tests.loops import Loop

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    """One whose FETCHes do not wait for long."""
    with Server(seed=7, fetch_wait=0.1) as server:
        yield server


@pytest.mark.parametrize("end", ["return", "raise", "exit", "await"])
def test_a_copy_of_the_worker_that_a_coroutine_forks_is_no_worker(
    loop: Loop, server: Server, client: Client, end: str
) -> None:
    """W7: whatever it does there, also when it lets the loop go on that it has copied."""
    if (loop.name, end) == ("trio", "await"):
        pytest.skip("a copy that lets trio go on shares its epoll with the worker, whose wake-ups it may take")
    codes: list[int] = []

    async def work(job: Job) -> None:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            if end == "raise":
                raise ValueError("in the copy")
            if end == "exit":
                sys.exit(7)
            if end == "await":
                await loop.sleep(0.05)
            return
        found: Any = (0, 0)

        def has_ended() -> bool:
            nonlocal found
            found = os.waitpid(pid, os.WNOHANG)
            return bool(found[0])

        await loop.until(has_ended)
        codes.append(os.waitstatus_to_exitcode(found[1]))

    client.push(Job("work", retry=0))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work).workers(3)
        async with await loop.connect(builder, server.url) as consumer:
            summary = await consumer.drain(["default"])
            assert (summary.succeeded, summary.failed) == (1, 0)

    loop.run(main)
    assert len(codes) == 1
    if end != "await":  # asyncio refuses that in a copy
        assert codes == [{"return": 0, "raise": 1, "exit": 7}[end]]
    assert len(server.working) == 0
