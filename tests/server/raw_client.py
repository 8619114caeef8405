"""A client that knows nothing: lines out, raw replies in. It talks to ours and to the real server alike."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any, Self
from urllib.parse import urlsplit

PATIENCE = 10.0  # seconds


class RawClient:
    """One connection. `hello` is sent at once unless it is None."""

    def __init__(self, port: int, hello: str | None = "", *, context: ssl.SSLContext | None = None) -> None:
        self.sock: socket.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")
        self.file = self.sock.makefile("rb")
        self.greeting = b""
        if hello is not None:
            self.greeting = self.read()
            wid = f',"wid":"{hello}"' if hello else ""
            assert self.call(f'HELLO {{"v":2,"hostname":"h","pid":7,"labels":["a"]{wid}}}') == b"+OK\r\n"

    @classmethod
    def at(cls, url: str, hello: str | None = "") -> Self:
        return cls(urlsplit(url).port or 7419, hello)

    def send(self, line: str | bytes) -> None:
        self.sock.sendall((line.encode() if isinstance(line, str) else line) + b"\r\n")

    def read(self) -> bytes:
        """One whole reply as it came; b"" at the end of the stream."""
        line = self.file.readline()
        if line[:1] == b"$" and line != b"$-1\r\n":
            line += self.file.read(int(line[1:]) + 2)
        return line

    def call(self, line: str | bytes) -> bytes:
        self.send(line)
        return self.read()

    def json(self, line: str) -> Any:
        """The value in a bulk reply, or None for nil."""
        reply = self.call(line)
        if reply == b"$-1\r\n":
            return None
        assert reply[:1] == b"$", reply
        return json.loads(reply.partition(b"\r\n")[2])

    def push(self, jid: str, **fields: Any) -> bytes:
        return self.call("PUSH " + json.dumps({"jid": jid, "jobtype": "t", "args": [], "retry": 25, **fields}))

    def is_closed(self) -> bool:
        """True when the server has closed; waits for it."""
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
