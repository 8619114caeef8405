"""The control: the same exchanges on bare sockets, with nothing around them."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


class Bare:
    """One connection: a line out, a reply in."""

    def __init__(self, url: str, wid: str | None = None) -> None:
        host, _, port = url.rpartition("/")[2].rpartition(":")
        self.sock = socket.create_connection((host, int(port)), 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(None)
        self._buffer = b""
        self._line()
        hello: dict[str, Any] = {"v": 2}
        if wid is not None:
            hello |= {"wid": wid, "hostname": "bare", "pid": os.getpid(), "labels": ["bare"]}
        self.call(b"HELLO " + json.dumps(hello).encode() + b"\r\n")

    def call(self, line: bytes) -> bytes | None:
        self.sock.sendall(line)
        return self.receive()

    def receive(self) -> bytes | None:
        head = self._line()
        if head[:1] != b"$":
            return head
        if head == b"$-1":
            return None
        size = int(head[1:])
        if len(self._buffer) < size + 2:
            self._fill(size + 2)
        data, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        return data

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _fill(self, size: int) -> None:
        pieces, have = [self._buffer], len(self._buffer)
        while have < size:
            piece = self.sock.recv(min(size - have, 1 << 20))
            if not piece:
                raise ConnectionError("the server closed the connection")
            pieces.append(piece)
            have += len(piece)
        self._buffer = b"".join(pieces)

    def close(self) -> None:
        self.sock.close()


def consume(
    url: str, queues: Sequence[str], threads: int, handle: Callable[[dict[str, Any]], Any], enough: threading.Event
) -> None:
    """Fetch, handle, acknowledge: two round trips a job, in so many threads, until it is enough."""
    fetch = f"FETCH {' '.join(queues)}\r\n".encode()

    def loop() -> None:
        bare = Bare(url, "bare-worker-1")
        while not enough.is_set():
            data = bare.call(fetch)
            if data is None:
                continue
            job = json.loads(data)
            handle(job)
            bare.call(b'ACK {"jid":"' + job["jid"].encode() + b'"}\r\n')
        bare.close()

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def document(queue: str, number: object, jid: str, size: int = 0) -> dict[str, Any]:
    args = [number, "x" * size] if size else [number]
    return {"jid": jid, "jobtype": "nop", "args": args, "queue": queue, "retry": 0}


def fill(url: str, queue: str, count: int, size: int = 0) -> None:
    """Store jobs that do nothing, each larger by `size` bytes; in commands of up to a megabyte, or of one job."""
    bare = Bare(url)
    step = max(1, 1_000_000 // (size + 1000))
    for start in range(0, count, step):
        numbers = range(start, min(start + step, count))
        jobs = [document(queue, number, f"bench-{os.urandom(6).hex()}", size) for number in numbers]
        bare.call(b"PUSHB " + json.dumps(jobs).encode() + b"\r\n")
    bare.close()


def flush(url: str) -> None:
    """Have the server forget what is left, so that nobody is slower for it."""
    bare = Bare(url)
    bare.call(b"FLUSH\r\n")
    bare.close()


def push_steadily(url: str, queue: str, count: int, pause: float) -> None:
    """Push jobs one by one, each with the moment at which it left."""
    bare = Bare(url)
    for _ in range(count):
        job = document(queue, time.monotonic_ns(), f"bench-{os.urandom(6).hex()}")
        bare.call(b"PUSHB [" + json.dumps(job).encode() + b"]\r\n")
        time.sleep(pause)
    bare.close()
