"""A proxy that any test can put between a client and a server, and that misbehaves as it is told.

Deterministic by seed: the same seed slices, jitters and cuts at the same places of the same byte streams. One event
loop in one thread; the knobs are plain attributes and can be turned at any time from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to `port`. A context manager.

    * `latency`, `jitter`: seconds that each piece of data is late: the first plus up to the second.
    * `bandwidth`: bytes a second, each way; 0 is no limit.
    * `slice`: largest piece that is sent at once; 0 is no limit.
    * `black_hole`: swallow all data, and accept new connections into silence.
    * `limit`: end a connection with a reset after so many bytes from the server; None is no limit.
    * `refuse`: close new connections at once.
    """

    def __init__(self, port: int, *, seed: int = 1) -> None:
        self.latency = 0.0
        self.jitter = 0.0
        self.bandwidth = 0
        self.slice = 0
        self.black_hole = False
        self.limit: int | None = None
        self.refuse = False
        self.connections = 0
        self.resets = 0
        self.watch: Callable[[int, bool, bytes], None] | None = None
        """Told of each piece as it comes: the connection's number from 1, whether a client sent it, and the bytes."""
        self._target = port
        self._random = random.Random(seed)
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"tcp://127.0.0.1:{self.port}"

    def reset_all(self) -> None:
        """Reset every connection now, on both sides."""
        self._call(self._reset_all)

    def half_close_all(self) -> None:
        """End the server's direction of every connection: the client reads an end, its writes still go through."""
        self._call(self._half_close_all)

    def close(self) -> None:
        """Stop listening, reset what is open, and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _call(self, function: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def _reset_all(self) -> None:
        for link in list(self._links):
            self.resets += 1
            link.reset()

    def _half_close_all(self) -> None:
        for link in list(self._links):
            link.half_close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        self._reset_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets one round after they are aborted

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = _Link(self, writer, self.connections)
        self._links.add(link)
        try:
            if not self.refuse:
                await link.run(reader, self._target)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.reset()
            self._links.discard(link)

    async def deliver(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Forward data as slowly, late and chopped as the knobs say."""
        late = self.latency + self.jitter * self._random.random() if self.latency or self.jitter else 0.0
        if late:
            await asyncio.sleep(late)
        position = 0
        while position < len(data) and not self.black_hole:
            size = self._random.randint(1, self.slice) if self.slice else len(data)
            piece = data[position : position + size]
            position += len(piece)
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(len(piece) / self.bandwidth if self.bandwidth else 0)


class _Link:
    """A client's connection and the one to the server behind it."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, number: int) -> None:
        self._proxy = proxy
        self._client = client
        self._number = number
        self._server: asyncio.StreamWriter | None = None
        self._left = proxy.limit

    async def run(self, reader: asyncio.StreamReader, port: int) -> None:
        while self._proxy.black_hole:  # connected to silence, until it ends
            await asyncio.sleep(0.02)
        from_server, self._server = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.ensure_future(self._forward(reader, self._server, counts=False)),
            asyncio.ensure_future(self._forward(from_server, self._client, counts=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        while data := await reader.read(65536):
            if self._proxy.watch is not None:
                self._proxy.watch(self._number, not counts, data)
            if counts and self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            await self._proxy.deliver(writer, data)
            if counts and self._left == 0:
                return

    def half_close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._client.write_eof()

    def reset(self) -> None:
        """Close both sockets with a reset, whatever is in their buffers."""
        for writer in (self._client, self._server):
            if writer is not None:
                sock: socket.socket | None = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    if sock is not None and sock.fileno() >= 0:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
