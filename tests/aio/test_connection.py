"""The async connection: what happens at its limits."""

from __future__ import annotations

import gc
import socket
from time import monotonic
from typing import Any

import pytest

from faktory import ConnectFailed, ConnectionLost
from faktory.commands import Info
from faktory.network import opening
from faktory.server import Server
from tests.certificates import Certificates
from tests.loops import Loop
from tests.places import sockets
from tests.scripted import Peer, ScriptedServer


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
