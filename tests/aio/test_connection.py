"""The async connection: what happens at its limits."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
from time import monotonic
from typing import Any

import pytest

from faktory import ConfigurationError, ConnectFailed, ConnectionLost, Job, ProtocolError
from faktory.commands import Flush, Info, Push
from faktory.network import opening
from faktory.server import Server
from tests.certificates import Certificates
from tests.loops import Loop
from tests.places import black_hole, sockets
from tests.scripted import HI, OK, Peer, ScriptedServer


async def count_sockets() -> int:
    return sockets()


def test_time_that_runs_out_between_tcp_and_tls_leaves_no_socket(
    loop: Loop, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings are errors: one that the collector found would fail this test."""
    backend: Any = loop.Connection._backend
    opened: list[str] = []

    async def open_slowly(host: str, port: int, limit: float) -> Any:
        stream = await fast(host, port, limit)
        opened.append(host)
        await loop.sleep(limit)
        return stream

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(ConnectFailed):
                await loop.Connection.open(
                    f"tcp+tls://127.0.0.1:{silent.getsockname()[1]}",
                    connect_timeout=0.02,
                    ssl_context=certificates.client_context(),
                )
        await loop.sleep(0.01)
        assert sockets() == before

    fast = backend.open
    monkeypatch.setattr(type(backend), "open", staticmethod(open_slowly))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = loop.run(count_sockets)
        loop.run(main)
    gc.collect()
    assert len(opened) == 5


