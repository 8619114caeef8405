"""The blocking connection: opening it, TLS, exchanges, and every way it breaks."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from faktory import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    Job,
    ProtocolError,
    ServerError,
    VersionMismatch,
)
from faktory.blocking import connection as module
from faktory.blocking.connection import Connection
from faktory.commands import Ack, Fetch, Flush, Info, PushBulk
from faktory.network import names, opening
from faktory.protocol.address import Address
from faktory.protocol.handshake import Identity
from faktory.server import Server
from tests.certificates import Certificates
from tests.scripted import HI, OK, Peer, ScriptedServer
from tests.waiting import until


def test_a_connection_calls_commands(server: Server) -> None:
    with Connection(server.url) as connection:
        assert connection.is_open
        assert connection.call(PushBulk([Job("work", [1])])) == {}
        job = connection.call(Fetch(["default"]))
        assert job is not None
        connection.call(Ack(job.jid))
        assert connection.call(Info())["faktory"]["total_processed"] == 1
    assert not connection.is_open
    with pytest.raises(ConnectionLost, match="is closed") as caught:
        connection.call(Info())
    assert not caught.value.maybe_executed


def test_an_error_reply_leaves_the_connection_usable(server: Server) -> None:
    class Nonsense(Flush):
        def __init__(self) -> None:
            self.line = b"NONSENSE\r\n"

    with Connection(server.url) as connection:
        with pytest.raises(ServerError, match="unknown command NONSENSE"):
            connection.call(Nonsense())
        connection.call(Flush())


def test_a_command_of_two_lines_is_refused_before_it_is_sent(server: Server) -> None:
    """D1, D3: the last guard, whatever made the line."""

    class Smuggler(Flush):
        def __init__(self) -> None:
            self.line = b"FETCH x\r\nFLUSH\r\n"

    with Connection(server.url) as connection:
        before = connection.call(Info())["server"]["command_count"]
        with pytest.raises(ConfigurationError, match="one line"):
            connection.call(Smuggler())
        assert connection.call(Info())["server"]["command_count"] == before + 1


def test_a_worker_says_who_it_is(server: Server) -> None:
    identity = Identity("box", 42, "wid-12345678", ("python", "x"))
    with Connection(server.url, identity=identity):
        (worker,) = server.workers
        assert (worker.wid, worker.hostname, worker.pid, worker.labels) == ("wid-12345678", "box", 42, ("python", "x"))


def test_the_password_is_proven_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """N9, N10."""
    with Server(password="s3cret/ö") as server:
        with Connection(server.url) as connection:
            connection.call(Info())
            assert "s3cret" not in repr(connection)
        wrong = Address("127.0.0.1", server.port, password="wr0ng")
        with pytest.raises(AuthenticationError, match="refused the password") as caught:
            Connection(wrong)
        assert "wr0ng" not in str(caught.value)
        with pytest.raises(AuthenticationError, match="FAKTORY_URL"):
            Connection(Address("127.0.0.1", server.port))
    assert "s3cret" not in caplog.text


def test_a_password_nobody_asked_for_is_warned_of_once(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N11."""
    monkeypatch.setattr(opening, "_warned", set())
    address = Address("127.0.0.1", server.port, password="hunter2")
    for _ in range(2):
        Connection(address).close()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "asks for no password" in warnings[0].getMessage()
    assert "hunter2" not in caplog.text


def test_a_password_in_clear_to_another_machine_is_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_warned", set())
    monkeypatch.setattr(opening, "_is_loopback", lambda host: False)
    with Server(password="hunter2") as server:
        Connection(server.url).close()
    assert "without TLS" in caplog.text


# -- reaching a server ----------------------------------------------------------------------------------------------


