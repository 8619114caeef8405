"""What brings down the two other Python clients, each as a test that ours passes.

"cx" is PyPI `faktory`, "gh" is PyPI `pyfaktory`; what they do was seen by running them, or read in their sources
(docs: faults). Ids are those of the fault matrix.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from faktory import (
    Client,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConsumerBuilder,
    HandshakeError,
    Job,
    ProtocolError,
    ServerError,
)
from faktory.blocking import worker as worker_module
from faktory.blocking.connection import Connection
from faktory.commands import Info
from faktory.protocol.address import Address
from faktory.server import Server
from tests.certificates import Certificates
from tests.odd_server import DEEP, GOOD, OddServer
from tests.proxy import Proxy
from tests.running import Persistent
from tests.scripted import OK, Peer, ScriptedServer
from tests.waiting import until


class Run:
    """One consumer that runs a job of some type and then one of type "work", and what came of them."""

    def __init__(self, server: Server, client: Client, jobtype: str, act: Callable[[Job], Any] | None) -> None:
        self.done: list[str] = []
        self.jid = client.push(Job(jobtype, retry=3))
        self.after = client.push(Job("work"))
        builder = ConsumerBuilder().register("work", lambda job: self.done.append(job.jid))
        if act is not None:
            builder.register(jobtype, act)
        with builder.connect(server.url) as consumer:
            self.has_run = [consumer.run_one(["default"]) for _ in range(2)]
            self.is_running = consumer.state == "running"
        self.failed = server.retries.jids
        self.reserved = server.working.jids

    def check(self) -> None:
        """The odd job was failed, the one behind it was done by the same consumer, and nothing stays reserved."""
        assert self.done == [self.after]
        assert self.failed == [self.jid]
        assert self.reserved == []
        assert self.is_running
        assert self.has_run == [True, True]


# -- jobs and handlers ----------------------------------------------------------------------------------------------


def test_a_job_of_an_unknown_type_is_failed_and_the_consumer_goes_on(server: Server, client: Client) -> None:
    """W8: gh shuts the whole consumer down, and does not even fail the job."""
    Run(server, client, "unheard-of", None).check()


def test_a_handler_that_exits_fails_its_job_and_not_the_worker(server: Server, client: Client) -> None:
    """W2: in cx the worker exits with the job's exit code; in gh the pool dies and the job is never reported."""

    def leave(job: Job) -> None:
        raise SystemExit(3)

    Run(server, client, "leave", leave).check()


def test_a_handler_that_raises_keyboard_interrupt_fails_its_job(server: Server, client: Client) -> None:
    """W2: as with SystemExit, the worker of cx ends and the pool of gh dies."""

    def interrupt(job: Job) -> None:
        raise KeyboardInterrupt

    Run(server, client, "interrupt", interrupt).check()


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nor has this a text")

    __repr__ = __str__


def test_an_exception_whose_text_raises_is_reported_all_the_same(server: Server, client: Client) -> None:
    """W3: in cx the worker dies of it; in gh the job is never reported."""

    def fail(job: Job) -> None:
        raise UnspeakableError

    Run(server, client, "fail", fail).check()
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "UnspeakableError"


def test_an_exception_with_a_huge_text_costs_little(server: Server, client: Client) -> None:
    """W3: megabytes, and half a character that UTF-8 cannot hold: the worker of cx dies, gh never reports the job."""

    def fail(job: Job) -> None:
        raise ValueError("\ud800" + "x" * 10_000_000)

    Run(server, client, "fail", fail).check()
    (job,) = server.retries
    assert job.failure is not None
    assert len(job.failure.message) <= 1000


def test_a_job_that_never_returns_gives_its_slot_back_at_its_time_limit(server: Server, client: Client) -> None:
    """W4: in gh such jobs take one slot after the other until none is left; in cx, too."""
    client.push(Job("stuck", retry=3))
    after = client.push(Job("work"))
    done: list[str] = []
    leave = threading.Event()

    def stuck(job: Job) -> None:
        while not leave.wait(0.002):
            pass

    builder = ConsumerBuilder().register("stuck", stuck, timeout=0.05)
    with builder.register("work", lambda job: done.append(job.jid)).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
        assert consumer.run_one(["default"])
    assert done == [after]
    (job,) = server.retries
    assert job.failure is not None
    assert job.failure.errtype == "JobTimeout"


