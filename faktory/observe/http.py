"""A small HTTP server for probes and scrapes, in one thread of its own. GET and HEAD, one request a connection.

Whoever may connect may be hostile. A connection that is slow, sends too much or nothing costs itself: each has 5 s and
8 KiB, the oldest makes room when there are too many, and a flood is answered at a bounded rate, so that the jobs keep
the processor. What is answered is made by functions that wait for nothing.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from ..errors import ConfigurationError, ThreadStartFailed
from ..runtime.ticking import monotonic

log: logging.Logger = logging.getLogger("faktory.observe")

TIMEOUT: Final = 5.0
"""Seconds that a connection may last, from its start to the last byte of the answer."""
LARGEST: Final = 8 * 1024
"""Bytes that a request may have."""
MOST: Final = 64
"""Connections at a time; one more ends the oldest."""
BATCH: Final = 8
PAUSE: Final = 0.02
"""So many connections are taken at once, and the next ones not before so many seconds have passed."""

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path is answered with."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[str], Answer]
"""Called with the query, what stands behind the question mark; waits for nothing."""


def place_of(where: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; the loopback address for a port alone, or for `:PORT`.

    Raises `ConfigurationError`.
    """
    host, colon, port = where.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"an IPv6 address stands in brackets, like [::1]:9464; got {where!a:.60}")
    if not port.isdecimal() or not port.isascii() or int(port) > 65_535 or (colon and "/" in host):
        raise ConfigurationError(
            f"expected HOST:PORT or a port to serve on, like 127.0.0.1:9464 or 9464, got {where!a:.60}"
        )
    return host or "127.0.0.1", int(port)


@dataclass(slots=True)
class _Client:
    """One connection: what it has sent, and what is left of its answer."""

    connection: socket.socket
    ends_at: float
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class Server:
    """Serves pages by path until it is closed. A context manager.

    Raises `ConfigurationError` where it cannot listen, `ThreadStartFailed` without room for its thread.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self._pages = dict(pages)
        self._listener = _listen(host, port)
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._wake, self._woken = socket.socketpair()
        self._is_closing = False
        self._taken_at = 0.0
        self._rest = threading.Event()  # never set
        self.host: str = host
        self.port: int = self._listener.getsockname()[1]
        """Where it listens, chosen by the system when 0 was asked for."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._live, name="faktory-http", daemon=True)
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as exc:
            self._release()
            raise ThreadStartFailed(f"the thread faktory-http could not be started ({exc})") from exc

    @property
    def url(self) -> str:
        """Where it is, as a URL."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def close(self) -> None:
        """Stop, and close all connections. Can be called twice."""
        if not self._is_closing:
            self._is_closing = True
            with suppress(OSError):
                self._wake.send(b"x")
        self._thread.join(TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {self.url}>"

    # -- the thread --------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        """Serve until closed. The thread's outermost line."""
        while not self._is_closing:
            try:
                self._step()
            except Exception:
                log.exception("serving %s failed on a request", self.url)
        self._release()

    def _release(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        for each in (self._listener, self._wake, self._woken):
            each.close()

    def _step(self) -> None:
        wait = min((client.ends_at - monotonic() for client in self._clients.values()), default=None)
        events = self._selector.select(None if wait is None else max(0.0, wait))
        for key, mask in events:
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is not self._woken:
                client = self._clients.get(key.fd)
                if client is not None:  # else dropped meanwhile
                    self._serve(client, mask)
        now = monotonic()
        for client in [client for client in self._clients.values() if client.ends_at <= now]:
            self._drop(client)

    def _accept(self) -> None:
        """Take what has come, but not all at once: a flood must not take the processor from the jobs."""
        rest = self._taken_at + PAUSE - monotonic()
        if rest > 0:
            self._rest.wait(rest)
        self._taken_at = monotonic()
        for _ in range(BATCH):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # nobody more; or no descriptor is left, and the pause keeps that from being a hot loop
                break
            connection.setblocking(False)
            if len(self._clients) >= MOST:
                self._drop(min(self._clients.values(), key=lambda client: client.ends_at))
            client = _Client(connection, monotonic() + TIMEOUT)
            self._clients[connection.fileno()] = client
            self._selector.register(connection, selectors.EVENT_READ)

    def _serve(self, client: _Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._read(client)
            else:
                self._write(client)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._drop(client)

    def _read(self, client: _Client) -> None:
        data = client.connection.recv(LARGEST)
        if client.answer is not None:  # more than one request, or none was waited for
            return self._drop(client) if not data else None
        client.received += data
        if len(client.received) > LARGEST:
            answer, is_head = Answer(431, "the request is too large\n"), False
        elif b"\r\n\r\n" in client.received or b"\n\n" in client.received:
            answer, is_head = self._answered(bytes(client.received))
        elif not data:
            return self._drop(client)
        else:
            return None
        client.answer = memoryview(_encoded(answer, is_head=is_head))
        self._selector.modify(client.connection, selectors.EVENT_WRITE)
        return self._write(client)

    def _write(self, client: _Client) -> None:
        answer = client.answer
        while answer:
            sent = client.connection.send(answer)
            client.answer = answer = answer[sent:]
        self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        with suppress(OSError):  # so that what is unread resets nothing that is on its way
            client.connection.shutdown(socket.SHUT_WR)
        client.connection.close()

    def _answered(self, request: bytes) -> tuple[Answer, bool]:
        method, path, query = _parsed(request)
        if method is None:
            return Answer(400, "expected a request of HTTP/1.x\n"), False
        if method not in ("GET", "HEAD"):
            return Answer(405, "expected GET or HEAD\n"), False
        page = self._pages.get(path)
        if page is None:
            return Answer(404, f"there is nothing here; try {', '.join(self._pages)}\n"), method == "HEAD"
        try:
            return page(query), method == "HEAD"
        except Exception:
            log.exception("the page %a could not be made", path)
            return Answer(500, "the page could not be made; the log says why\n"), method == "HEAD"


def _parsed(request: bytes) -> tuple[str | None, str, str]:
    words = request.split(b"\n", 1)[0].rstrip(b"\r").split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return None, "", ""
    path, _, query = words[1].decode("latin-1").partition("?")
    return words[0].decode("latin-1"), path, query


def _encoded(answer: Answer, *, is_head: bool) -> bytes:
    body = answer.body.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
    )
    if answer.status == 405:
        head += "Allow: GET, HEAD\r\n"
    return f"{head}\r\n".encode() + (b"" if is_head else body)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(MOST)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise ConfigurationError(
            f"cannot serve on {host}:{port}: {exc.strerror or exc}; free the port, or give another HOST:PORT (port 0 "
            "takes any free one)"
        ) from exc
    return listener