def test_a_refused_connection_names_the_server() -> None:
    """N1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}: Connection refused"):
        Connection(f"tcp://127.0.0.1:{port}")


def test_an_unknown_host_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """N2."""

    def fail(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ConnectFailed, match=r"resolve the host name of tcp://nowhere\.invalid:7419"):
        Connection("tcp://nowhere.invalid")


def test_a_host_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(ConnectFailed, match="cannot resolve"):
        Connection("tcp://" + "a" * 70 + ".example")


def test_a_resolver_that_hangs_does_not_outlast_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """N2."""
    go_on = threading.Event()

    def hang(*args: Any, **options: Any) -> Any:
        go_on.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    with pytest.raises(ConnectFailed, match="in time"):
        Connection("tcp://slow.invalid", connect_timeout=0.1)
    assert time.monotonic() - started < 3
    go_on.set()


def test_every_address_of_a_name_is_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """N2: the first one refuses, the second one works."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host, port in [closed, ("127.0.0.1", server.port)]
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    with Connection("tcp://both.invalid") as connection:
        connection.call(Info())


def test_a_deaf_port_is_given_up_at_the_deadline() -> None:
    """N3, N4: connects, and then nothing."""
    with ScriptedServer(lambda peer: peer.wait_for_end()) as server:
        started = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"greeting.*is this a TLS port"):
            Connection(server.url, connect_timeout=0.2)
        assert time.monotonic() - started < 3


def test_a_greeting_that_trickles_is_given_up_at_the_deadline() -> None:
    """N15: each byte comes in time; all of them do not."""

    def trickle(peer: Peer) -> None:
        for _ in range(500):
            peer.say(b"+")
            time.sleep(0.02)

    with ScriptedServer(trickle) as server, pytest.raises(ConnectFailed, match="nothing came in time"):
        Connection(server.url, connect_timeout=0.2)


@pytest.mark.parametrize("said", [b"", b"+HI {", b"+HI {}"])
def test_an_end_before_the_greeting_is_retryable(said: bytes) -> None:
    """N4, N5."""
    with ScriptedServer(lambda peer: peer.say(said)) as server, pytest.raises(ConnectFailed, match="was closed"):
        Connection(server.url)


def test_an_end_during_hello_is_retryable() -> None:
    """N5."""

    def script(peer: Peer) -> None:
        peer.say(HI)
        peer.line()

    with ScriptedServer(script) as server, pytest.raises(ConnectFailed, match="answer to HELLO"):
        Connection(server.url)


