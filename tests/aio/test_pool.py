"""The pool of the async clients: who waits longest is served next, and nothing outlives its event loop."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from faktory import ConfigurationError, ConnectFailed, ConnectionLost, Job
from faktory.aio import pool as pool_module
from faktory.commands import Info
from faktory.server import Server
from faktory.testing.serving import pointing_at
from tests.loops import Loop
from tests.scripted import Peer, ScriptedServer

# -- first come, first served ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tasks", "size"), [(20, 5), (2, 1)])
def test_each_task_gets_its_share(loop: Loop, server: Server, tasks: int, size: int) -> None:
    """A1."""
    pushes: Counter[int] = Counter()

    async def main() -> None:
        async with loop.Client(server.url, pool_size=size) as client:

            async def push(number: int) -> None:
                while pushes.total() < 50 * tasks:
                    await client.push(Job("work"))
                    pushes[number] += 1

            await loop.all(*[lambda number=number: push(number) for number in range(tasks)])

    loop.run(main)
    assert min(pushes.values()) >= 40
    assert len(pushes) == tasks


def test_who_comes_while_others_push_in_loops_waits_for_one_turn(loop: Loop, server: Server) -> None:
    before = after = 0

    async def main() -> None:
        nonlocal before, after
        is_over = False
        async with loop.Client(server.url, pool_size=1) as client:

            async def push_in_a_loop() -> None:
                while not is_over:
                    await client.push(Job("work"))

            async def come_late() -> None:
                nonlocal before, after, is_over
                await loop.until(lambda: len(server.queue("default")) > 5)
                before = len(server.queue("default"))
                await client.push(Job("late", queue="late"))
                after = len(server.queue("default"))
                is_over = True

            await loop.all(push_in_a_loop, push_in_a_loop, come_late)

    loop.run(main)
    assert after - before <= 4


def test_a_cancelled_waiter_passes_its_turn_on(loop: Loop) -> None:
    """The first waiter is cancelled in the moment in which it is given its turn."""
    pushed: list[str] = []
    gates: list[threading.Event] = [threading.Event()]

    def script(peer: Peer) -> None:
        peer.greet()
        while peer.line():
            gates[0].wait(10)
            peer.say(b"$2\r\n{}\r\n")

    async def main(url: str) -> None:
        client = loop.Client(url, pool_size=1)

        async def push(name: str) -> None:
            await client.push(Job(name))
            pushed.append(name)

        async def first_waits_and_is_cancelled() -> None:
            async def given_its_turn() -> None:
                gates[0].set()
                await loop.until(lambda: pushed)

            await loop.sleep(0.01)
            await loop.cancelling(lambda: push("cancelled"), given_its_turn)

        async def second_waits() -> None:
            await loop.sleep(0.02)
            await push("second")

        await loop.all(lambda: push("holder"), first_waits_and_is_cancelled, second_waits)
        await push("third")
        await client.close()

    with ScriptedServer(script) as scripted:
        loop.run(lambda: main(scripted.url))
    assert "second" in pushed
    assert pushed[-1] == "third"


def test_whatever_waiters_are_cancelled_no_place_is_lost(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with loop.Client(server.url, pool_size=2) as client:

            async def cancelled(number: int) -> None:
                await loop.cancelling(lambda: client.push(Job("work")), lambda: loop.sleep(0.0003 * (number % 7)))

            for _ in range(10):
                await loop.all(*[lambda number=number: cancelled(number) for number in range(20)])
            await loop.all(*[lambda: client.push(Job("work", queue="after")) for _ in range(10)])

    loop.run(main)
    assert len(server.queue("after")) == 10


def test_who_waits_too_long_is_told_and_the_next_is_served(
    loop: Loop, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "POOL_TIMEOUT", 0.05)

    async def main() -> None:
        async with loop.Client(server.url, pool_size=1) as client:
            server.faults.delay("PUSHB", seconds=0.4)

            async def wait() -> None:
                await loop.until(lambda: server.queue("default"))
                with pytest.raises(ConnectFailed, match="all 1 are in use"):
                    await client.push(Job("work", queue="other"))

            await loop.all(lambda: client.push(Job("work")), wait)
            await client.push(Job("work", queue="after"))

    loop.run(main)
    assert len(server.queue("after")) == 1
    assert len(server.queue("other")) == 0


def test_closing_refuses_those_who_wait(loop: Loop, server: Server) -> None:
    refused: list[str] = []

    async def main() -> None:
        client = loop.Client(server.url, pool_size=1)
        server.faults.delay("PUSHB", seconds=0.1)

        async def wait() -> None:
            await loop.until(lambda: server.queue("default"))
            with pytest.raises(ConfigurationError, match="the client is closed"):
                await client.push(Job("work"))
            refused.append("waiter")

        async def close() -> None:
            await loop.until(lambda: server.queue("default"))
            await loop.sleep(0.02)
            await client.close()

        await loop.all(lambda: client.push(Job("work")), wait, close)

    loop.run(main)
    assert refused == ["waiter"]


# -- loops ----------------------------------------------------------------------------------------------------------


def test_one_client_works_on_successive_loops(loop: Loop, server: Server) -> None:
    """A2."""
    client = loop.Client(server.url, pool_size=2)

    async def push() -> None:
        await loop.all(*[lambda: client.push(Job("work")) for _ in range(4)])

    for _ in range(4):
        started = time.monotonic()
        loop.run(push)
        assert time.monotonic() - started < 2
    loop.run(client.close)
    assert len(server.queue("default")) == 16


def test_one_client_works_on_two_loops_at_once(loop: Loop, server: Server) -> None:
    """A2."""
    client = loop.Client(server.url, pool_size=1)
    both = threading.Barrier(2)
    errors: list[BaseException] = []

    async def push() -> None:
        for _ in range(50):
            both.wait(10)  # each loop has a connection, and the other one's idle beside it
            await client.push(Job("work"))

    def run() -> None:
        try:
            loop.run(push)
        except BaseException as exc:
            errors.append(exc)
            both.abort()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert len(server.queue("default")) == 100
    loop.run(client.close)


def test_closing_on_one_loop_closes_what_another_has(loop: Loop, server: Server) -> None:
    client = loop.Client(server.url)
    pushed, closed = threading.Event(), threading.Event()
    refused: list[str] = []

    async def push() -> None:
        await client.push(Job("work"))
        pushed.set()
        await loop.until(closed.is_set)
        with pytest.raises(ConfigurationError, match="closed") as refusal:
            await client.push(Job("work"))
        refused.append(str(refusal.value))

    thread = threading.Thread(target=lambda: loop.run(push))
    thread.start()
    assert pushed.wait(10)
    loop.run(client.close)
    closed.set()
    thread.join(10)
    assert len(refused) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_connection_of_another_loop_is_dropped_without_a_word(loop: Loop, server: Server) -> None:
    opened: list[Any] = []

    async def open_it() -> None:
        opened.append(await loop.Connection.open(server.url))
        assert opened[0].is_usable()

    async def use_it() -> None:
        (connection,) = opened
        assert not connection.is_usable()
        with pytest.raises(ConnectionLost, match="another event loop") as lost:
            await connection.call(Info())
        assert not lost.value.maybe_executed
        await connection.close()
        assert not connection.is_open

    loop.run(open_it)
    loop.run(use_it)
    opened.clear()
    gc.collect()  # asyncio's transport warns of the loop that ended before it


PROGRAM = """
import os, sys, threading
library, url = sys.argv[1:]
if library == "trio":
    import trio
    from faktory.trio import Client
    run, sleep = trio.run, trio.sleep
