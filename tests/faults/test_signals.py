"""Signals in the midst of exchanges: time limits hold, and what a handler raises reaches the caller as it is."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import pytest

from faktory import Client, ConnectFailed, ConnectionLost, Job
from faktory.blocking.connection import Connection
from faktory.commands import Fetch, Flush
from faktory.protocol.handshake import Identity
from faktory.server import Server
from tests.certificates import Certificates
from tests.scripted import Peer, ScriptedServer
from tests.share import share_of

ALARMS = int(os.environ.get("FAKTORY_TEST_ALARMS", share_of(400)))


class DatabaseGone(ConnectionLost):
    """An error of the application's own that looks like one of ours."""


KINDS: list[Callable[[], BaseException]] = [
    TimeoutError,
    BlockingIOError,
    InterruptedError,
    lambda: ConnectionResetError(104, "of the handler"),
    lambda: OSError(5, "of the handler"),
    lambda: ConnectFailed("of the handler"),
    lambda: DatabaseGone("of the handler", maybe_executed=False),
    lambda: DatabaseGone("of the handler", maybe_executed=True),
    KeyboardInterrupt,
]


@contextmanager
def handling(handler: Callable[..., Any]) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Alarms:
    """A handler that raises something else each time, and knows what."""

    def __init__(self) -> None:
        self.random = random.Random(3)
        self.raised: BaseException | None = None
        self.struck = self.dropped = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.raised = raised = self.random.choice(KINDS)()
        if self.random.random() < 0.5:
            del frame  # as some linters want of an argument that is not used
        raise raised

    def around(self, call: Callable[[], object], longest: float) -> BaseException | None:
        """Make a call with an alarm at a random moment of it. Returns what the call raised."""
        self.raised = None
        caught: BaseException | None = None
        try:
            signal.setitimer(signal.ITIMER_REAL, self.random.uniform(5e-6, longest))
            try:
                call()
            except BaseException as exc:
                caught = exc
            signal.setitimer(signal.ITIMER_REAL, 0)
        except BaseException as exc:  # just behind the call
            caught = exc
        return caught

    def check(self, caught: BaseException | None) -> None:
        """Check that what the handler raised has reached the caller."""
        self.struck += self.raised is not None
        if caught is not self.raised:
            # Python itself drops what is raised in a finalizer: of a socket, for one, whose making was interrupted.
            assert caught is None or isinstance(caught, ConnectFailed), repr(caught)
            self.dropped += 1

    def longest(self, call: Callable[[], object]) -> float:
        """Return twice the seconds that a call takes here, so that half of the alarms come within it."""
        fastest = 1.0
        for _ in range(5):
            started = time.monotonic()
            call()
            fastest = min(fastest, time.monotonic() - started)
        return 2 * fastest

    @contextmanager
    def set(self) -> Iterator[None]:
        """Be the handler; at the end, see that nearly all alarms were seen."""
        gc.disable()  # else its finalizers run anywhere
        try:
            with handling(self):
                yield
        finally:
            gc.enable()
            gc.collect()
        assert self.struck > ALARMS // 40, "the alarms missed the calls"
        assert self.dropped <= self.struck / 50


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("retries", [0, 3])
def test_what_a_handler_raises_in_a_push_reaches_the_caller_and_stores_nothing_twice(
    server: Server, retries: int
) -> None:
    """P18: subclasses of OSError, and errors of our own, are not taken for the network's."""
    alarms = Alarms()

    def push_once() -> None:  # an alarm costs the connection, and the next push opens one
        with Client(server.url) as client:
            client.push(Job("work", ["measured"], queue="other"))

    longest = alarms.longest(push_once)
    with Client(server.url, push_retries=retries, pool_size=2) as client, alarms.set():
        for n in range(ALARMS):
            alarms.check(alarms.around(partial(client.push, Job("work", [n])), longest))
    stored = Counter(job.args[0] for job in server.queue("default"))
    assert max(stored.values()) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_a_handler_raises_while_a_connection_is_opened_or_closed_reaches_the_caller(
    server: Server, host: str
) -> None:
    alarms = Alarms()

    def call() -> None:
        Connection(f"tcp://{host}:{server.port}").close()

    longest = alarms.longest(call)
    with alarms.set():
        for _ in range(ALARMS // 2):
            alarms.check(alarms.around(call, longest))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_handler_raises_in_tls_reaches_the_caller(certificates: Certificates) -> None:
    alarms = Alarms()
    with Server(ssl_context=certificates.server_context("127.0.0.1")) as server:
        url, context = f"tcp+tls://127.0.0.1:{server.port}", certificates.client_context()

        def call() -> None:
            with Connection(url, ssl_context=context) as connection:
                connection.call(Flush())

        longest = alarms.longest(call)
        with alarms.set():
            for _ in range(ALARMS // 4):
                alarms.check(alarms.around(call, longest))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_handler_raises_while_a_name_is_looked_up_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms = Alarms()
    go_on = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **options: go_on.wait(20))
    with alarms.set():
        for _ in range(20):
            alarms.check(alarms.around(lambda: Connection("tcp://slow.invalid", connect_timeout=0.2), 2e-3))
    go_on.set()


@contextmanager
def alarm_each(seconds: float) -> Iterator[list[int]]:
    """Have a signal come so often; its handler returns."""
    seen: list[int] = []
    with handling(lambda number, frame: seen.append(number)):
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
        yield seen


def deaf(peer: Peer) -> None:
    peer.greet()
    peer.wait_for_end()


@pytest.mark.slow
@pytest.mark.parametrize("command", [Flush(), Fetch(["default"])])
def test_the_time_limit_of_a_reply_holds_whatever_signals_come(command: Any) -> None:
    """N16, P17: the kernel's own time limits start anew with each of them."""
    with ScriptedServer(deaf) as server:
        connection = Connection(server.url, identity=Identity("box", 1, "wid-12345678"), timeout=0.3)
        started = time.monotonic()
        with alarm_each(0.05) as seen, pytest.raises(ConnectionLost, match="no reply from"):
            connection.call(command)
        assert 0.25 < time.monotonic() - started < 2
        assert len(seen) > 3


@pytest.mark.slow
def test_the_time_limit_of_a_send_holds_whatever_signals_come() -> None:
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        done.wait(20)  # reads nothing, so that the kernel's buffers fill up

    with ScriptedServer(script) as server:
        connection = Connection(server.url, timeout=0.3)
        started = time.monotonic()
        with alarm_each(0.05) as seen, pytest.raises(ConnectionLost, match="while sending: timed out"):
            connection.send(b"x" * 50_000_000 + b"\r\n")
        done.set()
        assert time.monotonic() - started < 5
        assert len(seen) > 3


@pytest.mark.slow
def test_the_time_limit_of_a_tls_reply_holds_whatever_signals_come(certificates: Certificates) -> None:
    with Server(ssl_context=certificates.server_context("127.0.0.1")) as server:
        url, context = f"tcp+tls://127.0.0.1:{server.port}", certificates.client_context()
        connection = Connection(url, ssl_context=context, timeout=0.3)
        server.faults.delay("FLUSH", seconds=0.6)
        started = time.monotonic()
        with alarm_each(0.05), pytest.raises(ConnectionLost, match="no reply from"):
            connection.call(Flush())
        assert 0.25 < time.monotonic() - started < 2


@pytest.mark.slow
def test_the_time_limit_of_a_connection_holds_whatever_signals_come() -> None:
    """N3."""
    with ScriptedServer(lambda peer: peer.wait_for_end()) as server:
        started = time.monotonic()
        with alarm_each(0.05), pytest.raises(ConnectFailed, match="nothing came in time"):
            Connection(server.url, connect_timeout=0.3)
        assert 0.25 < time.monotonic() - started < 2


def test_a_push_of_a_handler_within_a_push_takes_a_connection_of_its_own(server: Server) -> None:
    """P22."""
    pushed: list[str] = []
    with (
        Client(server.url, pool_size=2) as client,
        handling(lambda number, frame: pushed.append(client.push(Job("inner")))),
    ):
        for _ in range(20):
            signal.setitimer(signal.ITIMER_REAL, 50e-6)
            client.push(Job("outer"))
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(server.queue("default")) == 20 + len(pushed)


def test_a_push_of_a_handler_that_would_wait_for_itself_is_refused_at_once(server: Server) -> None:
    """P22: with a pool of one, the push below has the only connection."""
    refused: list[str] = []

    def push_too(number: int, frame: FrameType | None) -> None:
        try:
            client.push(Job("inner"))
        except ConnectFailed as exc:
            refused.append(str(exc))

    with Client(server.url, pool_size=1) as client, handling(push_too):
        client.info()
        server.faults.delay("PUSHB", seconds=0.1)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        started = time.monotonic()
        client.push(Job("outer"))
    assert time.monotonic() - started < 2
    assert len(refused) == 1
    assert "raise pool_size" in refused[0]
    assert [job.jobtype for job in server.queue("default")] == ["outer"]