def test_too_many_connections_is_told_whenever_it_comes() -> None:
    """N13: it comes after the OK, as the answer to nothing."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.say(b"-ERR too many connections: 2001\r\n")

    with ScriptedServer(script) as server:
        connection = Connection(server.url)
        with pytest.raises(ConnectFailed, match="fewer workers") as caught:
            connection.call(Info())
        assert caught.value.retry_after >= 1
        assert not connection.is_open


@pytest.mark.parametrize(
    ("text", "maybe_executed"), [(b"shutdown in progress", False), (b"redis: client is closed", True)]
)
def test_a_server_that_shuts_down_is_a_lost_connection(text: bytes, maybe_executed: bool) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"-ERR %b\r\n" % text)

    with ScriptedServer(script) as server:
        connection = Connection(server.url)
        with pytest.raises(ConnectionLost, match="shutting down") as caught:
            connection.call(Info())
        assert caught.value.maybe_executed is maybe_executed


@pytest.mark.parametrize("version", [b"1", b"3", b'"2"', b"2.0", b"null"])
def test_another_protocol_version_is_refused(version: bytes) -> None:
    """N12."""
    with ScriptedServer(lambda peer: peer.say(b'+HI {"v":%b}\r\n' % version)) as server, pytest.raises(VersionMismatch):
        Connection(server.url)


@pytest.mark.parametrize("iterations", [1, 999, 100_001, 2_000_000_000])
def test_an_odd_number_of_iterations_is_refused_at_once(iterations: int) -> None:
    """H5, H6."""
    greeting = b'+HI {"v":2,"s":"abc","i":%d}\r\n' % iterations
    with ScriptedServer(lambda peer: peer.say(greeting)) as server:
        started = time.monotonic()
        with pytest.raises(HandshakeError, match="iterations"):
            Connection(Address("127.0.0.1", server.port, password="x"))
        assert time.monotonic() - started < 3


def test_another_kind_of_server_is_told_apart() -> None:
    with ScriptedServer(lambda peer: peer.say(b"HTTP/1.1 400 Bad Request\r\n")) as server, pytest.raises(ProtocolError):
        Connection(server.url)
    with ScriptedServer(lambda peer: peer.say(b"+PONG\r\n")) as server, pytest.raises(ProtocolError, match="Faktory"):
        Connection(server.url)


# -- TLS ------------------------------------------------------------------------------------------------------------


def tls_server(certificates: Certificates, *names: str, **options: Any) -> Server:
    return Server(ssl_context=certificates.server_context(*names, **options))


def test_tls_verifies_and_works(certificates: Certificates) -> None:
    """T18."""
    with tls_server(certificates, "localhost") as server:
        address = Address("localhost", server.port, tls=True)
        with Connection(address, ssl_context=certificates.client_context()) as connection:
            assert connection.call(PushBulk([Job("work", ["x" * 300_000])])) == {}
            job = connection.call(Fetch(["default"]))
            assert job is not None
            assert len(job.args[0]) == 300_000
            assert connection.is_usable()


def test_tls_to_an_ip_address_wants_its_name(certificates: Certificates) -> None:
    """T18."""
    with tls_server(certificates, "127.0.0.1") as server:
        address = Address("127.0.0.1", server.port, tls=True)
        Connection(address, ssl_context=certificates.client_context()).close()


def test_an_untrusted_certificate_is_refused(certificates: Certificates) -> None:
    """N8, T18; with the default context."""
    with tls_server(certificates, "localhost") as server:
        with pytest.raises(ConnectFailed, match="is not trusted") as caught:
            Connection(f"tcp+tls://localhost:{server.port}")
        assert caught.value.retry_after >= 5


def test_an_expired_certificate_is_refused(certificates: Certificates) -> None:
    """N8, T18."""
    past = datetime.now(UTC) - timedelta(days=1)
    with (
        tls_server(certificates, "localhost", not_after=past) as server,
        pytest.raises(ConnectFailed, match="has expired"),
    ):
        Connection(f"tcp+tls://localhost:{server.port}", ssl_context=certificates.client_context())


def test_a_certificate_for_another_host_is_refused(certificates: Certificates) -> None:
    """N8, T18."""
    with (
        tls_server(certificates, "elsewhere.example") as server,
        pytest.raises(ConnectFailed, match="is not for the host localhost"),
    ):
        Connection(f"tcp+tls://localhost:{server.port}", ssl_context=certificates.client_context())


def test_a_certificate_of_another_authority_is_refused(certificates: Certificates) -> None:
    """N8, T18."""
    with (
        tls_server(certificates, "localhost", authority=trustme.CA()) as server,
        pytest.raises(ConnectFailed, match="is not trusted"),
    ):
        Connection(f"tcp+tls://localhost:{server.port}", ssl_context=certificates.client_context())


def test_tls_older_than_1_2_is_refused(certificates: Certificates) -> None:
    """T18."""
    context = certificates.server_context("localhost")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Server(ssl_context=context) as server, pytest.raises(ConnectFailed, match="no TLS with"):
        Connection(f"tcp+tls://localhost:{server.port}", ssl_context=certificates.client_context())


def test_tls_to_a_plain_port_is_explained(server: Server, certificates: Certificates) -> None:
    """N7, T18."""
    with pytest.raises(ConnectFailed, match="did not answer TLS"):
        Connection(f"tcp+tls://localhost:{server.port}", ssl_context=certificates.client_context())


def test_plain_to_a_tls_port_is_explained(certificates: Certificates) -> None:
    """N6, T18."""
    with tls_server(certificates, "localhost") as server, pytest.raises(ConnectFailed, match="tcp\\+tls://"):
        Connection(f"tcp://localhost:{server.port}", connect_timeout=3)


def test_a_lost_tls_connection_may_have_executed(certificates: Certificates) -> None:
    with tls_server(certificates, "localhost") as server:
        address = Address("localhost", server.port, tls=True)
        connection = Connection(address, ssl_context=certificates.client_context())
        server.kill()
        with pytest.raises(ConnectionLost) as caught:
            connection.call(Info())
        assert caught.value.maybe_executed


# -- exchanges that break ------------------------------------------------------------------------------------------


def broken(reply: bytes, *, timeout: float = 1.0) -> tuple[type[BaseException], str]:
    """Call a command whose reply is `reply` and then an end; return how it failed."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(reply)

    with ScriptedServer(script) as server:
        connection = Connection(server.url, timeout=timeout, max_bulk=1000)
        with pytest.raises((ConnectionLost, ProtocolError)) as caught:
            connection.call(Info())
        assert not connection.is_open
        return caught.type, str(caught.value)


