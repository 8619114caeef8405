"""Beats: on time, on a connection of their own, and never the end of a worker."""

from __future__ import annotations

import asyncio
import threading

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.server import Server
from tests.proxy import Proxy
from tests.running import Completing, InThread, end
from tests.waiting import until


class Rewording(Proxy):
    """Puts some bytes in the place of as many others, whoever says them."""

    def __init__(self, port: int, old: bytes, new: bytes) -> None:
        self._words = (old, new)
        super().__init__(port)

    async def deliver(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await super().deliver(writer, data.replace(*self._words))


def beating(server: Server | Proxy, interval: float = 0.02) -> InThread:
    return InThread(
        ConsumerBuilder()
        .register("work", lambda job: None)
        .heartbeat_interval(interval)
        .wid("wid-heartbeat-1")
        .connect(server.url)
    )


def test_the_server_learns_that_we_live_and_how_large_we_are(server: Server) -> None:
    run = beating(server)
    until(lambda: server.workers and server.workers[0].rss_kb > 1000)
    first = server.workers[0].last_beat
    until(lambda: server.workers[0].last_beat > first)
    end(server, run)


def test_the_server_is_told_of_quiet(server: Server) -> None:
    run = beating(server, interval=15)
    until(lambda: server.waiting)
    run.consumer.quiet()
    until(lambda: server.workers[0].state == "quiet")
    end(server, run)


def test_beats_go_on_until_the_last_job_has_ended(server: Server, client: Client) -> None:
    """P15."""
    go_on, started = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        started.set()
        go_on.wait(20)

    consumer = ConsumerBuilder().register("work", work).heartbeat_interval(0.02).connect(server.url)
    client.push(Job("work"))
    run = InThread(consumer)
    assert started.wait(10)
    consumer.terminate()
    until(lambda: server.workers[0].state == "terminate")
    seen = server.workers[0].last_beat
    until(lambda: server.workers[0].last_beat > seen)
    go_on.set()
    run.join()
    assert run.busy == 0
    until(lambda: server.workers == [])


def test_a_worker_the_server_has_forgotten_says_hello_again(server: Server, client: Client) -> None:
    """J10, J11: reaped after 60 s of silence, all its connections cut."""
    done: list[str] = []
    consumer = (
        ConsumerBuilder()
        .register("work", lambda job: done.append(job.jid))
        .heartbeat_interval(0.05)
        .connect(server.url)
    )
    run = Completing(consumer)
    until(lambda: server.waiting == 1)
    server.clock.advance(75)
    until(lambda: [worker.wid for worker in server.workers] == [consumer.wid] and server.waiting == 1)
    client.push(Job("work"))
    until(lambda: done)
    consumer.terminate()
    server.clock.advance(2.1)
    run.join()
    assert run.code == 0


@pytest.mark.parametrize("reply", ["unknown worker wid-heartbeat-1", "Unknown worker wid-heartbeat-1"])
def test_unknown_worker_is_healed_at_once(server: Server, reply: str) -> None:
    """J10: however it is spelled."""
    run = beating(server, interval=0.05)
    until(lambda: server.waiting == 1)
    connected = server.workers[0].connections
    fault = server.faults.refuse("BEAT", text=reply)
    until(lambda: fault.struck == 1)
    until(lambda: server.workers and server.workers[0].connections == connected)
    end(server, run)
    assert run.error is None


def test_a_state_that_we_do_not_know_is_logged_and_changes_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """H10: from a server that is newer than we are."""
    with Rewording(server.port, b'{"state":"quiet"}', b'{"state":"tired"}') as proxy:
        run = beating(proxy)
        until(lambda: server.workers)
        server.quiet("wid-heartbeat-1")
        until(lambda: "unknown state 'tired'" in caplog.text)
        seen = server.workers[0].last_beat
        until(lambda: server.workers[0].last_beat > seen)
        assert run.consumer.state == "running"
        end(server, run)
        assert run.error is None


def test_other_errors_are_survived(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """H10."""
    run = beating(server)
    server.faults.refuse("BEAT", text="context deadline exceeded")
    until(lambda: "BEAT was answered with an error" in caplog.text)
    server.faults.garble("BEAT")
    until(lambda: server.workers)
    end(server, run)
