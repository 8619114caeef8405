"""A fork does not hold the server: not its port, not its connections, not its locks."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faktory import Client, Job
from faktory.errors import FaktoryError
from faktory.server import Clock, Server
from tests.server.raw_client import RawClient

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a process with threads forks: that is the point
        return os.fork()


def in_child(task: Callable[[], object]) -> str:
    """Run `task` in a forked child, and return its result as text, or its error. Bounded: 10 s."""
    reading, writing = os.pipe()
    pid = fork()
    if not pid:
        try:
            try:
                result = str(task())
            except BaseException as exc:
                result = f"{type(exc).__name__}: {exc}"
            os.write(writing, result.encode()[:4_000])
        finally:
            os._exit(0)
    os.close(writing)
    heard = b""
    with os.fdopen(reading, "rb") as pipe:
        if select.select([pipe], [], [], 10)[0]:
            heard = pipe.read()
        else:
            os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return heard.decode() or "hung"


@contextmanager
def forked_by_os() -> Iterator[None]:
    """A child that lives through the block."""
    reading, writing = os.pipe()
    pid = fork()
    if not pid:
        os.close(writing)
        os.read(reading, 1)  # until the parent closes its end
        os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


@contextmanager
def forked_by_multiprocessing() -> Iterator[None]:
    context = multiprocessing.get_context("fork")
    may_end = context.Event()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=may_end.wait, args=(10,))
        process.start()
    try:
        yield
    finally:
        may_end.set()
        process.join(10)
        process.close()


FORKS = [forked_by_os, forked_by_multiprocessing]


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("child", FORKS)
def test_a_child_keeps_neither_port_nor_connections(child: Callable[[], object], end: str) -> None:
    with Server() as server, RawClient(server.port, "w") as client:
        client.push("job-00000")
        with child():  # type: ignore[attr-defined]
            getattr(server, end)()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), 2)
            client.sock.settimeout(2)
            if end == "kill":
                with pytest.raises(ConnectionResetError):
                    client.file.read(1)
            else:
                assert client.file.read(1) == b""
            server.start()
            with RawClient(server.port) as again:
                assert again.call("QUEUE LATENCY").startswith(b"$")
            assert server.queue("default").jids == ["job-00000"]


def test_the_server_goes_on_while_children_come_and_go() -> None:
    with Server() as server, RawClient(server.port, "w") as client:
        for number in range(5):
            assert in_child(lambda: "done") == "done"
            client.push(f"job-0000{number}")
        assert len(server.queue("default")) == 5


def test_what_a_child_asks_is_answered_or_refused() -> None:
    with Server(clock=Clock()) as server:
        assert in_child(lambda: (server.url, server.port, server.is_running)) == str((server.url, server.port, False))
        for ask in (
            lambda: server.queues,
            lambda: list(server.queue("default")),
            lambda: server.wait_idle(),
            lambda: server.clock.advance(1),
            lambda: server.faults.drop(),
            lambda: server.start(),
            lambda: server.disconnect_all(),
            lambda: server.join(),
            lambda: server.terminate("w"),
        ):
            assert in_child(ask).startswith("FaktoryError: ")
        assert in_child(server.stop) == in_child(server.kill) == "None"
        assert in_child(lambda: Client(server.url).push(Job("work", jid="from-a-child"))) == "from-a-child"
        assert server.queue("default").jids == ["from-a-child"]

        def leave() -> str:
            with server:
                pass
            return "left"

        assert in_child(leave).startswith("FaktoryError: the server tcp://127.0.0.1")
        assert server.is_running


def test_a_child_never_waits_for_a_lock_that_was_held_at_the_fork() -> None:
    """20 forks, while another thread holds every lock there is."""
    with Server() as server:
        may_end, is_held = threading.Event(), threading.Event()

        def hold() -> None:
            with server._lock, server.clock._lock, server.faults._lock:
                is_held.set()
                may_end.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        assert is_held.wait(10)
        try:
            for _ in range(10):
                for ask in (lambda: server.info, lambda: server.clock.advance(1)):
                    assert in_child(ask).startswith("FaktoryError: ")
            assert in_child(lambda: server.clock.now() > 0) == "True"
        finally:
            may_end.set()
            thread.join(10)


def test_a_child_may_have_a_server_of_its_own() -> None:
    def serve() -> str:
        with Server() as own, Client(own.url) as client:
            client.push(Job("work"))
            return f"{len(own.queue('default'))} job"

    with Server():
        assert in_child(serve) == "1 job"


def test_a_server_that_was_not_started_is_inherited_without_harm() -> None:
    server = Server()
    assert in_child(lambda: server.start()).startswith("FaktoryError: ")
    with server:
        pass


PROGRAM = """
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from faktory import Client, Job
from faktory.server import Server

server = Server().start()

def task(number):
    with Client(server.url) as client:
        return client.push(Job("work", [number]))

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert len(pool.map(task, range(40))) == 40
        assert len(server.queue("default")) == 40
        server.stop()
        server.start()
        assert len(pool.map(task, range(40))) == 40
        assert len(server.queue("default")) == 80
    server.stop()
    print("fine")
"""


@pytest.mark.slow
def test_a_pool_of_forked_processes_uses_a_server_that_restarts() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


@pytest.mark.slow
def test_a_test_that_runs_in_a_fork_of_its_own_uses_the_server_of_the_session() -> None:
    """As pytest-forked does it: the test in a child, the fixture in the parent, which then restarts the server."""
    with Server() as server:
        for number in range(3):

            def test(number: int = number) -> str:
                with Client(server.url) as client:
                    client.push(Job("work", [number]))
                    return str(client.info()["faktory"]["queues"]["default"])

            assert in_child(test) == str(number + 1)
            begin = time.monotonic()
            server.stop()
            server.start()
            assert time.monotonic() - begin < 5


def test_the_error_says_where_to_ask() -> None:
    server = Server()
    server.after_fork()
    with pytest.raises(FaktoryError, match=r"talk to it by a client of server\.url"):
        server.start()