@pytest.mark.parametrize("reply", [b"", b"$", b"$10", b"$10\r\nabc", b"+O", b"$5\r\nhello\r"])
def test_an_end_within_a_reply_is_a_lost_connection(reply: bytes) -> None:
    """J2."""
    kind, text = broken(reply)
    assert kind is ConnectionLost
    assert "closed the connection" in text


@pytest.mark.parametrize(
    "reply",
    [b"\n", b"+\n", b"+OK\n", b"$-2\r\n", b"$abc\r\n", b"*1\r\n", b"!\r\n", b"$9999999999999\r\n", b"$3\r\nabcde"],
)
def test_a_reply_against_the_rules_drops_the_connection(reply: bytes) -> None:
    """H1, H3, H4."""
    assert broken(reply)[0] is ProtocolError


def test_an_endless_line_is_cut() -> None:
    """H2."""
    assert broken(b"+" + b"x" * 100_000)[0] is ProtocolError


def test_a_silent_server_is_given_up_at_the_deadline() -> None:
    """N14, N16."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.wait_for_end()

    with ScriptedServer(script) as server:
        connection = Connection(server.url, timeout=0.2)
        started = time.monotonic()
        with pytest.raises(ConnectionLost, match=r"no reply from .* within 0.2 s") as caught:
            connection.call(Info())
        assert caught.value.maybe_executed
        assert 0.1 < time.monotonic() - started < 3


def test_a_reply_that_trickles_for_ever_is_given_up() -> None:
    """N15."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        for _ in range(500):
            peer.say(b"+")
            time.sleep(0.02)

    with ScriptedServer(script) as server:
        connection = Connection(server.url, timeout=0.2)
        started = time.monotonic()
        with pytest.raises(ConnectionLost, match="no whole reply"):
            connection.call(Info())
        assert time.monotonic() - started < 3


class Frozen:
    """A stream whose process is frozen for a minute after each piece, while the next one comes."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.now = 100.0
        self._pieces = pieces

    def send(self, data: bytes, limit: float, replies: int = 1) -> None:
        pass

    def receive(self, size: int, limit: float) -> bytes:
        self.now += 60.0
        return self._pieces.pop(0)

    def is_readable(self) -> bool:
        return bool(self._pieces)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_reply_that_is_there_after_a_freeze_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    """N15: only what has not come by then is given up."""
    stream = Frozen([b"$13\r\n{", b'"a":', b"123456", b"7}\r\n"][: 4 if is_whole else 3])
    with Connection(server.url, timeout=5) as connection:
        assert connection._stream is not None
        connection._stream.close()
        monkeypatch.setattr(connection, "_stream", stream)
        monkeypatch.setattr("faktory.blocking.connection.monotonic", lambda: stream.now)
        if is_whole:
            assert connection.call(Info()) == {"a": 1234567}
        else:
            with pytest.raises(ConnectionLost, match="no whole reply"):
                connection.call(Info())


def test_a_reply_nobody_asked_for_drops_the_connection() -> None:
    """H7."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(OK + OK)
        peer.wait_for_end()

    with ScriptedServer(script) as server:
        connection = Connection(server.url)
        connection.call(Flush())
        assert not connection.is_usable()
        with pytest.raises(ProtocolError, match="more than was asked for"):
            connection.call(Flush())
        assert not connection.is_open


