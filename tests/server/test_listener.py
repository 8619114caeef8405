from __future__ import annotations

import json
import resource
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

import pytest
import trustme

from faktory.server import Server
from tests.server.raw_client import RawClient
from tests.waiting import until

Connect = Callable[..., RawClient]


# -- lines and pieces ------------------------------------------------------------------------------------------


def test_commands_may_come_in_any_pieces(server: Server, connect: Connect) -> None:
    client = connect()
    for byte in b'PUSH {"jid":"job-00000","jobtype":"t","args":[]}\nINFO\r\n':
        client.sock.sendall(bytes([byte]))
    assert client.read() == b"+OK\r\n"
    assert client.read()[:1] == b"$"


def test_pipelined_commands_are_answered_in_order(client: RawClient) -> None:
    count = 2_000
    lines = [f'PUSH {{"jid":"job-{number:05d}","jobtype":"t","args":[]}}\nNOPE{number}\n' for number in range(count)]
    threading.Thread(target=client.sock.sendall, args=("".join(lines).encode(),)).start()
    for number in range(count):
        assert client.read() == b"+OK\r\n"
        assert client.read() == f"-ERR unknown command NOPE{number}\r\n".encode()


def test_commands_behind_a_waiting_fetch_wait_too(server: Server, connect: Connect) -> None:
    worker, producer = connect(), connect()
    worker.sock.sendall(b'FETCH default\nACK {"jid":"job-00000"}\nFETCH default\nNOPE\n')
    assert server.wait_until(lambda: server.waiting == 1, 10)
    producer.push("job-00000")
    assert b"job-00000" in worker.read()
    assert worker.read() == b"+OK\r\n"
    assert server.wait_until(lambda: server.waiting == 1, 10)
    producer.push("job-00001")
    assert b"job-00001" in worker.read()
    assert worker.read() == b"-ERR unknown command NOPE\r\n"


@pytest.mark.slow
def test_fetch_on_an_empty_queue_takes_two_seconds(client: RawClient) -> None:
    begin = time.monotonic()
    assert client.call("FETCH nothing") == b"$-1\r\n"
    assert 1.9 < time.monotonic() - begin < 2.5


def test_a_client_that_finished_sending_gets_all_its_replies(server: Server) -> None:
    with RawClient(server.port) as client:
        client.sock.sendall(b"INFO\n" * 50 + b"PUSH without an end")
        client.sock.shutdown(socket.SHUT_WR)
        for _ in range(50):
            assert client.read()[:1] == b"$"
        assert client.is_closed()
    assert server.queues == {}


def test_end_closes_without_a_reply(client: RawClient) -> None:
    client.send("END")
    assert client.is_closed()


def test_a_line_too_long_is_refused() -> None:
    with Server(max_line=1_000) as server, RawClient(server.port) as client:
        assert client.push("job-00000", args=["x" * 900])[:1] == b"+"
        assert client.push("job-00001", args=["x" * 1_000]) == b"-ERR command too long: the limit is 1000 bytes\r\n"
        assert client.is_closed()


def test_a_long_greeting_is_refused_early(server: Server) -> None:
    with RawClient(server.port, None) as client:
        client.read()
        client.sock.sendall(b"x" * 70_000)
        assert b"command too long" in client.read()


def test_large_jobs_pass(client: RawClient) -> None:
    text = "x" * 5_000_000
    client.push("job-00000", args=[text])
    assert client.json("FETCH default")["args"] == [text]


def test_a_client_that_does_not_read_is_held_back_not_the_others(server: Server, connect: Connect) -> None:
    stuck, other = connect(), connect()
    for number in range(8):
        other.push(f"job-0000{number}", args=["x" * 1_000_000])
    stuck.sock.sendall(b"FETCH default\n" * 8 + b"INFO\n")
    assert server.wait_until(lambda: len(server.working) >= 4, 10)
    assert other.push("job-00009", queue="other") == b"+OK\r\n"
    for number in range(8):
        assert f'"job-0000{number}"'.encode() in stuck.read()
    assert json.loads(stuck.read().split(b"\r\n")[1])["faktory"]["sets"]["working"] == 8


def test_a_fetch_of_a_client_that_has_gone_takes_a_job(server: Server, connect: Connect) -> None:
    for reset in (False, True):
        gone = RawClient(server.port, "w")
        gone.send("FETCH default")
        assert server.wait_until(lambda: server.waiting == 1, 10)
        if reset:
            gone.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        producer = connect()
        # Nobody looks at its socket while its FETCH waits: it counts as a worker until that has ended.
        assert [worker.wid for worker in server.workers] == ["w"]
        producer.push(f"job-0000{int(reset)}")
        assert f"job-0000{int(reset)}" in server.working.jids
        assert server.wait_until(lambda: not server.workers, 10)
        assert producer.push("job-other", queue="other") == b"+OK\r\n"


# -- handshake -------------------------------------------------------------------------------------------------


