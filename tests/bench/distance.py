"""A server that is far away: a proxy that delays its replies, and slows down nothing else.

`tests.proxy` breaks connections in every way there is, but holds up what follows late data; this one lets any number of
bytes be on their way at once.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from typing import Self


class Distance:
    """Forwards to the server at `url`; each piece of a reply comes `latency` seconds later. A context manager.

    All of a round trip's latency is on the way back: the system's timers are a millisecond coarse, and so they make it
    longer by one half on average, and not twice.
    """

    def __init__(self, url: str, latency: float) -> None:
        host, _, port = url.rpartition("/")[2].rpartition(":")
        self.peak = 0
        """Connections that were open at the same time."""
        self._target = (host, int(port))
        self._latency = latency
        self._late: deque[tuple[float, socket.socket, bytes]] = deque()  # in order, as all are late by the same time
        self._others: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="distance")
        self._thread.start()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """End the thread and close all connections."""
        self._stop.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self) -> None:
        while self._turn():
            pass
        for sock in (*self._others, self._listener, self._stopped):
            sock.close()
        self._selector.close()

    def _turn(self) -> bool:
        wait = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
        for key, _ in self._selector.select(wait):
            if key.fileobj is self._stopped:
                return False
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj in self._others:  # else it was closed just now
                key.data(key.fileobj)
        self._deliver()
        return True

    def _accept(self) -> None:
        client, server = self._listener.accept()[0], socket.create_connection(self._target, 10)
        for sock, act in ((client, self._to_server), (server, self._to_client)):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(10)  # it is read when there is something; a write waits for a reader that is slow
            self._selector.register(sock, selectors.EVENT_READ, act)
        self._others |= {client: server, server: client}
        self.peak = max(self.peak, len(self._others) // 2)

    def _to_server(self, client: socket.socket) -> None:
        data = _read(client)
        if data:
            _write(self._others[client], data)
        else:
            self._end(client)

    def _to_client(self, server: socket.socket) -> None:
        data = _read(server)
        if not data:
            self._selector.unregister(server)
        self._late.append((time.monotonic() + self._latency, self._others[server], data))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, client, data = self._late.popleft()
            if client not in self._others:
                continue  # it has closed its connection
            if data:
                _write(client, data)
            else:
                self._end(client)

    def _end(self, client: socket.socket) -> None:
        server = self._others.pop(client)
        del self._others[server]
        for sock in (client, server):
            with contextlib.suppress(KeyError):
                self._selector.unregister(sock)
            sock.close()


def _read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:  # reset
        return b""


def _write(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # closed meanwhile: its end will be read
        sock.sendall(data)