def test_closing_says_goodbye() -> None:
    said: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.greet()
        said.extend([peer.line(), peer.line()])

    with ScriptedServer(script) as server:
        Connection(server.url).close()
    assert said == [b"END", b""]


def test_another_thread_can_interrupt_an_exchange() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        asked.set()
        peer.wait_for_end()

    with ScriptedServer(script) as server:
        connection = Connection(server.url, timeout=20)

        def interrupt() -> None:
            asked.wait(5)
            connection.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            connection.call(Info())
        assert time.monotonic() - started < 5
        thread.join()
        connection.interrupt()  # of no effect when closed


@pytest.mark.parametrize(
    ("host", "is_warned_of"),
    [("localhost", False), ("127.0.0.1", False), ("127.8.9.1", False), ("::1", False), ("db.example", True)],
)
def test_a_password_that_others_could_read_is_warned_of(
    host: str, is_warned_of: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N11."""
    monkeypatch.setattr(opening, "_warned", set())
    for _ in range(2):
        opening.warn_of_password(Address(host, 7419, password="hunter2"), is_wanted=True)
    assert caplog.text.count("travels without TLS") == is_warned_of
    caplog.clear()
    opening.warn_of_password(Address(host, 7420, tls=True, password="hunter2"), is_wanted=True)
    opening.warn_of_password(Address(host, 7421), is_wanted=True)
    assert not caplog.text


@pytest.mark.parametrize(
    ("address", "names"),
    [
        (Address("127.0.0.1", 7419), []),
        (Address("db.example", 7419), ["encodings.idna"]),
        (Address("127.0.0.1", 7419, tls=True), ["encodings.idna", "ssl"]),
        (Address("127.0.0.1", 7419, password="hunter2"), ["hashlib"]),
    ],
)
def test_what_a_connection_needs_is_imported_beforehand(
    address: Address, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(opening, "load", loaded.append)
    opening.prepare(address)
    assert loaded == names


def test_this_machine_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names.local_hostname() == socket.gethostname()
    monkeypatch.setattr(socket, "gethostname", str)
    assert names.local_hostname() == "localhost"


def test_a_connection_the_server_closed_is_not_usable(server: Server) -> None:
    """N14."""
    connection = Connection(server.url)
    assert connection.is_usable()
    server.disconnect_all(reset=False)
    until(lambda: not connection.is_usable())
    connection.abort()


def test_a_connection_idle_for_a_minute_is_not_usable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """N14."""
    with Connection(server.url) as connection:
        now = time.monotonic()
        monkeypatch.setattr(module, "monotonic", lambda: now + 59)
        assert connection.is_usable()
        monkeypatch.setattr(module, "monotonic", lambda: now + 61)
        assert not connection.is_usable()


@pytest.mark.parametrize("replies", [b"+OK\r\n$-1\r\n", b"+OK\r\n$2\r\n{}\r\n", b"-ERR no\r\n$-1\r\n"])
def test_two_replies_are_read_whatever_pieces_they_come_in(replies: bytes) -> None:
    """N15: the kernel is asked to wake us for both, but the second may still come in parts."""

    def script(peer: Peer) -> None:
        peer.greet()
        for cut in range(1, len(replies)):
            assert peer.line() == b"A"
            assert peer.line() == b"B"
            peer.say(replies[:cut])
            # so long that the first part has been read
            time.sleep(0.002)
            peer.say(replies[cut:])
        peer.wait_for_end()

    with ScriptedServer(script) as server, Connection(server.url, timeout=5) as connection:
        for _ in range(1, len(replies)):
            connection.send(b"A\r\nB\r\n", 2)
            first, second = connection.receive(), connection.receive()
            assert first == "OK" or isinstance(first, ServerError)
            assert second in (None, b"{}")


def test_the_second_of_two_replies_may_come_much_later_than_the_first() -> None:
    """The first is in the kernel when the client begins to wait for both."""
    in_kernel = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.line()
        peer.say(b"+OK\r\n")
        in_kernel.set()
        time.sleep(0.1)
        peer.say(b"$-1\r\n")
        peer.wait_for_end()

    with ScriptedServer(script) as server, Connection(server.url, timeout=5) as connection:
        connection.send(b"A\r\nB\r\n", 2)
        assert in_kernel.wait(5)
        time.sleep(0.02)
        assert (connection.receive(), connection.receive()) == ("OK", None)


def test_the_second_of_two_replies_may_not_come_at_all() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"+OK\r\n")
        peer.wait_for_end()

    with ScriptedServer(script) as server, Connection(server.url, timeout=0.2) as connection:
        connection.send(b"A\r\nB\r\n", 2)
        with pytest.raises(ConnectionLost, match=r"no reply from .* within 0.2 s"):
            connection.receive()
        assert not connection.is_open


def test_a_reply_nobody_asked_for_is_seen_after_two_that_were() -> None:
    """H7: though it is shorter than two."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"+OK\r\n$-1\r\n")
        peer.line()
        peer.say(OK)
        said.set()
        peer.wait_for_end()

    said = threading.Event()
    with ScriptedServer(script) as scripted, Connection(scripted.url) as connection:
        connection.send(b"A\r\nB\r\n", 2)
        assert (connection.receive(), connection.receive()) == ("OK", None)
        assert said.wait(5)
        until(lambda: not connection.is_usable())


def test_an_interrupt_within_an_exchange_closes_the_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: else the next command would read this one's reply."""
    connection = Connection(server.url)

    def interrupt() -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(connection), "_read", lambda self: interrupt())
    with pytest.raises(KeyboardInterrupt):
        connection.call(Info())
    assert not connection.is_open


