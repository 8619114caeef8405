"""No secret anywhere: not in logs, errors, tracebacks or reprs, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback

import pytest

from faktory import Client, ConsumerBuilder, Job
from faktory.blocking.connection import Connection
from faktory.protocol.address import Address
from faktory.server import Server
from tests.scripted import Peer, ScriptedServer
from tests.waiting import until

PASSWORD = "p4ss-w0rd/ünique"
ARGUMENT = "argument-nobody-may-see"


def test_no_secret_in_the_logs_and_errors_of_a_hard_day(caplog: pytest.LogCaptureFixture) -> None:
    """All levels of all our loggers, and all errors that are raised, through pushes, jobs, outages and refusals."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    def tell(exc: BaseException) -> None:
        told.extend(traceback.format_exception(exc))
        told.extend([repr(exc), str(exc.args)])

    with Server(password=PASSWORD, seed=1) as server:
        for address in (Address("127.0.0.1", server.port, password=PASSWORD + "!"), Address("127.0.0.1", server.port)):
            with pytest.raises(Exception) as refused:
                Connection(address)
            tell(refused.value)
        with Client(server.url) as client:
            told.append(repr(client))

            def work(job: Job) -> None:
                if job.args[1] == "raise":
                    raise ValueError("no good")
                if job.args[1] == "kill":
                    server.kill()

            client.push(Job("work", [ARGUMENT, "return"]))
            client.push(Job("work", [ARGUMENT, "raise"], retry=2))
            client.push(Job("unknown", [ARGUMENT], retry=2))
            client.push(Job("work", [ARGUMENT, "kill"]))
            consumer = ConsumerBuilder().register("work", work).workers(2).heartbeat_interval(0.05).connect(server.url)
            told.append(repr(consumer))
            with pytest.raises(Exception) as lost:
                consumer.run(["default"])
            tell(lost.value)
            with pytest.raises(Exception) as gone:
                client.push(Job("work", [ARGUMENT]))
            tell(gone.value)
            with pytest.raises(Exception) as bad:
                client.push(Job("work", [ARGUMENT, float("nan")]))
            told.append(str(bad.value))
            consumer.close()
    everything = "\n".join([*told, caplog.text, *(str(record.__dict__) for record in caplog.records)])
    assert "no good" in everything  # it does look at what was told
    for secret in (PASSWORD, "p4ss-w0rd", ARGUMENT):
        assert secret not in everything


@pytest.mark.parametrize("front", ["threads", "asyncio"])
def test_a_handler_that_raises_with_the_url_does_not_tell_the_password(
    front: str, caplog: pytest.LogCaptureFixture
) -> None:
    """N10: neither in the report, which the Web UI shows, nor in the log with its traceback."""
    caplog.set_level(logging.DEBUG)
    secret = "s3cret/\u00fcnique"

    def work(job: Job) -> None:
        raise ValueError(f"cannot read {job.args[0]}, nor {secret}")

    with Server(password=secret, seed=1, fetch_wait=0.1) as server, Client(server.url) as client:
        client.push(Job("work", [server.url], retry=2, backtrace=20))
        builder = ConsumerBuilder().register("work", work)
        if front == "threads":
            with builder.connect(server.url) as consumer:
                consumer.drain(["default"])
        else:
            asyncio.run(drain(builder, server.url))
        (job,) = server.retries
        assert job.failure is not None
        told = f"{job.failure.errtype} {job.failure.message} {job.failure.backtrace} {caplog.text}"
    assert told.count("cannot read tcp://:[password]@127.0.0.1") >= 3
    for part in ("s3cret", "nique"):
        assert part not in told


async def drain(builder: ConsumerBuilder, url: str) -> None:
    async with await builder.connect_asyncio(url) as consumer:
        await consumer.drain(["default"])


def test_neither_hash_nor_salt_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    salt = "5a17c0ffee5a17"
    hellos: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.say(b'+HI {"v":2,"s":"%b","i":4000}\r\n' % salt.encode())
        hellos.append(peer.line())
        peer.say(b"-ERR Invalid password\r\n")

    with ScriptedServer(script) as server, pytest.raises(Exception) as refused:
        Connection(Address("127.0.0.1", server.port, password=PASSWORD))
    told = "\n".join(traceback.format_exception(refused.value)) + caplog.text
    (hello,) = hellos
    pwdhash = hello.decode().split('"pwdhash":"')[1][:64]
    assert len(pwdhash) == 64
    for secret in (PASSWORD, salt, pwdhash):
        assert secret not in told


def test_control_bytes_of_the_server_reach_no_terminal(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Fact 22: the server echoes what others send."""
    consumer = ConsumerBuilder().register("work", print).heartbeat_interval(0.02).connect(server.url)
    server.faults.refuse("BEAT", text="odd \x1b[31m\x07 text")
    server.faults.refuse("FETCH", text="odd \x1b[31m\x07 text")
    thread = threading.Thread(target=consumer.run, args=[["default"]])
    thread.start()
    until(lambda: caplog.text.count("odd") >= 2)
    consumer.terminate()
    server.clock.advance(2.1)
    thread.join(20)
    consumer.close()
    assert "\x1b" not in caplog.text
    assert "\x07" not in caplog.text
