"""T8: a server that means harm, in a table: whatever it says, the answer is a typed error in time, and nothing is left.

Section 2.2 of the faults (H1 to H10). Each row names its fault; each test runs the row against a `Client`, a consumer,
or both. What a row makes the server say also holds terminal escapes where there is room for a text: they must not come
out of any error or log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faktory import (
    AuthenticationError,
    Client,
    ConnectFailed,
    ConnectionLost,
    Consumer,
    ConsumerBuilder,
    FaktoryError,
    HandshakeError,
    Job,
    ProtocolError,
    PushOutcomeUnknown,
    ServerError,
    VersionMismatch,
)
from faktory import builder as builder_module
from faktory.blocking import heartbeat as heartbeat_module
from faktory.blocking import worker as worker_module
from faktory.protocol.address import Address
from faktory.protocol.wire import MAX_BULK, MAX_LINE
from tests.scripted import HI, OK, Peer, ScriptedServer
from tests.waiting import until

LIMIT = 0.2
"""Seconds that the clients and consumers here wait: to connect, and for a reply."""
ESCAPES = "\x1b[31m\x1b]0;owned\x07\x00\x9b2J\u202edrow"
"""What a terminal would obey, or show as something else."""
POISON = ESCAPES.encode()
FORBIDDEN = "\x1b\x07\x00\x9b\u202e\x7f"

Saying = bytes | Callable[[Peer], None]
"""What the server answers with: bytes, or whatever it does instead."""


def silence(peer: Peer) -> None:
    """Say nothing, and wait."""
    peer.wait_for_end()


def trickle(peer: Peer) -> None:
    """Say a byte at a time, each one soon enough, for ever."""
    trickled(b"+", b"x")(peer)


def trickled(head: bytes, piece: bytes) -> Callable[[Peer], None]:
    def say(peer: Peer) -> None:
        peer.say(head)
        while True:
            peer.say(piece)
            time.sleep(0.02)  # what a trickle is; it ends with the client

    return say


def hang_up(peer: Peer) -> None:
    """End the connection."""
    raise OSError("the script ends here")


def then_hang_up(data: bytes) -> Saying:
    def say(peer: Peer) -> None:
        peer.say(data)
        hang_up(peer)

    return say


def pouring(head: bytes, piece: bytes = b"x" * 65536, pieces: int = 64) -> Saying:
    """Say `head` and then more than anybody should take."""

    def say(peer: Peer) -> None:
        peer.say(head)
        for _ in range(pieces):
            peer.say(piece)

    return say


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


class Hostile:
    """A server that is honest but for the answers it is given, by verb; HI is its greeting.

    A list of answers is used up one by one, then the server is honest. `lines` are the commands that came.
    """

    def __init__(self, **answers: Saying | list[Saying]) -> None:
        self._answers = answers
        self._jobs: list[bytes] = []
        self._lock = threading.Lock()
        self.lines: list[tuple[str, bytes]] = []
        self._empty = threading.Event()

    def offer(self, *jobs: bytes) -> None:
        """Hand out these jobs, one a FETCH, where the table has no other answer."""
        self._jobs.extend(jobs)

    def sent(self, *verbs: str) -> list[tuple[str, bytes]]:
        with self._lock:
            return [line for line in self.lines if line[0] in verbs]

    def script(self, peer: Peer) -> None:
        self._answer(peer, "HI", b"")
        while line := peer.line():
            verb, _, payload = line.partition(b" ")
            with self._lock:
                self.lines.append((verb.decode(), payload))
            self._answer(peer, verb.decode(), payload)

    def _answer(self, peer: Peer, verb: str, payload: bytes) -> None:
        with self._lock:
            saying = self._answers.get(verb, b"")
            if isinstance(saying, list):
                saying = saying.pop(0) if saying else b""
        saying = saying or self._honest(verb)
        if isinstance(saying, bytes):
            peer.say(saying)
        else:
            saying(peer)

    def _honest(self, verb: str) -> bytes:
        if verb == "HI":
            return HI
        if verb == "FETCH":
            if self._jobs:
                return bulk(self._jobs.pop(0))
            self._empty.wait(0.005)
            return b"$-1\r\n"
        return {"PUSHB": bulk(b"{}"), "INFO": bulk(b'{"server":{}}')}.get(verb, OK)


class Watch:
    """Keeps every text that somebody could read, and how long a call took."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._told: list[str] = []

    def failing(self, call: Callable[[], object], kinds: tuple[type[Exception], ...]) -> Exception:
        """Make a call that must fail in time with one of these errors, or one below it, and return the error."""
        started = time.monotonic()
        with pytest.raises(FaktoryError) as caught:
            call()
        self.check_time(started)
        error = caught.value
        assert isinstance(error, kinds), f"{type(error).__name__}: {error}"
        self._told += [str(error), repr(error), *traceback.format_exception(error), *getattr(error, "__notes__", ())]
        return error

    def check_time(self, started: float) -> None:
        assert time.monotonic() - started < LIMIT + 3  # the usual limits are 5 s and more

    def check_texts(self) -> None:
        everything = "".join([*self._told, self._caplog.text])
        assert not [character for character in FORBIDDEN if character in everything]
        assert not any(len(text) > 6 * MAX_LINE for text in self._told)  # a byte is shown in up to four


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Shorten the time limits of consumers, and check at the end what was told and what is left open."""
    caplog.set_level(logging.DEBUG, "faktory")
    monkeypatch.setattr(builder_module, "CONNECT_TIMEOUT", LIMIT)
    monkeypatch.setattr(heartbeat_module, "REPLY_TIMEOUT", LIMIT)
    monkeypatch.setattr(worker_module, "FETCH_TIMEOUT", LIMIT)
    before = open_sockets()
    watch = Watch(caplog)
    yield watch
    watch.check_texts()
    until(lambda: open_sockets() <= before)


def open_sockets() -> int:
    found = 0
    for name in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").is_dir() else ():
        with contextlib.suppress(OSError):
            found += str(name.readlink()).startswith("socket:")
    return found


def client_of(server: ScriptedServer, *, password: str | None = None) -> Client:
    address = Address("127.0.0.1", server.port, password=password)
    return Client(address, connect_timeout=LIMIT, timeout=LIMIT)


def connect(server: ScriptedServer, *, password: str | None = None, interval: float = 15.0) -> Consumer:
    builder = ConsumerBuilder().register("work", lambda job: None).shutdown_timeout(0.5).heartbeat_interval(interval)
    return builder.connect(Address("127.0.0.1", server.port, password=password))


@dataclass(frozen=True)
class Row:
    """One behaviour of a server: its fault, a name, what it says, and the errors that may come of it."""

    fault: str
    name: str
    says: Saying
    errors: tuple[type[Exception], ...] = (ProtocolError,)
    password: str | None = None


def rows(*table: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.fault}-{row.name}") for row in table])


def deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


# -- before the first command ---------------------------------------------------------------------------------------

GREETINGS = (
    Row("H1", "only a line feed", b"\n"),
    Row("H1", "a plus and a line feed", b"+\n"),
    Row("H1", "no carriage return", b'+HI {"v":2}\n'),
    Row("H1", "an empty line", b"\r\n"),
    Row("H2", "a line without an end", pouring(b"+HI ")),
    Row("H2", "a line above the limit", b'+HI {"v":2,"x":"' + b"x" * 4096 + b'"}\r\n'),
    Row("H3", "a bulk string of 10 TB", pouring(b"$9999999999999\r\n")),
    Row("H3", "a bulk length of many digits", b"$" + b"9" * 4000 + b"\r\n"),
    Row("H4", "nil", b"$-1\r\n"),
    Row("H4", "a bulk string", bulk(b'HI {"v":2}')),
    Row("H4", "an integer", b":2\r\n"),
    Row("H4", "an array", b"*1\r\n+HI\r\n"),
    Row("H4", "an unknown type with escapes", b"!" + POISON + b"\r\n"),
    Row("H4", "an error with escapes", b"-ERR " + POISON + b"\r\n"),
    Row("H4", "escapes alone", b"+" + POISON + b"\r\n"),
    Row("H4", "no JSON", b"+HI " + POISON + b"\r\n"),
    Row("H4", "JSON cut short", b'+HI {"v":2\r\n'),
    Row("H4", "JSON that is no object", b"+HI [2]\r\n"),
    Row("H4", "bytes that are no text", b"+HI \xff\xfe\x80\r\n"),
    Row("H4", "a JSON bomb", b"+HI " + deep(2000) + b"\r\n"),
    Row("H4", "a bomb for a version", b'+HI {"v":%b}\r\n' % deep(900), (VersionMismatch, ProtocolError)),
    Row("H4", "digits for a version", b'+HI {"v":%b}\r\n' % (b"9" * 4000), (VersionMismatch,)),
    Row("H4", "infinity for a version", b'+HI {"v":1e999}\r\n', (VersionMismatch,)),
    Row("H4", "escapes for a version", b'+HI {"v":"\\u001b[31m\\u202e"}\r\n', (VersionMismatch,)),
    Row("H4", "a salt that is no text", b'+HI {"v":2,"s":{}}\r\n'),
    Row("H4", "a salt of a lone surrogate", b'+HI {"v":2,"s":"\\ud800","i":4000}\r\n', (HandshakeError,), "secret"),
    Row("H4", "a salt and no password to give", b'+HI {"v":2,"s":"abc","i":4000}\r\n', (AuthenticationError,)),
    Row("H5", "iterations 2e9", b'+HI {"v":2,"s":"abc","i":2000000000}\r\n', (HandshakeError,), "secret"),
    Row("H5", "iterations of 4,000 digits", b'+HI {"v":2,"s":"a","i":%b}\r\n' % (b"9" * 4000), (HandshakeError,), "x"),
    Row("H5", "iterations below zero", b'+HI {"v":2,"s":"abc","i":-5}\r\n', (HandshakeError,), "secret"),
    Row("H5", "iterations that are no integer", b'+HI {"v":2,"s":"abc","i":4e3}\r\n', (ProtocolError,), "secret"),
    Row("H6", "one iteration", b'+HI {"v":2,"s":"abc","i":1}\r\n', (HandshakeError,), "secret"),
    Row("H6", "no iterations", b'+HI {"v":2,"s":"abc"}\r\n', (HandshakeError,), "secret"),
    Row("H7", "two greetings", HI + HI),
    Row("H4", "the speech of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n"),
    Row("H4", "the speech of HTTP", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    Row("H4", "the speech of SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    Row("T8", "silence", silence, (ConnectFailed,)),
    Row("T8", "a trickle", trickle, (ConnectFailed,)),
    Row("T8", "an end", hang_up, (ConnectFailed,)),
    Row("T8", "an end in the middle", then_hang_up(b'+HI {"v'), (ConnectFailed,)),
)


@rows(*GREETINGS)
def test_a_hostile_greeting_is_a_typed_error_in_time(row: Row, watch: Watch) -> None:
    """T8, H1 to H7: for the producer and for the consumer."""
    server = Hostile(HI=row.says)
    with ScriptedServer(server.script) as scripted:
        with client_of(scripted, password=row.password) as client:
            watch.failing(client.info, row.errors)
            watch.failing(lambda: client.push(Job("work")), row.errors)
        watch.failing(lambda: connect(scripted, password=row.password), row.errors)
    assert {verb for verb, _ in server.lines} <= {"HELLO"}


ANSWERS_TO_HELLO = (
    Row("H1", "only a line feed", b"\n"),
    Row("H2", "a line without an end", pouring(b"+")),
    Row("H3", "a bulk string of 10 TB", pouring(b"$9999999999999\r\n")),
    Row("H4", "nil", b"$-1\r\n"),
    Row("H4", "OK as a bulk string", bulk(b"OK")),
    Row("H4", "another text, with escapes", b"+OK " + POISON + b"\r\n"),
    Row("H4", "an error without a text", b"-\r\n", (HandshakeError,)),
    Row("H4", "an error with escapes", b"-ERR " + POISON + b"\r\n", (HandshakeError,)),
    Row("H4", "a refused password, with escapes", b"-ERR password " + POISON + b"\r\n", (AuthenticationError,)),
    Row("T8", "too many connections", b"-ERR too many connections " + POISON + b"\r\n", (ConnectFailed,)),
    Row("T8", "a shutdown", b"-ERR shutdown in progress\r\n", (ConnectFailed, ConnectionLost)),
    Row("T8", "silence", silence, (ConnectFailed,)),
    Row("T8", "a trickle", trickle, (ConnectFailed,)),
    Row("T8", "an end", hang_up, (ConnectFailed,)),
)


@rows(*ANSWERS_TO_HELLO)
def test_a_hostile_answer_to_hello_is_a_typed_error_in_time(row: Row, watch: Watch) -> None:
    """T8, H1 to H4."""
    server = Hostile(HELLO=row.says)
    with ScriptedServer(server.script) as scripted:
        with client_of(scripted) as client:
            watch.failing(client.info, row.errors)
        watch.failing(lambda: connect(scripted), row.errors)
    assert {verb for verb, _ in server.lines} == {"HELLO"}


# -- replies to commands --------------------------------------------------------------------------------------------

BROKEN = (
    Row("H1", "only a line feed", b"\n"),
    Row("H1", "a plus and a line feed", b"+\n"),
    Row("H1", "an empty line", b"\r\n"),
    Row("H1", "OK without a carriage return", b"+OK\n"),
    Row("H2", "a line without an end", pouring(b"+")),
    Row("H2", "an error without an end", pouring(b"-ERR ", b"\x1b" * 65536)),
    Row("H2", "a length without an end", pouring(b"$", b"0" * 65536)),
    Row("H3", "a bulk string of 10 TB", pouring(b"$9999999999999\r\n")),
    Row("H3", "a bulk string just above the limit", pouring(b"$%d\r\n" % (MAX_BULK + 1))),
    Row("H3", "a bulk length of many digits", b"$" + b"9" * 60_000 + b"\r\n"),
    Row("H3", "a bulk string that ends early", then_hang_up(b"$%d\r\nabc" % MAX_BULK), (ConnectionLost,)),
    Row("H3", "a bulk string that trickles", trickled(b"$%d\r\n" % MAX_BULK, b"xx"), (ConnectionLost,)),
    Row("H4", "a bulk length of -2", b"$-2\r\n"),
    Row("H4", "a bulk length of -0", b"$-0\r\n\r\n"),
    Row("H4", "a bulk length of +2", b"$+2\r\n{}\r\n"),
    Row("H4", "a bulk length of letters", b"$" + POISON + b"\r\n"),
    Row("H4", "no bulk length", b"$\r\n"),
    Row("H4", "a bulk string too long by a byte", b"$2\r\n{}x\r\n"),
    Row("H4", "a bulk string that ends in two line feeds", b"$2\r\n{}\n\n"),
    Row("H4", "an array", b"*1\r\n$2\r\nOK\r\n"),
    Row("H4", "an unknown type with escapes", b"~" + POISON + b"\r\n"),
    Row("H4", "NUL bytes", b"\x00" * 100 + b"\r\n"),
    Row("H4", "an integer", b":5\r\n"),
    Row("H4", "an integer of letters", b":" + POISON + b"\r\n"),
    Row("H4", "an integer of many digits", b":" + b"9" * 5000 + b"\r\n"),
    Row("H4", "another text, with escapes", b"+" + POISON + b"\r\n"),
    Row("H4", "a new greeting", HI),
    Row("T8", "silence", silence, (ConnectionLost,)),
    Row("T8", "a trickle", trickle, (ConnectionLost,)),
    Row("T8", "an end", hang_up, (ConnectionLost,)),
    Row("T8", "an end in the middle", then_hang_up(b"$10\r\nabc"), (ConnectionLost,)),
    Row("T8", "too many connections", b"-ERR too many connections " + POISON + b"\r\n", (ConnectFailed,)),
    Row("T8", "a shutdown", b"-ERR shutdown in progress\r\n", (ConnectionLost,)),
    Row("T8", "Redis gone", b"-ERR redis: client is closed " + POISON + b"\r\n", (ConnectionLost,)),
)
REFUSALS = (
    Row("H4", "an error with escapes", b"-ERR " + POISON + b"\r\n", (ServerError,)),
    Row("H4", "an error without a text", b"-\r\n", (ServerError,)),
    Row("H4", "an error of one long word", b"-" + b"\x1b" * 60_000 + b"\r\n", (ServerError,)),
    Row("H4", "an error that is no text", b"-\xff\xfe \x80\x1b\r\n", (ServerError,)),
    Row("H4", "an error with a carriage return", b"-ERR a\rb\x1b\r\n", (ServerError,)),
)

QUICK = tuple(row for row in BROKEN if row.says is not silence and "trickle" not in row.name)
"""What does not take its time: a time limit that has been seen to work once need not be waited for three times."""

CALLS: dict[str, Callable[[Client], object]] = {
    "PUSHB": lambda client: client.push(Job("work")),
    "INFO": lambda client: client.info(),
    "FLUSH": lambda client: client.flush(),
}


@pytest.mark.parametrize(
    ("verb", "row"),
    [
        pytest.param(verb, row, id=f"{verb}-{row.fault}-{row.name}")
        for verb in CALLS
        for row in (*(BROKEN if verb == "PUSHB" else QUICK), *REFUSALS)
    ],
)
def test_a_hostile_reply_to_a_producer_is_a_typed_error_in_time(row: Row, verb: str, watch: Watch) -> None:
    """T8, H1 to H4: and the client works on, over a connection on which nothing is out of step."""
    server = Hostile(**{verb: [row.says, row.says] if row.name == "a shutdown" else [row.says]})
    with ScriptedServer(server.script) as scripted, client_of(scripted) as client:
        error = watch.failing(lambda: CALLS[verb](client), row.errors)
        if verb == "PUSHB" and isinstance(error, ConnectionLost) and error.maybe_executed:
            assert isinstance(error, PushOutcomeUnknown)
        connections = scripted.connections
        assert client.info() == {"server": {}}
        client.push(Job("work"))
        # Only after an error that was meant for the command is the connection used again.
        assert scripted.connections - connections == (0 if row in REFUSALS else 1)


WRONG_DOCUMENTS = (
    Row("H4", "nil", b"$-1\r\n"),
    Row("H4", "OK", OK),
    Row("H4", "no JSON, with escapes", bulk(POISON)),
    Row("H4", "nothing", bulk(b"")),
    Row("H4", "a list", bulk(b"[]")),
    Row("H4", "a text with escapes", bulk(json.dumps(ESCAPES).encode())),
    Row("H4", "bytes that are no text", bulk(b'{"\xff":1}')),
    Row("H8", "a JSON bomb", bulk(deep(100_000))),
    Row("H8", "a JSON bomb that is not closed", bulk(b'{"a":' * 100_000)),
    Row("H8", "a number of a million digits", bulk(b'{"a":%b}' % (b"9" * 1_000_000))),
)


@pytest.mark.parametrize("verb", ["PUSHB", "INFO", "QUEUE", "TRACK", "BATCH"])
@rows(*WRONG_DOCUMENTS)
def test_a_wrong_document_is_a_typed_error_in_time(row: Row, verb: str, watch: Watch) -> None:
    """T8, H4, H8: where a JSON object is expected."""
    calls: dict[str, Callable[[Client], object]] = {
        **CALLS,
        "QUEUE": lambda client: client.queue_latency("default"),
        "TRACK": lambda client: client.track("some-jid-01"),
        "BATCH": lambda client: client.batch_status("b-1"),
    }
    with ScriptedServer(Hostile(**{verb: row.says}).script) as scripted, client_of(scripted) as client:
        watch.failing(lambda: calls[verb](client), row.errors)


WRONG_VALUES = (
    Row("H4", "a text with escapes", json.dumps({"default": ESCAPES}).encode()),
    Row("H4", "a bomb", b'{"default":%b}' % deep(900)),
    Row("H4", "not a number", b'{"default":NaN}'),
    Row("H4", "infinity", b'{"default":1e999}'),
    Row("H4", "a large number", b'{"default":%b}' % (b"9" * 4000)),
    Row("H4", "a name with escapes", json.dumps({ESCAPES: None}).encode()),
)


@rows(*WRONG_VALUES)
def test_a_wrong_latency_is_a_typed_error(row: Row, watch: Watch) -> None:
    """T8, H4."""
    assert isinstance(row.says, bytes)
    with ScriptedServer(Hostile(QUEUE=bulk(row.says)).script) as scripted, client_of(scripted) as client:
        watch.failing(lambda: client.queue_latency("default"), row.errors)


@rows(*WRONG_VALUES)
def test_an_odd_reason_for_refusing_a_push_is_a_server_error(row: Row, watch: Watch) -> None:
    """T8, H4: whatever the map of refused jobs holds, its keys and values become escaped text."""
    assert isinstance(row.says, bytes)
    with ScriptedServer(Hostile(PUSHB=bulk(row.says)).script) as scripted, client_of(scripted) as client:
        watch.failing(lambda: client.push(Job("work")), (ServerError,))
        for reason in client.push_bulk([Job("work")]).values():
            assert not set(reason) & set(FORBIDDEN)


@pytest.mark.parametrize("verb", CALLS)
def test_a_reply_that_nobody_asked_for_is_never_another_commands(verb: str, watch: Watch) -> None:
    """T8, H7: one too many, in one piece with the right one; the connection is not used again."""
    honest = Hostile()._honest(verb)
    once: list[Saying] = [honest + bulk(b'{"another":"reply"}')]
    server = Hostile(**{verb: once})
    with ScriptedServer(server.script) as scripted, client_of(scripted) as client:
        CALLS[verb](client)
        assert client.info() == {"server": {}}
        assert scripted.connections == 2


def test_a_reply_before_the_first_command_drops_the_connection(watch: Watch) -> None:
    """T8, H7: behind the answer to HELLO."""
    server = Hostile(HELLO=OK + bulk(b'{"another":"reply"}'))
    with ScriptedServer(server.script) as scripted:
        with client_of(scripted) as client:
            watch.failing(client.info, (ProtocolError,))
        with connect(scripted) as consumer:
            watch.failing(lambda: consumer.run_one(["default"]), (ProtocolError,))
    assert {verb for verb, _ in server.lines} <= {"HELLO", "END"}


# -- replies to a consumer ------------------------------------------------------------------------------------------

JOB = b'{"jid":"good-12345","jobtype":"work","args":[],"queue":"default","retry":25}'
ACKED = ("ACK", b'{"jid":"good-12345"}')


@rows(*BROKEN, Row("H4", "OK", OK))
def test_a_hostile_reply_to_fetch_is_a_typed_error_in_time(row: Row, watch: Watch) -> None:
    """T8, H1 to H4: `run_one` raises, and the next one runs a job over a new connection."""
    server = Hostile(FETCH=[row.says])
    server.offer(JOB)
    with ScriptedServer(server.script) as scripted, connect(scripted) as consumer:
        errors = tuple(ConnectionLost if kind is ConnectFailed else kind for kind in row.errors)
        watch.failing(lambda: consumer.run_one(["default"]), errors)
        assert consumer.run_one(["default"])
        assert server.sent("ACK", "FAIL") == [ACKED]
        assert consumer.health().unreported == 0


@rows(*REFUSALS)
def test_a_fetch_that_is_refused_is_no_job(row: Row, watch: Watch) -> None:
    """T8, H4: logged, and asked again after a pause."""
    server = Hostile(FETCH=[row.says])
    server.offer(JOB)
    with ScriptedServer(server.script) as scripted, connect(scripted) as consumer:
        started = time.monotonic()
        assert not consumer.run_one(["default"])
        watch.check_time(started)
        assert consumer.run_one(["default"])
        assert server.sent("ACK", "FAIL") == [ACKED]


def fetched(**fields: Any) -> bytes:
    document: dict[str, Any] = {"jid": "odd-123456", "jobtype": "work", "args": []}
    return json.dumps(document | fields).encode()


ODD_JOBS = (
    Row("H8", "nested 5,000 deep", b'{"jid":"odd-123456","jobtype":"work","args":%b}' % deep(5000)),
    Row("H8", "nested 500,000 deep", b'{"jid":"odd-123456","jobtype":"work","args":%b}' % deep(500_000)),
    Row("H8", "cut short", fetched()[:-1]),
    Row("H8", "bad UTF-8 and escapes", b'{"jid":"odd-123456","jobtype":"work","args":["\xff\x1b"]}'),
    Row("H8", "a number of a million digits", b'{"jid":"odd-123456","x":%b}' % (b"9" * 1_000_000)),
    Row("H9", "args of an object", fetched(args={})),
    Row("H9", "no job type", fetched(jobtype=None)),
    Row("H9", "a job type of a bomb", fetched().replace(b'"work"', deep(450))),
    Row("H9", "retry of a float", fetched(retry=2.5)),
    Row("H9", "reserve_for of escapes", fetched(reserve_for=ESCAPES)),
    Row("H9", "custom of a list", fetched(custom=[])),
    Row("W8", "an unknown type of escapes", fetched(jobtype=ESCAPES)),
    Row("W8", "an unknown type of a megabyte", fetched(jobtype="x" * 1_000_000)),
    Row("W8", "an unknown type reserved for ever", fetched(jobtype="unknown", reserve_for=10**400)),
)


@rows(*ODD_JOBS)
def test_an_odd_job_is_failed_and_the_consumer_goes_on(row: Row, watch: Watch) -> None:
    """T8, H8, H9, W8: the frame is whole, so the connection is kept."""
    assert isinstance(row.says, bytes)
    server = Hostile()
    server.offer(row.says, JOB)
    with ScriptedServer(server.script) as scripted, connect(scripted) as consumer:
        started = time.monotonic()
        assert consumer.run_one(["default"])
        watch.check_time(started)
        assert consumer.run_one(["default"])
        (verb, failed), acked = server.sent("ACK", "FAIL")
        assert (verb, json.loads(failed)["jid"]) == ("FAIL", "odd-123456")
        assert len(failed) < 10_000
        assert acked == ACKED
        assert scripted.connections == 2


RUNNABLE_JOBS = (
    Row("H9", "reserve_for of 400 digits", fetched(reserve_for=10**400)),
    Row("H9", "reserve_for below zero", fetched(reserve_for=-(10**400))),
    Row("H9", "retry of 400 digits", fetched(retry=10**400)),
    Row("H9", "a failure of nonsense", fetched(failure={"retry_count": "x", "failed_at": {}, "errtype": [ESCAPES]})),
    Row("H9", "a failure of a bomb", fetched(failure={"errtype": 0}).replace(b"0}", deep(450) + b"}")),
    Row("H9", "times that are none", fetched(at=ESCAPES, created_at=5, enqueued_at="9999-99-99T99:99:99Z")),
    Row("H9", "a jid with escapes", fetched(jid=ESCAPES)),
    Row("H9", "keys nobody knows", fetched(**{ESCAPES: ESCAPES, "__class__": "x"})),
)


@rows(*RUNNABLE_JOBS)
def test_an_odd_job_that_can_be_run_is_run(row: Row, watch: Watch) -> None:
    """T8, H9: what nobody needs to know is not checked; no field breaks the bookkeeping, of failures either."""
    assert isinstance(row.says, bytes)
    server = Hostile()
    server.offer(row.says, row.says.replace(b'"work"', b'"raise"'), JOB)
    builder = ConsumerBuilder().register("work", lambda job: None).register("raise", lambda job: 1 // 0)
    deaths: list[Job] = []
    builder.on_death(lambda job, error: deaths.append(job)).on_failure(lambda job, error: job.attempt)
    with ScriptedServer(server.script) as scripted, builder.connect(scripted.url) as consumer:
        assert consumer.run_one(["default"])
        assert consumer.run_one(["default"])
        assert consumer.run_one(["default"])
    assert [verb for verb, _ in server.sent("ACK", "FAIL")] == ["ACK", "FAIL", "ACK"]


NAMELESS_JOBS = (
    Row("H8", "nothing", b""),
    Row("H8", "escapes", POISON),
    Row("H8", "a megabyte of escapes", b"\x1b" * 1_000_000),
    Row("H8", "a million quotation marks", b'"' * 1_000_001),
    Row("H8", "a JSON bomb", deep(1_000_000)),
    Row("H9", "a list", b"[]"),
    Row("H9", "a jid that is a number", b'{"jid":5,"jobtype":"work","args":[]}'),
    Row("H9", "a jid that is a bomb", b'{"jid":%b,"jobtype":"work","args":[]}' % deep(450)),
    Row("H9", "an empty jid", b'{"jid":"","jobtype":"work","args":[]}'),
    Row("H9", "a jid with a line break", b'{"jid":"a\\r\\nFLUSH","args":[]}'),
    Row("H9", "a jid in args only", b'{"jobtype":"work","args":[{"jid":"inner-12345"}'),
)


@rows(*NAMELESS_JOBS)
def test_an_odd_job_without_a_jid_is_left_alone(row: Row, watch: Watch) -> None:
    """T8, H8, H9: nothing is failed that is not certain to be meant."""
    assert isinstance(row.says, bytes)
    server = Hostile()
    server.offer(row.says, JOB)
    with ScriptedServer(server.script) as scripted, connect(scripted) as consumer:
        started = time.monotonic()
        assert not consumer.run_one(["default"])
        watch.check_time(started)
        assert consumer.run_one(["default"])
        assert server.sent("ACK", "FAIL") == [ACKED]


def test_two_jobs_for_one_fetch_drop_the_connection_and_the_outcome_still_arrives(watch: Watch) -> None:
    """T8, H7: the second one is not run, and not taken for the answer to ACK."""
    other = JOB.replace(b"good-12345", b"more-12345")
    server = Hostile(FETCH=[bulk(JOB) + bulk(other)])
    with ScriptedServer(server.script) as scripted, connect(scripted) as consumer:
        watch.failing(lambda: consumer.run_one(["default"]), (ProtocolError,))
        assert consumer.health().unreported == 1
        assert not consumer.run_one(["default"])
        assert server.sent("ACK", "FAIL") == [ACKED]
        assert consumer.health().unreported == 0


@rows(*QUICK, Row("T8", "silence", silence, (ConnectionLost,)))
def test_a_hostile_reply_to_ack_never_becomes_a_failure(row: Row, watch: Watch) -> None:
    """T8, H1 to H4, J3: the error is raised in time, the ACK is sent again, and the job is neither failed nor rerun."""
    server = Hostile(ACK=[row.says])
    server.offer(JOB)
    runs: list[str] = []
    builder = ConsumerBuilder().register("work", lambda job: runs.append(job.jid)).shutdown_timeout(0.5)
    with ScriptedServer(server.script) as scripted, builder.connect(scripted.url) as consumer:
        errors = tuple(ConnectionLost if kind is ConnectFailed else kind for kind in row.errors)
        watch.failing(lambda: consumer.run_one(["default"]), errors)
        assert not consumer.run_one(["default"])
        assert consumer.health().unreported == 0
    assert server.sent("ACK", "FAIL") == [ACKED, ACKED]
    assert runs == ["good-12345"]


@rows(*REFUSALS)
def test_an_ack_that_is_refused_is_sent_again_and_kept(row: Row, watch: Watch) -> None:
    """T8, H4, J5: the next call tries again; the job is neither failed nor rerun."""
    server = Hostile(ACK=row.says)
    server.offer(JOB)
    builder = ConsumerBuilder().register("work", lambda job: None).shutdown_timeout(0.25)
    with ScriptedServer(server.script) as scripted, builder.connect(scripted.url) as consumer:
        started = time.monotonic()
        assert consumer.run_one(["default"])
        watch.check_time(started)
        assert consumer.health().unreported == 1
    sent = server.sent("ACK", "FAIL")
    assert len(sent) >= 2
    assert set(sent) == {ACKED}


BEATS = (
    *QUICK,
    Row("T8", "silence", silence, (ConnectionLost,)),
    *REFUSALS,
    Row("H10", "an unknown state with escapes", bulk(json.dumps({"state": ESCAPES}).encode())),
    Row("H10", "an unknown state as a status line", b'+{"state":"dance"}\r\n'),
    Row("H10", "a state of a megabyte", bulk(b'{"state":"%b"}' % (b"x" * 1_000_000))),
    Row("H10", "a state that is a number", bulk(b'{"state":5}')),
    Row("H10", "a state that is a bomb", bulk(b'{"state":%b}' % deep(900))),
    Row("H10", "no state", bulk(b"{}")),
    Row("H10", "nil", b"$-1\r\n"),
    Row("H10", "a list", bulk(b"[]")),
    Row("H10", "a JSON bomb", bulk(deep(100_000))),
    Row("H10", "an unknown worker for ever", b"-ERR unknown worker " + POISON + b"\r\n"),
)


@rows(*BEATS)
def test_a_hostile_reply_to_beat_ends_neither_the_heart_nor_the_work(
    row: Row, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """T8, H1 to H4, H10: beats go on, and so do the jobs."""
    beats = 0
    enough = threading.Event()

    def answer(peer: Peer) -> None:
        nonlocal beats
        beats += 1
        if beats >= 2:
            enough.set()
        if isinstance(row.says, bytes):
            peer.say(row.says)
        else:
            row.says(peer)

    def fetch(peer: Peer) -> None:
        assert enough.wait(20)
        peer.say(bulk(JOB))

    server = Hostile(BEAT=answer, FETCH=[fetch])
    with ScriptedServer(server.script) as scripted, pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat_module, "REPLY_TIMEOUT", 0.1)
        patch.setattr(worker_module, "FETCH_TIMEOUT", 20.0)
        with connect(scripted, interval=0.01) as consumer:
            assert consumer.run_one(["default"])
            assert consumer.state == "running"
        assert server.sent("ACK", "FAIL") == [ACKED]
    assert not [record for record in caplog.records if len(record.getMessage()) > 100_000]


def test_the_table_has_at_least_40_behaviours() -> None:
    """T8."""
    tables = (GREETINGS, ANSWERS_TO_HELLO, BROKEN, REFUSALS, WRONG_DOCUMENTS, WRONG_VALUES)
    jobs = (ODD_JOBS, RUNNABLE_JOBS, NAMELESS_JOBS, BEATS[len(QUICK) + 1 + len(REFUSALS) :])
    for table in (*tables, *jobs):
        assert len({row.name for row in table}) == len(table)
    assert sum(map(len, (*tables, *jobs))) >= 40


# -- memory ---------------------------------------------------------------------------------------------------------

MIB = 1024 * 1024

HOG = """
import json, pathlib, sys, time
from faktory import Client, FaktoryError

