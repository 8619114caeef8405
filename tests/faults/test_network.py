"""Section 2.1 of the faults: reaching the server, through a proxy that misbehaves. Ids are those of the README here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from faktory import Client, ConnectFailed, ConnectionLost, Job
from faktory import builder as builder_module
from faktory.blocking import worker as worker_module
from faktory.blocking.connection import Connection
from faktory.commands import Fetch
from faktory.protocol.handshake import Identity
from faktory.server import Server
from tests.proxy import Proxy
from tests.running import Persistent
from tests.share import share_of
from tests.waiting import until


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port, seed=5) as proxy:
        yield proxy


class Behind(Persistent):
    """A persistent consumer behind a proxy."""

    def __init__(self, proxy: Proxy, server: Server, workers: int = 4) -> None:
        self.server = server
        super().__init__(proxy, workers)  # type: ignore[arg-type]  # it only wants a url

    def end(self) -> None:
        self.consumer.terminate()
        self.server.clock.advance(2.1)
        self.join()


def test_n15_sessions_work_a_byte_at_a_time(server: Server, proxy: Proxy) -> None:
    """N15, T7: every piece one byte, both ways."""
    proxy.slice = 1
    with Client(proxy.url) as client:
        for n in range(5):
            client.push(Job("work", [n, "ü" * 20]))
    run = Behind(proxy, server, workers=2)
    until(lambda: len(run.done) == 5)
    proxy.slice = 0
    run.end()
    assert len(server.working) == 0


@pytest.mark.parametrize("piece", [2, 7, 50])
def test_n15_sessions_work_in_random_pieces_late_and_jittered(server: Server, proxy: Proxy, piece: int) -> None:
    """N15."""
    proxy.slice, proxy.latency, proxy.jitter = piece, 0.001, 0.002
    with Client(proxy.url) as client:
        client.push_bulk(Job("work", ["x" * 100]) for _ in range(20))
    run = Behind(proxy, server)
    until(lambda: len(run.done) == 20)
    proxy.slice = 0
    run.end()
    assert len(server.working) == 0


def test_n15_a_slow_line_is_no_fault(server: Server, proxy: Proxy) -> None:
    """N15: a large job takes half a second at 400 kB/s, and its reply comes behind it."""
    proxy.bandwidth = 400_000
    with Client(proxy.url) as client, Client(server.url) as direct:
        direct.push(Job("work", ["x" * 400_000]))
        assert client.info()["faktory"]["queues"]["default"] == 1
        client.push(Job("work", ["x" * 200_000], queue="other"))
    assert len(server.queue("other")) == 1


@pytest.mark.slow
def test_n15_a_large_reply_goes_on_as_long_as_it_flows(server: Server, proxy: Proxy) -> None:
    """N15: it takes twice the time limit for a reply, and each limit brings a good piece, five times what it must."""
    with Client(server.url) as direct:
        direct.push(Job("work", ["x" * 800_000]))
    proxy.bandwidth = 400_000
    started = time.monotonic()
    with Connection(proxy.url, identity=Identity("box", 1, "wid-12345678"), timeout=0.8) as connection:
        job = connection.call(Fetch(["default"]))
    assert job is not None
    assert len(job.args[0]) == 800_000
    assert time.monotonic() - started > 2 * 0.8


def test_n16_a_job_that_ends_in_a_black_hole_is_acknowledged_after_it(
    server: Server, proxy: Proxy, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N16, N14, T6 in small: no exit, no second run, and the ACK lands soon after."""
    monkeypatch.setattr(worker_module, "FETCH_TIMEOUT", 0.5)
    monkeypatch.setattr(builder_module, "CONNECT_TIMEOUT", 0.5)
    run = Behind(proxy, server)

    def into_the_hole(job: Job) -> None:
        proxy.black_hole = True
        time.sleep(0.1)

    run.handler = into_the_hole
    jid = client.push(Job("work"))
    until(lambda: run.done == [jid])
    time.sleep(1.5)
    assert server.working.jids == [jid]
    run.handler = None
    proxy.black_hole = False
    proxy.reset_all()
    until(lambda: len(server.working) == 0)
    client.push(Job("work"))
    until(lambda: len(run.done) == 2)
    run.end()
    assert len(server.retries) == 0


def test_n14_a_half_closed_connection_is_left(server: Server, proxy: Proxy, client: Client) -> None:
    """N14: the server's side has ended, ours has not."""
    run = Behind(proxy, server)
    until(lambda: server.waiting == 1)
    proxy.half_close_all()
    client.push(Job("work"))
    server.clock.advance(1801, beating=True)  # the FETCH that waited may have taken it
    server.clock.advance(60, beating=True)
    until(lambda: run.done)
    run.end()


def test_n4_a_connection_cut_in_the_greeting_is_tried_again(server: Server, proxy: Proxy, client: Client) -> None:
    """N4, N5, J2: the limit cuts the greeting, then HELLO's answer, then the job itself."""
    run = Behind(proxy, server, workers=1)
    until(lambda: server.waiting == 1)
    jobs = [client.push(Job("work", reserve_for=60)) for _ in range(5)]
    for limit in (5, 14, 60):
        proxy.limit = limit
        proxy.reset_all()
        time.sleep(0.3)
    proxy.limit = None
    proxy.reset_all()
    until(lambda: len(server.queue("default")) == 0)
    server.clock.advance(61, beating=True)
    server.clock.advance(60, beating=True)
    until(lambda: set(run.done) == set(jobs))
    run.end()


def test_n1_refused_connections_end_by_themselves(server: Server, proxy: Proxy, client: Client) -> None:
    """N1."""
    run = Behind(proxy, server)
    until(lambda: server.waiting == 1)
    proxy.refuse = True
    proxy.reset_all()
    with Client(proxy.url) as other, pytest.raises((ConnectFailed, ConnectionLost)):
        other.push(Job("work"))
    time.sleep(0.3)
    proxy.refuse = False
    client.push(Job("work"))
    server.clock.advance(1801, beating=True)
    server.clock.advance(60, beating=True)
    until(lambda: run.done)
    run.end()


def test_t1_cuts_at_random_lose_nothing(server: Server, proxy: Proxy) -> None:
    """T1 in small; tests/chaos.py is the large one."""
    run = Behind(proxy, server, workers=8)
    pushed, moved, is_over, chance = list[str](), threading.Event(), False, random.Random(1)

    def cut() -> None:
        """Let some pushes through between two cuts, however slow the machine is."""
        while moved.wait(20) and not is_over:
            moved.clear()
            time.sleep(chance.uniform(0, 0.01))
            proxy.reset_all()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with Client(proxy.url, push_retries=50) as client:
        for n in range(share_of(400)):
            pushed.append(client.push(Job("work", [n], reserve_for=60)))
            if n % 5 == 4:
                moved.set()
    is_over = True
    moved.set()
    cutter.join()
    assert proxy.resets > 5
    until(lambda: len(server.queue("default")) == 0)
    for _ in range(3):
        server.clock.advance(61, beating=True)
    until(lambda: set(run.done) == set(pushed))
    run.end()
    assert len(server.working) == 0
