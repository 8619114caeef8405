"""A server that says what a test tells it to, for the replies no honest server gives."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

HI = b'+HI {"v":2}\r\n'
OK = b"+OK\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def line(self) -> bytes:
        """Read one line, without its end; empty at the end of the connection."""
        while b"\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def greet(self, hi: bytes = HI) -> bytes:
        """Do the handshake; return the client's HELLO."""
        self.say(hi)
        hello = self.line()
        self.say(OK)
        return hello

    def wait_for_end(self) -> None:
        """Read until the client is gone."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass


class ScriptedServer:
    """Runs `script(peer)` for each connection, in a thread; then closes it."""

    def __init__(self, script: Callable[[Peer], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.lines: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name="scripted-accept")
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), name="scripted")
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._script(Peer(sock))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Firewall:
    """A script behind a firewall: connections that were open when it is `restarted` get no answer any more.

    The first pushes are answered when so many as `together` have come, each over a connection of its own.
    """

    def __init__(self, together: int) -> None:
        self._barrier = threading.Barrier(together)
        self._generation = 0
        self.pushes = 0

    def restart(self) -> None:
        self._generation += 1

    def __call__(self, peer: Peer) -> None:
        born = self._generation
        peer.greet()
        is_first = born == 0
        while (line := peer.line()).startswith(b"PUSHB"):
            self.pushes += 1
            if is_first:
                self._barrier.wait(10)
                is_first = False
            if born == self._generation:
                peer.say(b"$2\r\n{}\r\n")
        assert not line or line == b"END"
