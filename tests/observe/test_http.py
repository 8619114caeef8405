"""The server of probes and scrapes, and who may be hostile to it."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from faktory import ConfigurationError, ThreadStartFailed
from faktory.observe import http as ours
from faktory.observe.http import Answer, Server, place_of
from faktory.runtime.ticking import monotonic


def page(query: str) -> Answer:
    if query == "bad":
        raise ValueError("no page today")
    return Answer(200, f"query {query}\n")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("127.0.0.1", 0, {"/page": page, "/big": lambda _: Answer(200, "x" * 5_000_000)}) as server:
        yield server


def ask(server: Server, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def raw(server: Server, data: bytes) -> bytes:
    with socket.create_connection((server.host, server.port), 10) as client:
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_get_and_head_are_answered(server: Server) -> None:
    assert ask(server, "/page?verbose") == (200, "query verbose\n")
    assert ask(server, "/page", "HEAD") == (200, "")
    head = raw(server, b"HEAD /page HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 7\r\n" in head
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    answer = raw(server, f"{method} /page HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD\r\n" in answer


def test_an_unknown_path_names_the_known_ones(server: Server) -> None:
    assert ask(server, "/pages") == (404, "there is nothing here; try /page, /big\n")


@pytest.mark.parametrize("request_", [b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"\x16\x03\x01\n\n"])
def test_what_is_no_request_is_refused(server: Server, request_: bytes) -> None:
    assert raw(server, request_).startswith(b"HTTP/1.1 400 ")


def test_a_request_may_come_byte_by_byte(server: Server) -> None:
    with socket.create_connection((server.host, server.port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /page?x HTTP/1.0\r\n\r\n":
            client.send(bytes([byte]))
        assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b"query x\n")


def test_a_request_that_is_too_large_is_refused(server: Server) -> None:
    with socket.create_connection((server.host, server.port), 10) as client:
        client.sendall(b"GET /page HTTP/1.1\r\nX: " + b"x" * ours.LARGEST)
        assert client.recv(12) == b"HTTP/1.1 431"


def test_a_page_that_fails_is_a_500_and_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(server, "/page?bad")[0] == 500
    assert "the page '/page' could not be made" in caplog.text
    assert ask(server, "/page?good")[0] == 200


def test_a_large_page_arrives_whole(server: Server) -> None:
    assert len(ask(server, "/big")[1]) == 5_000_000


def test_a_slow_client_costs_only_its_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "TIMEOUT", 0.05)
    with socket.create_connection((server.host, server.port), 10) as slow:
        slow.sendall(b"GET /page HTTP/1.1\r\n")
        reader = socket.create_connection((server.host, server.port), 10)  # asks, and does not read
        reader.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        assert slow.recv(100) == b""
        reader.close()
    monkeypatch.undo()
    assert ask(server, "/page?x")[0] == 200


def test_too_many_connections_end_the_oldest(server: Server) -> None:
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection((server.host, server.port), 10)) for _ in range(ours.MOST)
        ]
        assert ask(server, "/page?x")[0] == 200
        assert crowd[0].recv(1) == b""


@pytest.mark.slow
def test_a_flood_is_taken_at_a_bounded_rate(server: Server) -> None:
    taken_at: list[float] = []
    real = server._accept
    server._accept = lambda: (taken_at.append(monotonic()), real())  # type: ignore[method-assign, assignment, func-returns-value]

    def flood() -> None:
        for _ in range(10):
            with socket.create_connection((server.host, server.port), 10):
                pass

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert ask(server, "/page?x")[0] == 200
    assert len(taken_at) >= 40 / ours.BATCH
    assert taken_at[-1] - taken_at[0] >= (len(taken_at) - 2) * ours.PAUSE * 0.9


def test_a_client_that_goes_away_harms_nothing(server: Server) -> None:
    for data in (b"", b"GET /pa", b"GET /big HTTP/1.1\r\n\r\n"):
        with socket.create_connection((server.host, server.port), 10) as client:
            client.sendall(data)
    assert ask(server, "/page?x")[0] == 200


def test_an_error_of_the_thread_does_not_end_it(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        server._accept = real  # type: ignore[method-assign]
        raise ValueError("odd")

    real = server._accept
    server._accept = fail  # type: ignore[method-assign]
    assert ask(server, "/page?x")[0] == 200
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_closing_ends_the_connections_and_frees_the_port(server: Server) -> None:
    with socket.create_connection((server.host, server.port), 10) as client:
        server.close()
        server.close()
        assert client.recv(1) == b""
    Server("127.0.0.1", server.port, {}).close()


def test_a_port_that_is_taken_is_an_error(server: Server) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot serve on 127.0.0.1:{server.port}: .* in use; free the port"):
        Server("127.0.0.1", server.port, {})


def test_without_room_for_its_thread_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(ThreadStartFailed):
        Server("127.0.0.1", 0, {})


def test_it_serves_ipv6_where_there_is_one() -> None:
    try:
        server = Server("::1", 0, {"/page": page})
    except ConfigurationError as exc:
        pytest.skip(str(exc))
    with server:
        assert server.url == f"http://[::1]:{server.port}"
        assert ask(server, "/page?x")[0] == 200


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_a_port_alone_is_on_the_loopback_address(text: str, place: tuple[str, int]) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize("text", ["", "x", "host:", "host:99999", "::1:80", "http://x:80", "a/b:80", "h:-1", "h:٣"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected HOST:PORT|in brackets"):
        place_of(text)


def test_its_repr_is_its_url(server: Server) -> None:
    assert repr(server) == f"<Server http://127.0.0.1:{server.port}>"