else:
    import asyncio
    from asyncio import sleep
    from faktory.asyncio import Client
    if library == "uvloop":
        import uvloop
        def run(main):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(main())
    else:
        def run(main):
            return asyncio.run(main())
from faktory import Job

client = Client(url)

async def push():
    await client.push(Job("work"))
    await client.push_bulk([Job("work")])

run(push)
run(push)

def fork():
    pid = os.fork()
    if pid == 0:
        run(push)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    done.append(pid)

done = []

async def push_while_another_thread_forks():
    await push()
    threading.Thread(target=fork).start()
    while not done:
        await sleep(0.01)
    await push()

run(push_while_another_thread_forks)
fork()
run(push)
run(client.close)
"""


@pytest.mark.slow
@pytest.mark.parametrize("library", ["asyncio", "uvloop", "trio"])
def test_successive_loops_and_forks_make_no_noise(server: Server, library: str) -> None:
    """A2, P8: With all that Python can warn of as an error."""
    if library == "uvloop":
        pytest.importorskip("uvloop")
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "error",
            "-W",
            "ignore:This process",
            "-W",
            "ignore:It looks like Trio",
            "-c",
            PROGRAM,
            library,
            server.url,
        ],
        env=os.environ | {"PYTHONASYNCIODEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.queue("default")) == 14


# -- closing -----------------------------------------------------------------------------------------------------------


def test_what_is_made_under_an_override_is_closed_with_it(loop: Loop, server: Server) -> None:
    """Wherever it ends: in the loop that runs, or beside one."""
    client = loop.Client("tcp://never.invalid:7419")
    pushed, over = threading.Event(), threading.Event()

    async def end_within() -> None:
        with pointing_at(server.url):
            await client.push(Job("work"))
            assert server.info["server"]["connections"] == 1
        await loop.until(lambda: server.info["server"]["connections"] == 0)

    async def push() -> None:
        await client.push(Job("work"))
        pushed.set()
        await loop.until(over.is_set)
        await loop.until(lambda: server.info["server"]["connections"] == 0)

    loop.run(end_within)
    with ThreadPoolExecutor() as threads:
        with pointing_at(server.url):
            running = threads.submit(loop.run, push)
            assert pushed.wait(10)
        over.set()
        running.result(10)
    loop.run(client.close)
    assert len(server.queue("default")) == 2


def test_who_is_cancelled_while_closing_leaves_no_connection(loop: Loop, server: Server) -> None:
    async def begin() -> None:
        if loop.name == "asyncio":  # which would not even begin what is cancelled before
            await loop.sleep(0)

    async def main() -> None:
        client = loop.Client(server.url, pool_size=3)
        server.faults.delay("PUSHB", seconds=0.02)
        await loop.all(*[lambda: client.push(Job("work")) for _ in range(3)])
        assert server.info["server"]["connections"] == 3
        assert await loop.cancelling(client.close, begin)
        await loop.until(lambda: server.info["server"]["connections"] == 0)

    loop.run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_copy_of_a_process_whose_loop_runs_is_refused(loop: Loop, server: Server) -> None:
    """P8: there, the sockets are the parent's."""

    async def main() -> None:
        client = loop.Client(server.url)
        await client.push(Job("work"))
        pid = os.fork()
        if pid == 0:
            try:
                with pytest.raises(ConfigurationError, match="forked while"):
                    client.push(Job("work")).send(None)
                with pytest.raises(StopIteration):
                    client.close().send(None)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        await client.push(Job("work"))
        assert server.info["server"]["connections"] == 1
        await client.close()

    loop.run(main)
    assert len(server.queue("default")) == 2