def test_a_nested_job_is_failed_and_the_consumer_goes_on() -> None:
    """H8: RecursionError ends the worker of cx and stops that of gh; neither fails the job."""
    server = OddServer(DEEP, GOOD)
    done: list[str] = []
    builder = ConsumerBuilder().register("work", lambda job: done.append(job.jid))
    with ScriptedServer(server.script) as scripted, builder.connect(scripted.url) as consumer:
        consumer.drain(["default"])
    (verb, failed), acknowledged = server.reports
    assert (verb, failed["jid"]) == ("FAIL", "deep-12345")
    assert acknowledged == ("ACK", {"jid": "good-12345"})
    assert done == ["good-12345"]


def test_a_job_without_its_fields_is_failed_and_the_consumer_goes_on() -> None:
    """H9: cx and gh look the fields up unchecked, and go on with None or end with KeyError."""
    server = OddServer(b'{"jid":"bare-12345"}', GOOD)
    builder = ConsumerBuilder().register("work", lambda job: None)
    with ScriptedServer(server.script) as scripted, builder.connect(scripted.url) as consumer:
        consumer.drain(["default"])
    assert [verb for verb, _ in server.reports] == ["FAIL", "ACK"]


@pytest.mark.slow
def test_a_job_of_10_mb_is_run_within_seconds(server: Server, client: Client) -> None:
    """D7: gh decodes its whole buffer again for each KiB, and is not done in 40 s; cx takes 2.3 s."""
    client.push(Job("work", ["x" * 10_000_000]))
    sizes: list[int] = []
    with ConsumerBuilder().register("work", lambda job: sizes.append(len(job.args[0]))).connect(server.url) as consumer:
        started = time.monotonic()
        assert consumer.run_one(["default"])
        assert time.monotonic() - started < 2
    assert sizes == [10_000_000]


# -- the connection -------------------------------------------------------------------------------------------------


def test_a_lost_connection_does_not_end_the_worker(server: Server) -> None:
    """J1, N4: at a reset cx exits with 1, gh after 14 s."""
    run = Persistent(server)
    jids: list[str] = []
    with Client(server.url, push_retries=50) as client:  # its connections are reset, too
        for _ in range(3):
            until(lambda: server.waiting >= 1)
            server.disconnect_all()
            jids.append(client.push(Job("work")))
            server.clock.advance(1801, beating=True)  # the FETCH of a connection that is gone may have taken it
            server.clock.advance(60, beating=True)
            until(lambda: set(run.done) == set(jids))
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


@pytest.mark.slow
def test_a_server_that_restarts_is_found_again(server: Server, client: Client) -> None:
    """J14: cx and gh exit."""
    run = Persistent(server)
    until(lambda: server.waiting == 1)
    server.stop()
    server.start()
    client.push(Job("work"))
    until(lambda: run.done)
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()


