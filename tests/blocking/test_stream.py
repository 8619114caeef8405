"""Bytes within time limits, and what a broken line is called."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from faktory.blocking import stream as module
from faktory.blocking.stream import Broken, PlainStream, TlsStream
from faktory.network.sockets import close_socket, is_readable, shut_down, tune, writable

if TYPE_CHECKING:
    from typing_extensions import Buffer


@pytest.fixture(params=["poll", "select"])
def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PlainStream, socket.socket]]:
    """A stream, with poll() and where there is none, and its peer."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        ours = socket.create_connection(listener.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        theirs, _ = listener.accept()
    stream = PlainStream(ours)
    yield stream, theirs
    stream.close()
    theirs.close()


def test_bytes_go_both_ways(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    stream.send(b"ping", 1)
    assert peer.recv(10) == b"ping"
    assert not stream.is_readable()
    peer.sendall(b"pong")
    assert stream.receive(10, 1) == b"pong"
    peer.close()
    assert stream.receive(10, 1) == b""
    assert stream.is_readable()


def test_nothing_within_the_limit_is_late(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, _ = pair
    started = time.monotonic()
    with pytest.raises(Broken, match="timed out") as caught:
        stream.receive(10, 0.05)
    assert caught.value.is_late
    assert 0.04 < time.monotonic() - started < 3


def test_more_than_the_kernel_takes_at_once_is_sent_as_the_peer_reads(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    size = 20_000_000
    received = 0

    def read() -> None:
        nonlocal received
        while received < size:
            received += len(peer.recv(1_000_000))

    thread = threading.Thread(target=read)
    thread.start()
    stream.send(b"x" * size, 5)
    thread.join()
    assert received == size
    with pytest.raises(Broken, match="timed out") as caught:
        stream.send(b"x" * size, 0.05)
    assert caught.value.is_late
    with pytest.raises(Broken, match="timed out"):
        for _ in range(100):  # in the end there is no room even for the first byte
            stream.send(b"x" * 100_000, 0.05)


@pytest.mark.parametrize("size", [1, 20_000_000])
def test_a_reset_is_no_delay(pair: tuple[PlainStream, socket.socket], size: int) -> None:
    stream, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.send(b"x", 1)
    peer.close()
    for use in (lambda: stream.receive(10, 1), lambda: stream.send(b"x" * size, 1)):
        with pytest.raises(Broken) as caught:
            use()
        assert not caught.value.is_late
        assert "reset" in str(caught.value) or "Broken pipe" in str(caught.value)


def test_a_descriptor_closed_under_us_is_a_broken_line(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, _ = pair
    os.close(stream._socket.fileno())
    with pytest.raises(Broken, match="Bad file descriptor"):
        stream.send(b"x", 1)
    if hasattr(select, "poll"):
        with pytest.raises(Broken, match="Bad file descriptor"):
            stream.receive(10, 1)
        assert stream.is_readable()
    stream.interrupt()
    stream.close()
    stream.close()


def test_a_peer_that_stops_reading_and_resets_breaks_the_rest(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    timer = threading.Timer(0.05, peer.close)
    data = b"x" * 50_000_000
    timer.start()
    with pytest.raises(Broken, match=r"reset|pipe"):
        stream.send(data, 5)
    timer.join()


def test_asking_for_something_to_read_waits_for_nothing(pair: tuple[PlainStream, socket.socket]) -> None:
    """It is asked before each command of a producer."""
    stream, _ = pair
    fastest = 1.0
    for _ in range(20):
        started = time.monotonic()
        assert not stream.is_readable()
        fastest = min(fastest, time.monotonic() - started)
    assert fastest < 0.000_8


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels are not asked to wait for more")
def test_several_replies_are_waited_for_at_once_and_then_singly(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, peer = pair
    stream.send(b"two", 1, replies=2)
    peer.sendall(b"+OK\r\n")
    if hasattr(select, "poll"):
        with pytest.raises(Broken, match="timed out"):
            stream.receive(100, 0.05)
    peer.sendall(b"$-1\r\n")
    assert stream.receive(100, 1) == b"+OK\r\n$-1\r\n"
    peer.sendall(b"+\r\n")  # a rest may be shorter than a reply is
    assert stream.receive(100, 1) == b"+\r\n"
    stream.send(b"two", 1, replies=2)
    peer.sendall(b"+\r\n")
    time.sleep(0.01)
    assert stream.is_readable()


def test_a_kernel_that_knows_of_no_low_water_mark_is_one_that_does_without(
    pair: tuple[PlainStream, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, peer = pair
    monkeypatch.setattr(socket, "SO_RCVLOWAT", 9_999)
    stream.send(b"two", 1, replies=2)
    peer.sendall(b"+OK\r\n")
    assert stream.receive(100, 1) == b"+OK\r\n"
    stream.send(b"two", 1, replies=2)


def test_readiness_that_was_none_is_waited_out(
    pair: tuple[PlainStream, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, peer = pair
    waits = 0
    original = stream._poll

    def poll(milliseconds: float) -> object:
        nonlocal waits
        waits += 1
        if waits == 1:
            return True
        peer.sendall(b"x")
        return original(milliseconds)

    monkeypatch.setattr(stream, "_poll", poll, raising=False)
    assert stream.receive(10, 1) == b"x"
    assert waits == 2


def test_an_interrupt_ends_a_wait(pair: tuple[PlainStream, socket.socket]) -> None:
    stream, _ = pair
    timer = threading.Timer(0.05, stream.interrupt)
    timer.start()
    started = time.monotonic()
    assert stream.receive(10, 5) == b""
    assert time.monotonic() - started < 2
    timer.join()


def test_descriptors_and_sockets_are_asked_and_closed_whatever_they_are(
    pair: tuple[PlainStream, socket.socket],
) -> None:
    stream, peer = pair
    assert writable([peer], 1) == [peer]
    assert not is_readable(peer.fileno())
    stream.send(b"x", 1)
    assert module._is_writable(peer, 1)
    deadline = time.monotonic() + 5
    while not is_readable(peer.fileno()):
        assert time.monotonic() < deadline
    shut_down(peer)
    shut_down(peer)
    close_socket(peer)
    shut_down(peer)


def test_a_platform_without_these_options_is_tuned_as_far_as_it_goes(
    pair: tuple[PlainStream, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, peer = pair
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, name, raising=False)
    tune(peer)
    assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Alarm(OSError):
    """What a user's signal handler raises."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Have SIGUSR1 raise it."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    before = signal.signal(signal.SIGUSR1, ring)
    yield
    signal.signal(signal.SIGUSR1, before)


class Struck(socket.socket):
    """A socket in one of whose methods a signal strikes; with `is_full` it has no room at first."""

    method = ""
    is_full = False

    def _call(self, name: str) -> None:
        if self.is_full and name == "send":
            self.is_full = False
            raise BlockingIOError
        if name == self.method:
            signal.raise_signal(signal.SIGUSR1)

    def send(self, data: Buffer, flags: int = 0) -> int:
        self._call("send")
        return super().send(data, flags)

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        self._call("sendall")
        super().sendall(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._call("recv")
        return super().recv(size, flags)

    def setsockopt(self, *args: Any) -> None:
        self._call("setsockopt")
        super().setsockopt(*args)

    def shutdown(self, how: int) -> None:
        self._call("shutdown")
        super().shutdown(how)

    def close(self) -> None:
        super().close()
        self._call("close")


@pytest.fixture
def struck() -> Iterator[Struck]:
    """A socket whose peer has said something, and reads what it is told."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"pong")
    struck = Struck(fileno=ours.detach())
    yield struck
    struck.method = ""
    struck.close()
    theirs.close()


@pytest.mark.parametrize(("method", "end"), [("shutdown", shut_down), ("close", close_socket)])
def test_what_a_signal_handler_raises_in_the_end_of_a_socket_is_not_the_sockets(
    alarm: None, struck: Struck, method: str, end: Callable[[socket.socket], None]
) -> None:
    struck.method = method
    with pytest.raises(Alarm):
        end(struck)


USES: list[tuple[str, bool, type[PlainStream | TlsStream], Callable[[PlainStream | TlsStream], object]]] = [
    ("send", False, PlainStream, lambda stream: stream.send(b"ping", 1)),
    ("send", True, PlainStream, lambda stream: stream.send(b"ping", 1)),
    ("recv", False, PlainStream, lambda stream: stream.receive(10, 1)),
    ("sendall", False, TlsStream, lambda stream: stream.send(b"ping", 1)),
    ("recv", False, TlsStream, lambda stream: stream.receive(10, 1)),
]
if sys.platform == "linux":  # other kernels are not asked to wait for more
    USES.append(("setsockopt", False, PlainStream, lambda stream: stream.send(b"ping", 1, replies=2)))


@pytest.mark.parametrize(("method", "is_full", "kind", "use"), USES)
def test_what_a_signal_handler_raises_in_an_exchange_is_no_broken_line(
    alarm: None,
    struck: Struck,
    method: str,
    is_full: bool,
    kind: type[PlainStream | TlsStream],
    use: Callable[[PlainStream | TlsStream], object],
) -> None:
    stream = kind(struck)
    struck.method, struck.is_full = method, is_full
    with pytest.raises(Alarm):
        use(stream)
    struck.method = ""
    assert use(stream) in (None, b"pong")  # the stream can still be used


def test_a_kernel_that_had_no_room_after_all_is_asked_again() -> None:
    class Fuller(socket.socket):
        refusals = 2

        def send(self, data: Buffer, flags: int = 0) -> int:
            if self.refusals:
                self.refusals -= 1
                raise BlockingIOError
            return super().send(data, flags)

    ours, theirs = socket.socketpair()
    stream = PlainStream(Fuller(fileno=ours.detach()))
    stream.send(b"ping", 1)
    assert theirs.recv(10) == b"ping"
    stream.close()
    theirs.close()