def test_a_password_that_nobody_asks_for_is_warned_of(
    loop: Loop, server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N11."""
    monkeypatch.setattr(opening, "_warned", set())

    async def main() -> None:
        for password in ("", ":hunter2@"):
            connection = await loop.Connection.open(f"tcp://{password}127.0.0.1:{server.port}")
            await connection.close()

    loop.run(main)
    assert caplog.text.count("asks for no password though one is configured") == 1
    assert "hunter2" not in caplog.text


def answer_info(peer: Peer) -> None:
    """Answer each command but those after the second, which wait for ever."""
    peer.greet()
    for _ in range(2):
        peer.line()
        peer.say(b"$2\r\n{}\r\n")
    peer.wait_for_end()


def test_each_reply_has_its_own_time_limit(loop: Loop) -> None:
    """One alarm serves many replies: a later one is late neither by an earlier one's limit nor by a longer one's."""

    async def main() -> tuple[float, float]:
        connection = await loop.Connection.open(silent.url, connect_timeout=5, timeout=0.4)
        await connection.call(Info())  # whose limit is nearer than that of the handshake
        await loop.sleep(0.3)
        await connection.call(Info())
        started = monotonic()
        with pytest.raises(ConnectionLost, match=r"no reply from .* within 0.4 s"):
            await connection.call(Info())
        return started, monotonic()

    with ScriptedServer(answer_info) as silent:
        started, ended = loop.run(main)
    assert 0.38 < ended - started < 1.2


def test_a_time_limit_that_comes_down_is_kept(loop: Loop) -> None:
    async def main() -> float:
        connection = await loop.Connection.open(silent.url, timeout=30)
        await connection.call(Info())
        connection.timeout = 0.1
        await connection.call(Info())
        started = monotonic()
        with pytest.raises(ConnectionLost, match=r"no reply from .* within 0.1 s"):
            await connection.call(Info())
        return monotonic() - started

    with ScriptedServer(answer_info) as silent:
        assert 0.08 < loop.run(main) < 0.9


def test_a_stream_that_was_given_up_ends_who_still_reads_or_writes(loop: Loop, server: Server) -> None:
    """As an end or an `OSError`, which a connection makes its own error of: whoever waits, or comes too late."""
    backend: Any = loop.Connection._backend
    told: list[str] = []

    async def main() -> None:
        stream = await backend.open("127.0.0.1", server.port, 5)
        assert await stream.receive(5)  # the greeting

        async def read() -> None:
            try:
                told.append(f"read {await stream.receive(5)!r}")
            except OSError as exc:
                told.append(type(exc).__name__)

        async with backend.group() as group:
            group.start(read)
            await loop.sleep(0.01)
            stream.abort()
        await read()
        with pytest.raises(OSError, match=r"closed|Bad file descriptor"):
            await stream.send(b"INFO\r\n", 5)

    loop.run(main)
    assert len(told) == 2
    assert set(told) <= {"read b''", "ConnectionResetError"}


# -- what a connection refuses, and what closes it ---------------------------------------------------------------------


def test_a_context_of_tls_wants_an_address_of_tls(loop: Loop, certificates: Certificates) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"write tcp\+tls://"):
            await loop.Connection.open("tcp://localhost:7419", ssl_context=certificates.client_context())

    loop.run(main)


def test_a_command_of_two_lines_is_refused_before_it_is_sent(loop: Loop, server: Server) -> None:
    """D1, D3: the last guard, whatever made the line."""

    class Smuggler(Flush):
        def __init__(self) -> None:
            self.line = b"FETCH x\r\nFLUSH\r\n"

    async def main() -> None:
        async with await loop.Connection.open(server.url) as connection:
            before = (await connection.call(Info()))["server"]["command_count"]
            with pytest.raises(ConfigurationError, match="one line"):
                await connection.call(Smuggler())
            assert (await connection.call(Info()))["server"]["command_count"] == before + 1

    loop.run(main)


def test_a_whole_reply_to_another_question_closes_the_connection(loop: Loop) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b":5\r\n")
        peer.wait_for_end()

    async def main() -> None:
        connection = await loop.Connection.open(scripted.url)
        with pytest.raises(ProtocolError):
            await connection.call(Info())
        assert not connection.is_open
        assert "closed" in repr(connection)

    with ScriptedServer(script) as scripted:
        loop.run(main)


def test_a_closed_connection_neither_sends_nor_waits(loop: Loop, server: Server) -> None:
    async def main() -> None:
        connection = await loop.Connection.open(server.url)
        assert "open" in repr(connection)
        await connection.close()
        with pytest.raises(ConnectionLost, match="closed") as lost:
            await connection.call(Info())
        assert not lost.value.maybe_executed
        with pytest.raises(ConnectionLost, match="closed"):
            await connection.receive()
        assert not connection.is_usable()

    loop.run(main)


@pytest.mark.parametrize("together", [True, False], ids=["together", "later"])
def test_a_reply_nobody_asked_for_makes_the_connection_unusable(loop: Loop, together: bool) -> None:
    """H7."""
    more = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(OK + OK if together else OK)
        if not together:
            more.wait(10)
            peer.say(OK)
        peer.wait_for_end()

    async def main() -> None:
        connection = await loop.Connection.open(scripted.url)
        await connection.call(Flush())
        if not together:
            assert connection.is_usable()
            more.set()
        await loop.until(lambda: not connection.is_usable())
        if together:
            with pytest.raises(ProtocolError, match="more than was asked for"):
                await connection.call(Flush())
            assert not connection.is_open
        connection.abort()

    with ScriptedServer(script) as scripted:
        loop.run(main)


def test_a_reply_that_trickles_for_ever_is_given_up(loop: Loop) -> None:
    """N15."""
    is_over = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        while not is_over.wait(0.01):
            peer.say(b"+")

    async def main() -> None:
        connection = await loop.Connection.open(scripted.url, timeout=0.1)
        with pytest.raises(ConnectionLost, match="no whole reply"):
            await connection.call(Info())
        assert not connection.is_open

    with ScriptedServer(script) as scripted:
        loop.run(main)
        is_over.set()


def reset(peer: Peer) -> None:
    """End a connection as a crashed process does."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


def test_a_reset_within_the_handshake_is_a_failure_to_connect(loop: Loop) -> None:
    def script(peer: Peer) -> None:
        peer.say(HI)
        peer.line()
        reset(peer)

    async def main() -> None:
        with pytest.raises(ConnectFailed, match="reset"):
            await loop.Connection.open(scripted.url)

    with ScriptedServer(script) as scripted:
        loop.run(main)


def test_a_reset_within_a_reply_is_a_lost_connection(loop: Loop) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        reset(peer)

    async def main() -> None:
        connection = await loop.Connection.open(scripted.url)
        with pytest.raises(ConnectionLost, match="reset") as lost:
            await connection.call(Info())
        assert lost.value.maybe_executed
        assert not connection.is_open

    with ScriptedServer(script) as scripted:
        loop.run(main)


def test_a_deaf_address_is_given_up_at_the_deadline(loop: Loop) -> None:
    async def main(port: int) -> None:
        with pytest.raises(ConnectFailed, match="timed out"):
            await loop.Connection.open(f"tcp://127.0.0.1:{port}", connect_timeout=0.1)

    with black_hole() as (_, port):
        loop.run(lambda: main(port))


# -- a peer that does not read -----------------------------------------------------------------------------------------

LARGE = Job("work", ["x" * 8_000_000])
"""More than the buffers of a connection hold."""


def test_what_is_sent_waits_for_a_peer_that_reads_later(loop: Loop) -> None:
    received: list[int] = []
    may_read = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        may_read.wait(10)
        received.append(len(peer.line()))
        peer.say(OK)
        peer.wait_for_end()

    async def main() -> None:
        connection = await loop.Connection.open(scripted.url, timeout=10)

        async def read_later() -> None:
            await loop.sleep(0.01)
            assert received == []
            may_read.set()

        await loop.all(lambda: connection.call(Push(LARGE)), read_later)
        await connection.close()

    with ScriptedServer(script) as scripted:
        loop.run(main)
    assert received[0] > 8_000_000


@pytest.mark.parametrize("how", ["silent", "reset"])
def test_what_a_peer_never_reads_is_a_lost_connection(loop: Loop, how: str) -> None:
    is_over = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        if how == "reset":
            peer.sock.recv(1)
            reset(peer)
        else:
            is_over.wait(10)

    async def main() -> None:
        connection = await loop.Connection.open(scripted.url, timeout=0.1 if how == "silent" else 10)
        with pytest.raises(ConnectionLost, match="timed out" if how == "silent" else r"reset|[Bb]roken pipe"):
            await connection.call(Push(LARGE))
        assert not connection.is_open

    with ScriptedServer(script) as scripted:
        loop.run(main)
        is_over.set()


# -- forks -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_copy_of_the_process_drops_the_connection_without_a_word(loop: Loop, server: Server) -> None:
    """W7, P8."""

    async def main() -> None:
        connection = await loop.Connection.open(server.url)
        pid = os.fork()
        if pid == 0:
            try:
                assert not connection.is_usable()
                with pytest.raises(StopIteration):
                    connection.close().send(None)
                assert not connection.is_open
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        await connection.call(Info())  # the parent's conversation goes on
        await connection.close()

    loop.run(main)