@pytest.mark.slow
def test_a_network_that_swallows_everything_is_noticed(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N14, N16: cx notices after 28 s and exits; gh stays alive but dead: it neither beats nor fetches any more."""
    monkeypatch.setattr(worker_module, "FETCH_TIMEOUT", 0.3)
    with Proxy(server.port) as proxy:
        run = Persistent(proxy)  # type: ignore[arg-type]  # it only wants a url
        until(lambda: server.waiting == 1)
        proxy.black_hole = True
        until(lambda: run.consumer.health().reconnects)
        proxy.black_hole = False
        proxy.reset_all()
        server.clock.advance(2.1)
        client.push(Job("work"))
        server.clock.advance(1801, beating=True)
        server.clock.advance(60, beating=True)
        until(lambda: run.done)
        run.consumer.terminate()
        server.clock.advance(2.1)
        run.join()


def test_a_success_whose_ack_was_lost_is_acknowledged_and_never_failed(server: Server, client: Client) -> None:
    """J3, J4: gh reports the job as failed after it has succeeded; in cx the broken pipe ends the worker."""
    lost = server.faults.drop("ACK", executed=False)
    jid = client.push(Job("work", retry=3))
    done: list[str] = []
    with ConsumerBuilder().register("work", lambda job: done.append(job.jid)).connect(server.url) as consumer:
        with pytest.raises(ConnectionLost):
            consumer.run_one(["default"])
        assert lost.struck == 1
        assert server.working.jids == [jid]
        client.push(Job("work"))
        assert consumer.run_one(["default"])
    assert len(done) == 2
    assert done.count(jid) == 1
    assert (len(server.working), len(server.retries)) == (0, 0)


def test_an_interrupted_reply_is_never_taken_for_the_next_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5, H7: after a KeyboardInterrupt cx leaves the reply unread, and reads it as the answer to its next command."""
    with Client(server.url, pool_size=1) as client:
        client.push(Job("work", queue="one"))
        with monkeypatch.context() as patch:

            def interrupt(self: Connection) -> None:
                raise KeyboardInterrupt

            patch.setattr(Connection, "_read", interrupt)
            with pytest.raises(KeyboardInterrupt):
                client.info()
        assert client.queue_latency("unknown") == {"unknown": 0}
        assert client.push(Job("work")) in server.queue("default").jids


def test_bytes_that_came_with_a_reply_are_not_lost_or_mixed_up() -> None:
    """H7: cx drops what it has read too much, so that a reply that comes with it is waited for in vain."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"$2\r\n{}\r\n+OK\r\n")
        peer.wait_for_end()

    with ScriptedServer(script) as server, Connection(server.url) as connection:
        assert connection.call(Info()) == {}
        started = time.monotonic()
        with pytest.raises(ProtocolError, match="more than was asked for"):
            connection.call(Info())
        assert time.monotonic() - started < 3


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_a_server_on_ipv6_is_reached() -> None:
    """N2: cx and gh ask for IPv4 only."""
    try:
        own = Server(bind="[::1]:0").start()
    except OSError:
        pytest.skip("no IPv6 here")
    with own, Client(own.url) as client:
        client.push(Job("work"))
        assert len(own.queue("default")) == 1


def test_an_untrusted_certificate_is_refused(certificates: Certificates) -> None:
    """N8: cx and gh connect to anybody; cx does not even start on Python 3.12."""
    with Server(ssl_context=certificates.server_context("localhost")) as server:
        address = Address("localhost", server.port, tls=True)
        with pytest.raises(ConnectFailed, match="not trusted"):
            ConsumerBuilder().register("work", print).connect(address)
        context = certificates.client_context()
        ConsumerBuilder().register("work", print).connect(address, ssl_context=context).close()


def test_an_escaped_password_in_a_url_is_unescaped() -> None:
    """N9: cx and gh take it as it is written."""
    with Server(password="pa:ss/w@rd+%") as server:
        url = f"tcp://:pa%3Ass%2Fw%40rd+%25@127.0.0.1:{server.port}"
        ConsumerBuilder().register("work", print).connect(url).close()


# -- a hostile or broken server -------------------------------------------------------------------------------------


def test_a_reply_without_a_carriage_return_is_an_error_at_once() -> None:
    """H1: cx and gh wait for the rest until their time is up."""
    check_refused(b"+\n")


def test_a_length_below_nil_is_not_taken_for_no_job() -> None:
    """H4: cx and gh take $-2 for an empty queue."""
    check_refused(b"$-2\r\n")


def test_an_endless_line_is_cut() -> None:
    """H2: cx and gh are still reading after 9 s."""
    check_refused(b"+" + b"x" * 1_000_000)


def check_refused(reply: bytes) -> None:
    """Answer FETCH with this: the consumer raises a typed error in time."""

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            peer.say(reply if line.startswith(b"FETCH") else OK)

    builder = ConsumerBuilder().register("work", print)
    with ScriptedServer(script) as server, builder.connect(server.url) as consumer:
        started = time.monotonic()
        with pytest.raises(ProtocolError):
            consumer.run_one(["default"])
        assert time.monotonic() - started < 3


def test_two_billion_iterations_are_refused() -> None:
    """H5: gh hashes on and on, and was killed after 9 s."""
    greeting = b'+HI {"v":2,"s":"abc","i":2000000000}\r\n'
    with ScriptedServer(lambda peer: peer.say(greeting)) as server:
        started = time.monotonic()
        with pytest.raises(HandshakeError, match="iterations"):
            ConsumerBuilder().register("work", print).connect(Address("127.0.0.1", server.port, password="x"))
        assert time.monotonic() - started < 3


def test_one_iteration_is_refused() -> None:
    """H6: cx and gh hand a cheap hash of the password to whoever asks for it."""
    greeting = b'+HI {"v":2,"s":"abc","i":1}\r\n'
    with ScriptedServer(lambda peer: peer.say(greeting)) as server, pytest.raises(HandshakeError, match="iterations"):
        ConsumerBuilder().register("work", print).connect(Address("127.0.0.1", server.port, password="x"))


@pytest.mark.parametrize("state", ["dance", "\x1b[31m", 5])
def test_an_unknown_state_does_not_end_the_heart(state: object) -> None:
    """H10: gh raises in the thread that beats, and there are no more beats."""
    beats = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            document = json.dumps({"state": state}).encode()
            if line.startswith(b"BEAT"):
                peer.say(b"$%d\r\n%b\r\n" % (len(document), document))
                beats.release()
            elif line.startswith(b"FETCH"):
                for _ in range(3):
                    assert beats.acquire(timeout=20)
                peer.say(b"$-1\r\n")

    builder = ConsumerBuilder().register("work", print).heartbeat_interval(0.01)
    with ScriptedServer(script) as server, builder.connect(server.url) as consumer:
        assert not consumer.run_one(["default"])
        assert consumer.state == "running"


def test_a_worker_that_the_server_has_forgotten_introduces_itself_again(server: Server) -> None:
    """J10: "unknown worker" ends the heartbeat of gh."""
    consumer = ConsumerBuilder().register("work", print).heartbeat_interval(0.02).connect(server.url)
    forgotten = server.faults.refuse("BEAT", text="unknown worker")
    thread = threading.Thread(target=consumer.run, args=[["default"]])
    thread.start()
    until(lambda: forgotten.struck)
    now = datetime.now(UTC)
    until(lambda: any(worker.last_beat > now for worker in server.workers))
    consumer.terminate()
    server.clock.advance(2.1)
    thread.join(20)
    consumer.close()


# -- names and values -----------------------------------------------------------------------------------------------


def test_the_name_of_a_queue_cannot_smuggle_in_a_command(server: Server, client: Client) -> None:
    """D1: cx and gh paste names into FETCH: `x`, CR LF, `QUEUE REMOVE default` removes the queue."""
    jid = client.push(Job("work"))
    with ConsumerBuilder().register("work", print).connect(server.url) as consumer:
        commands = server.info["server"]["command_count"]
        for name in ("x\r\nQUEUE REMOVE default", "x\nFLUSH", "x default", "*", ""):
            for work in (consumer.run_one, consumer.run, consumer.drain):
                with pytest.raises(ConfigurationError):
                    work([name])
            with pytest.raises(ConfigurationError):
                client.remove_queues(name if name != "*" else "* ")
        assert server.info["server"]["command_count"] == commands
    assert server.queue("default").jids == [jid]


def test_a_push_that_fails_says_so(server: Server, client: Client) -> None:
    """D5: cx returns False for whatever went wrong, and a job that nobody looks for is gone."""
    commands = server.info["server"]["command_count"]
    for args in ([float("nan")], [object()], [{1: 2}], [2**53 + 1], ["\ud800"]):
        with pytest.raises(ValueError, match=r"args\[0\]"):
            client.push(Job("work", args))
    assert server.info["server"]["command_count"] == commands
    server.faults.refuse("PUSHB", text="no room")
    with pytest.raises(ServerError, match="no room"):
        client.push(Job("work"))


def test_a_bulk_push_that_is_partly_refused_names_the_jobs() -> None:
    """D9: cx has no PUSHB, and tells of no single push why it failed."""
    good, bad = Job("work"), Job("work")

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        document = json.dumps({bad.jid: "no room"}).encode()
        peer.say(b"$%d\r\n%b\r\n" % (len(document), document))
        peer.wait_for_end()

    with ScriptedServer(script) as server, Client(server.url) as client:
        assert client.push_bulk([good, bad]) == {bad.jid: "ERR no room"}
