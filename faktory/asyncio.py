"""Faktory for asyncio: `Client`, `Consumer` and `Connection`, twins of the blocking ones. uvloop will do, too."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from .aio.backend import Cut, Event, Group, Scope, Stream, more_time
from .aio.client import Batch
from .aio.client import Client as AnyClient
from .aio.connection import Connection as AnyConnection
from .aio.consumer import Consumer as AnyConsumer
from .network.sockets import is_readable, tune

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Batch", "Client", "Connection", "Consumer"]

T = TypeVar("T")

_READ_SIZE = 64 * 1024
_MOST_UNREAD = 1024 * 1024
"""Bytes that a peer may send before they are asked for."""
_INSIST = 1.0
"""Seconds after which a task that goes on is cancelled again."""
_NEVER = 86_400.0


class _Pipe(asyncio.BufferedProtocol):
    """A `Stream` over a transport.

    It reads into a buffer of its own: for a plain protocol asyncio makes one of 256 KiB at each read, 12 µs.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._room = memoryview(bytearray(_READ_SIZE))
        self._unread = bytearray()
        self._is_paused = False
        self._has_ended = False
        self._error: OSError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_full = False
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        # One alarm for many replies, one after the other: to set and cancel one for each is 5 % of a job's bytecodes.
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._due = 0.0  # when the reply waited for is late

    # -- what the transport tells ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._is_paused = True
        self._transport.pause_reading()  # until the first `receive`: what comes may be for TLS to read

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # more than that comes in pieces
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._unread += self._room[:nbytes]
        if len(self._unread) > _MOST_UNREAD and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        self._has_ended = True
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = True
        if exc is not None:
            self._error = exc if isinstance(exc, OSError) else OSError(str(exc))
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        _wake(self._reader)
        _wake(self._writer)
        _wake(self._closed)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)

    # -- what the shell asks -----------------------------------------------------------------------------------------

    async def send(self, data: bytes, limit: float) -> None:
        if self._has_ended or self._transport.is_closing():
            raise self._error or ConnectionResetError("the connection was closed")
        self._transport.write(data)
        if self._is_full:
            self._writer = asyncio.get_running_loop().create_future()
            await _settled(self._writer, limit)
        if self._closed.done():
            raise self._error or ConnectionResetError("the connection was closed")

    async def receive(self, limit: float) -> bytes:
        if not self._unread and not self._has_ended:
            self._resume()
            self._reader = reader = self._loop.create_future()
            self._due = due = self._loop.time() + limit
            if self._alarm is None or due < self._alarm_at:
                self._wake_at(due)
            await reader
        if self._unread:
            data = bytes(self._unread)
            self._unread.clear()
            self._resume()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def _wake_at(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = when
        self._alarm = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """Look whether the reply waited for is late."""
        self._alarm = None
        reader = self._reader
        if reader is None or reader.done():
            return
        late = self._loop.time() - self._due
        if late < 0:
            self._wake_at(self._due)
        else:
            self._loop.call_later(more_time(late), _give_up, reader)

    def _resume(self) -> None:
        if self._is_paused and not self._has_ended:
            self._is_paused = False
            self._transport.resume_reading()

    def is_readable(self) -> bool:
        if self._unread or self._has_ended or self._transport.is_closing():
            return True
        sock = self._transport.get_extra_info("socket")
        return sock is None or is_readable(sock.fileno())

    async def close(self, goodbye: bytes, limit: float) -> None:
        try:
            if not self._transport.is_closing():
                self._transport.write(goodbye)
                self._transport.close()
            with suppress(TimeoutError):
                await _settled(self._closed, limit)
        finally:
            self.abort()

    def abort(self) -> None:
        if not self._closed.done():
            self._transport.abort()

    def forget(self) -> None:
        pass  # its own destructor closes it: all else would be scheduled


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


def _give_up(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError("timed out"))


async def _settled(waiting: asyncio.Future[None], limit: float) -> None:
    """Wait for a future. Cheaper than `asyncio.timeout`, which matters for every reply."""
    if waiting.done():
        return
    loop = waiting.get_loop()
    due = loop.time() + limit
    alarm: asyncio.TimerHandle

    def look_again() -> None:
        nonlocal alarm
        alarm = loop.call_later(more_time(loop.time() - due), _give_up, waiting)

    alarm = loop.call_later(limit, look_again)
    try:
        await waiting
    finally:
        alarm.cancel()


async def _within(limit: float, call: Awaitable[_Pipe]) -> _Pipe:
    """Await a pipe in the making. Whatever happens, none is left open that nobody gets."""
    task = asyncio.ensure_future(call)
    due = asyncio.get_running_loop().time() + limit
    try:
        await asyncio.wait([task], timeout=limit)
        if not task.done():
            await asyncio.wait([task], timeout=more_time(asyncio.get_running_loop().time() - due))
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    except BaseException:
        task.cancel()
        task.add_done_callback(_abort_made)
        raise
    if task.cancelled():
        raise TimeoutError("timed out")
    return task.result()


def _abort_made(task: asyncio.Future[_Pipe]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


class _Event:
    """An `Event`. Its waiters have time limits without `asyncio.timeout`, whose cancellation can hit another's."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        self._is_set = True
        for waiting in self._waiting:
            _wake(waiting)

    def is_set(self) -> bool:
        return self._is_set

    async def wait(self, seconds: float = float("inf")) -> None:
        if self._is_set:
            return
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        self._waiting.add(waiting)
        alarm = None if seconds == float("inf") else loop.call_later(max(0.0, seconds), _wake, waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if alarm is not None:
                alarm.cancel()


class _Tasks:
    """A `Group`."""

    def __init__(self) -> None:
        self.living: set[asyncio.Future[Any]] = set()
        self.error: BaseException | None = None
        self._is_cancelled = False

    def start(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        task = asyncio.ensure_future(call(*args))
        self.living.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Future[Any]) -> None:
        self.living.discard(task)
        if not task.cancelled() and task.exception() is not None and self.error is None:
            self.error = task.exception()

    def cancel(self) -> None:
        self._is_cancelled = True
        for task in self.living:
            task.cancel()

    async def leave(self, patience: float) -> int:
        self.cancel()
        if self.living:
            await asyncio.wait(self.living, timeout=patience)
        left, self.living = len(self.living), set()
        return left

    async def join(self) -> None:
        """Wait for all the tasks; a cancellation of the caller is theirs, too."""
        cancelled: asyncio.CancelledError | None = None
        while self.living:
            try:
                await asyncio.wait(self.living, timeout=_INSIST if self._is_cancelled else None)
            except asyncio.CancelledError as exc:
                cancelled = exc
                self._is_cancelled = True
            if self._is_cancelled:
                self.cancel()
        if cancelled is not None:
            raise cancelled
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def _group() -> AsyncGenerator[_Tasks, None]:
    tasks = _Tasks()
    try:
        yield tasks
    except BaseException:
        tasks.cancel()
        raise
    finally:
        await tasks.join()


class _Scope:
    """A `Scope`: at most one cancellation of its task, and that only while the task is inside."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            if self._task is not None:
                self._task.cancel()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._is_cancelled:
            raise Cut
        self._task = task = asyncio.current_task()
        try:
            return await call()
        except asyncio.CancelledError as exc:
            if not self._is_cancelled or task is None:
                raise
            task.uncancel()
            raise Cut from exc
        finally:
            self._task = None


class AsyncioBackend:
    """The backend of asyncio."""

    def __init__(self) -> None:
        self._spawned: set[asyncio.Future[Any]] = set()

    def here(self) -> object | None:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    def has_ended(self, loop: object) -> bool:
        return cast(asyncio.AbstractEventLoop, loop).is_closed()

    async def open(self, host: str, port: int, limit: float) -> Stream:
        loop = asyncio.get_running_loop()

        async def connect() -> _Pipe:
            transport, pipe = await loop.create_connection(_Pipe, host, port)
            sock: socket.socket = transport.get_extra_info("socket")
            tune(sock)
            return pipe

        try:
            return await _within(limit, connect())
        except OSError as exc:
            if exc.errno is None:
                raise
            raise OSError(exc.errno, os.strerror(exc.errno)) from exc  # asyncio puts its own text there

    async def wrap(self, stream: Stream, context: SSLContext, name: str, limit: float) -> Stream:
        loop = asyncio.get_running_loop()

        async def shake_hands() -> _Pipe:
            pipe = _Pipe()
            transport = await loop.start_tls(
                cast(_Pipe, stream)._transport,
                pipe,
                context,
                server_hostname=name,
                ssl_handshake_timeout=_NEVER,  # ours is the one that counts
                ssl_shutdown_timeout=_INSIST,
            )
            if transport is None:
                raise ConnectionResetError("the connection was closed")
            pipe.connection_made(transport)
            return pipe

        try:
            return await _within(limit, shake_hands())
        except BaseException:
            stream.abort()
            raise

    def event(self) -> Event:
        return _Event()

    async def wait(self, event: Event, seconds: float) -> bool:
        await cast(_Event, event).wait(seconds)
        return event.is_set()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    def group(self) -> AbstractAsyncContextManager[Group]:
        return _group()

    def scope(self) -> Scope:
        return _Scope()

    async def shielded(self, call: Callable[[], Awaitable[T]], on_cancel: Callable[[], None]) -> T:
        task = asyncio.ensure_future(call())
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:
                cancelled = exc
                on_cancel()
        if cancelled is None:
            return task.result()
        raise cancelled from (None if task.cancelled() else task.exception())

    def spawn(self, call: Callable[[], Awaitable[Any]]) -> None:
        task = asyncio.ensure_future(call())
        self._spawned.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._spawned.discard)

    def bind_call_soon(self) -> Callable[..., None]:
        loop = asyncio.get_running_loop()

        def post(function: Callable[..., None], *args: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(function, *args)

        return post


BACKEND: Final = AsyncioBackend()


class Connection(AnyConnection):
    """One conversation with a server on an asyncio loop. It belongs to the loop and the process that opened it.

    >>> async with await Connection.open("tcp://localhost:7419") as connection:
    ...     print(await connection.call(Info()))
    """

    _backend = BACKEND


class Client(AnyClient):
    """Push jobs from asyncio, and administer a server. Each event loop has a pool of its own, as long as it runs.

    >>> async with Client("tcp://localhost:7419") as client:
    ...     await client.push(Job("resize", ["cat.png"]))
    """

    _backend = BACKEND
    _connection = Connection


class Consumer(AnyConsumer):
    """Runs the jobs of some queues on an asyncio loop. Made by `ConsumerBuilder.connect_asyncio`.

    >>> async with await ConsumerBuilder().register("resize", resize).connect_asyncio() as consumer:
    ...     await consumer.run(["default"])
    """

    _backend = BACKEND
    _connection = Connection