def test_what_is_no_hello_closes_at_once(server: Server) -> None:
    with RawClient(server.port, None) as client:
        client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.read() == b'+HI {"v":2}\r\n'
        assert client.is_closed()


@pytest.mark.slow
def test_a_handshake_that_takes_longer_than_two_seconds_is_ended(server: Server) -> None:
    with RawClient(server.port, None) as client, RawClient(server.port) as quick:
        begin = time.monotonic()
        client.read()
        assert client.is_closed()
        assert 1.8 < time.monotonic() - begin < 2.5
        assert quick.call("QUEUE LATENCY") == b"$2\r\n{}\r\n"


def test_the_connection_limit() -> None:
    with Server(max_connections=2) as server, RawClient(server.port), RawClient(server.port) as second:
        with RawClient(server.port) as third:
            assert third.read() == b"-ERR too many connections: 3\r\n"
            assert third.is_closed()
        assert server.wait_until(lambda: server.info["server"]["connections"] == 2, 10)
        assert second.call("FLUSH") == b"+OK\r\n"


# -- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    return ours, theirs


def test_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with Server(ssl_context=contexts[0]) as server:
        assert server.url == f"tcp+tls://127.0.0.1:{server.port}"
        with RawClient(server.port, "w", context=contexts[1]) as client:
            text = "x" * 3_000_000
            client.push("job-00000", args=[text])
            assert client.json("FETCH default")["args"] == [text]
            client.sock.sendall(b"INFO\n" * 2_000)
            assert all(client.read()[:1] == b"$" for _ in range(2_000))
            client.send("FETCH default")
            assert server.wait_until(lambda: server.waiting == 1, 10)
            server.clock.advance(2)
            assert client.read() == b"$-1\r\n"
            client.send("END")
            assert client.is_closed()


def test_a_plain_client_on_a_tls_port_is_closed(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with Server(ssl_context=contexts[0]) as server, RawClient(server.port, None) as client:
        client.sock.sendall(b'HELLO {"v":2}\r\n')
        # The real server says an alert's few bytes or nothing, then closes.
        data = client.file.read()
        assert b"HI" not in data


def test_a_tls_client_on_a_plain_port_is_closed(
    server: Server, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as sock, pytest.raises((ssl.SSLError, ConnectionError)):
        contexts[1].wrap_socket(sock, server_hostname="127.0.0.1")


# -- many ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_hundred_connections_are_all_served(server: Server) -> None:
    """Each pushes, fetches and acknowledges in turn; nobody may wait long, and the sum must be thousands a second."""
    clients = [RawClient(server.port) for _ in range(200)]
    selector = selectors.DefaultSelector()
    done = [0] * len(clients)
    lines = [
        [
            f'PUSH {{"jid":"job-{number:05d}","jobtype":"t","args":[],"queue":"q{number}"}}\n'.encode(),
            f"FETCH q{number}\n".encode(),
            f'ACK {{"jid":"job-{number:05d}"}}\n'.encode(),
        ]
        for number in range(len(clients))
    ]
    try:
        for number, client in enumerate(clients):
            selector.register(client.sock, selectors.EVENT_READ, number)
            client.sock.sendall(lines[number][0])
        end = time.process_time() + 0.5  # of ours and the server's, whatever else runs here
        while time.process_time() < end:
            for key, _ in selector.select(0.1):
                number = key.data
                reply = clients[number].sock.recv(4096)
                assert reply[:1] in b"+$", reply
                done[number] += 1
                clients[number].sock.sendall(lines[number][done[number] % 3])
    finally:
        selector.close()
        for client in clients:
            client.close()
    assert min(done) > 0.5 * max(done), (min(done), max(done))
    assert sum(done) > 1_000  # 5,000 a second is measured by hand: this machine is shared


def test_a_command_that_breaks_the_server_is_answered_and_harms_nobody_else(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    one, other = connect(), connect()
    monkeypatch.setattr(server._broker.store, "flush", broken)
    assert one.call("FLUSH") == b"-ERR internal error\r\n"
    assert other.push("job-00000") == b"+OK\r\n"
    assert "a command broke the embedded server" in caplog.text


def test_a_flood_of_commands_leaves_the_others_their_turn(server: Server, connect: Connect) -> None:
    """The witness is answered long before a pipeline of thousands of commands is through."""
    flood, witness = connect(), connect()
    count = 20_000
    sending = threading.Thread(target=flood.sock.sendall, args=(b"NOPE\n" * count + b"END\n",))
    sending.start()
    assert flood.read() == b"-ERR unknown command NOPE\r\n"
    assert witness.push("job-00000") == b"+OK\r\n"
    rest = flood.file.read()
    sending.join()
    assert rest.count(b"\n") == count - 1


# -- clients that must wait, or go ------------------------------------------------------------------------------


def test_clients_that_come_while_there_are_no_file_descriptors_are_served_later(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as late:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            late.connect(("127.0.0.1", server.port))
            until(lambda: "cannot accept a connection" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        late.settimeout(10)
        assert late.recv(100).startswith(b"+HI")