status, clear = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")

def kb(name):
    return int(status.read_text().split(name + ":")[1].split()[0])

for url in sys.argv[1:]:
    clear.write_text("5")  # the peak starts anew
    before, started = kb("VmRSS"), time.monotonic()
    with Client(url, connect_timeout=2, timeout=2) as client:
        try:
            client.info()
            kind = "no error"
        except FaktoryError as error:
            kind = type(error).__name__
    print(json.dumps([kind, (kb("VmHWM") - before) // 1024, time.monotonic() - started]))
"""

HOGS: tuple[tuple[str, Hostile, str, int], ...] = (
    ("H2: a greeting without an end", Hostile(HI=pouring(b"+", pieces=2000)), "ProtocolError", 32),
    ("H2: a line without an end", Hostile(INFO=pouring(b"+", pieces=2000)), "ProtocolError", 32),
    ("H3: 10 TB", Hostile(INFO=pouring(b"$9999999999999\r\n", pieces=2000)), "ProtocolError", 32),
    ("H3: above the limit", Hostile(INFO=pouring(b"$%d\r\n" % (MAX_BULK + 1), pieces=2000)), "ProtocolError", 32),
    ("H3: announced and not sent", Hostile(INFO=then_hang_up(b"$%d\r\nabc" % MAX_BULK)), "ConnectionLost", 32),
    (
        "H3: half of what was announced",
        Hostile(INFO=then_hang_up(b"$%d\r\n%b" % (MAX_BULK, b"x" * (MAX_BULK // 2)))),
        "ConnectionLost",
        MAX_BULK // MIB + 32,
    ),
    ("H8: a bomb of a megabyte", Hostile(INFO=bulk(deep(500_000))), "ProtocolError", 32),
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_what_is_oversized_costs_no_memory() -> None:
    """T8, H2, H3, H8: in a process of its own, whose memory grows by less than the limit and 32 MiB."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(hog.script)) for _, hog, _, _ in HOGS]
        child = subprocess.run(
            [sys.executable, "-c", HOG, *(server.url for server in servers)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
    assert child.stderr == ""
    for (name, _, expected, allowed), line in zip(HOGS, child.stdout.splitlines(), strict=True):
        kind, grown, seconds = json.loads(line)
        assert kind == expected, name
        assert grown < allowed, name
        assert seconds < 3, name