def test_an_interrupt_while_sending_closes_the_connection() -> None:
    """P5: else the next command would begin in the midst of this one."""
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        done.wait(20)  # reads nothing, so that the kernel's buffers fill up

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ScriptedServer(script) as server:
            connection = Connection(server.url, timeout=20)
            data = b"x" * 50_000_000 + b"\r\n"
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                connection.send(data)
            done.set()
            assert not connection.is_open
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_send_that_fails_did_not_execute() -> None:
    """The last byte, the LF, never left; N15 in the other direction."""

    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        done.wait(20)  # reads nothing, so that the kernel's buffers fill up

    with ScriptedServer(script) as server:
        connection = Connection(server.url, timeout=0.2)
        with pytest.raises(ConnectionLost, match="while sending") as caught:
            connection.send(b"x" * 50_000_000 + b"\r\n")
        done.set()
        assert not caught.value.maybe_executed


def test_a_large_reply_is_read_in_linear_time() -> None:
    """D7."""
    size = 30_000_000

    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        document = b'{"x":"%b"}' % (b"y" * size)
        peer.say(b"$%d\r\n%b\r\n" % (len(document), document))

    with ScriptedServer(script) as server, Connection(server.url) as connection:
        started = time.monotonic()
        assert len(connection.call(Info())["x"]) == size
        assert time.monotonic() - started < 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_drops_the_connection_without_a_word(server: Server) -> None:
    """W7, P8."""
    connection = Connection(server.url)
    pid = os.fork()
    if pid == 0:
        try:
            assert not connection.is_open
            connection.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    connection.call(Info())  # the parent's conversation goes on
    connection.close()


def test_a_context_of_tls_wants_an_address_of_tls() -> None:
    with pytest.raises(ConfigurationError, match=r"write tcp\+tls://"):
        Connection("tcp://localhost:7419", ssl_context=ssl.create_default_context())
