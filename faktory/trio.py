"""Faktory for trio: `Client`, `Consumer` and `Connection`, the twins of the blocking ones."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import trio

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

_AT_ONCE = 16 * 1024
"""Bytes that a socket has room for, but after a long silence of its peer."""
_READ_SIZE = 64 * 1024


class _Pipe:
    """A `Stream` over trio's; `sock` is what lies beneath."""

    def __init__(self, sock: socket.socket, raw: trio.SocketStream, stream: trio.abc.Stream) -> None:
        self.sock = sock
        self.raw = raw
        self._stream = stream
        self._is_plain = stream is raw
        # One alarm for many replies, one after the other: a scope around each is 7 % of a job's CPU time.
        self._alarm: trio.CancelScope | None = None
        self._due = 0.0  # when the reply waited for is late
        self._is_reading = False
        self._is_late = False

    async def send(self, data: bytes, limit: float) -> None:
        with _raising_os_errors():
            if self._is_plain:
                # Not by trio's stream, within a deadline: that and the read below saved 18 % of a job's CPU time.
                await trio.lowlevel.checkpoint_if_cancelled()
                with suppress(BlockingIOError):
                    data = data[self.sock.send(data) :]
                if not data:
                    return
            if len(data) <= _AT_ONCE:
                # What the system takes at once it takes before the deadline is looked at.
                with trio.move_on_after(limit):
                    await self._stream.send_all(data)
                    return
                raise TimeoutError("timed out")
            await _within(limit, lambda: self._stream.send_all(data))

    async def receive(self, limit: float) -> bytes:
        due = trio.current_time() + limit
        with _raising_os_errors():
            if self._is_plain:
                if self.sock.fileno() < 0:
                    raise ConnectionResetError("the connection was closed")
                return await self._receive_by(due)
            with trio.move_on_after(limit):
                return bytes(await self._stream.receive_some())
            with trio.move_on_after(more_time(trio.current_time() - due)):
                return bytes(await self._stream.receive_some())
        raise TimeoutError("timed out")

    async def _receive_by(self, due: float) -> bytes:
        self._due, self._is_late = due, False
        if self._alarm is None or due < self._alarm.deadline:
            self._set_alarm(due)
        self._is_reading = True
        try:
            while True:
                await trio.lowlevel.wait_readable(self.sock)  # first: trio's stream asks for what is hardly ever there
                with suppress(BlockingIOError):
                    return self.sock.recv(_READ_SIZE)
        except trio.ClosedResourceError:
            if self._is_late:
                raise TimeoutError("timed out") from None
            raise
        finally:
            self._is_reading = False

    def _set_alarm(self, due: float) -> None:
        self._end_alarm()
        self._alarm = trio.CancelScope(deadline=due)
        trio.lowlevel.spawn_system_task(self._watch, self._alarm)

    async def _watch(self, alarm: trio.CancelScope) -> None:
        """Look whether the reply that is waited for is late, at the deadline of `alarm`, and of those that follow."""
        while True:
            with alarm:
                await trio.sleep_forever()
            due = self._due
            if self._alarm is alarm and self._is_reading and due <= alarm.deadline:
                await trio.sleep(more_time(trio.current_time() - due))
                if self._alarm is alarm and self._is_reading and due == self._due:
                    self._is_late = True
                    trio.lowlevel.notify_closing(self.sock)  # ends the wait; nothing is closed
            if self._alarm is not alarm:
                return
            if not self._is_reading or self._is_late:
                self._alarm = None
                return
            self._alarm = alarm = trio.CancelScope(deadline=self._due)

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def is_readable(self) -> bool:
        return self.sock.fileno() < 0 or is_readable(self.sock.fileno())

    async def close(self, goodbye: bytes, limit: float) -> None:
        try:
            with suppress(OSError):
                await self.send(goodbye, limit)
        finally:
            self.abort()

    def abort(self) -> None:
        self._end_alarm()
        with suppress(OSError):  # somebody has closed the descriptor under us
            self.raw.socket.close()

    def forget(self) -> None:
        with suppress(OSError):
            self.sock.close()


async def _within(limit: float, call: Callable[[], Awaitable[T]]) -> T:
    """Await `call()`, for what cannot be begun a second time."""
    due = trio.current_time() + limit
    scope = trio.CancelScope()
    watch_scope = trio.CancelScope()

    async def watch() -> None:
        with watch_scope:
            await trio.sleep_until(due)
            await trio.sleep(more_time(trio.current_time() - due))
            scope.cancel()

    trio.lowlevel.spawn_system_task(watch)  # a nursery would put what is raised into a group
    try:
        with scope:
            return await call()
    finally:
        watch_scope.cancel()
    raise TimeoutError("timed out")


class _raising_os_errors:  # noqa: N801  # reads as a clause
    """Raise as `OSError` what trio raises for broken and closed streams."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if isinstance(exc, (trio.BrokenResourceError, trio.ClosedResourceError)):
            cause = exc.__cause__
            if isinstance(cause, OSError):
                raise cause
            raise ConnectionResetError(str(cause or exc) or "the connection was closed") from exc


class _Tasks:
    """A `Group`: a nursery in a task of the system's. One of the caller's could not end before a job that never does.

    One scope for all its tasks, not one for each: 3 % of a job's CPU time.
    """

    def __init__(self) -> None:
        self._nursery: trio.Nursery
        self._is_left = trio.Event()
        self._has_ended = trio.Event()
        self._goes_on = False  # has it tasks that nobody waits for any more?
        self._error: BaseException | None = None

    async def open(self) -> None:
        is_open = trio.Event()
        trio.lowlevel.spawn_system_task(self._hold, is_open)
        await is_open.wait()

    async def _hold(self, is_open: trio.Event) -> None:
        async with trio.open_nursery() as self._nursery:
            is_open.set()
            await self._is_left.wait()
        self._has_ended.set()

    def start(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._nursery.start_soon(self._run, call, args)

    @trio.lowlevel.enable_ki_protection
    async def _run(self, call: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            await call(*args)
        except Exception as exc:
            self._error = self._error or exc

    def cancel(self) -> None:
        self._nursery.cancel_scope.cancel()

    async def leave(self, patience: float) -> int:
        self.cancel()
        with trio.move_on_after(patience):
            await self._end()
        left = len(self._nursery.child_tasks)
        self._goes_on = left > 0
        return left

    async def _end(self) -> None:
        self._is_left.set()
        await self._has_ended.wait()

    async def join(self) -> None:
        """Wait for all the tasks; a cancellation of the caller is theirs, too."""
        if not self._goes_on:
            try:
                await self._end()
            except BaseException:
                self.cancel()
                with trio.CancelScope(shield=True):
                    await self._end()
                raise
        if self._error is not None:
            raise self._error


@asynccontextmanager
async def _group() -> AsyncGenerator[_Tasks, None]:
    tasks = _Tasks()
    with trio.CancelScope(shield=True):
        await tasks.open()
    try:
        yield tasks
    except BaseException:
        tasks.cancel()
        raise
    finally:
        await tasks.join()


class _Scope:
    """A `Scope`."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    def cancel(self) -> None:
        self._scope.cancel()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        cancelled: trio.Cancelled | None = None
        try:
            with self._scope:
                try:
                    return await call()
                except trio.Cancelled as exc:
                    cancelled = exc
                    raise
            raise Cut from cancelled
        finally:
            del cancelled  # whose traceback leads here: a cycle would keep all that the job had in hand


def _nothing() -> None:
    pass


class TrioBackend:
    """The backend of trio."""

    def here(self) -> object | None:
        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None

    def has_ended(self, loop: object) -> bool:
        try:
            cast(trio.lowlevel.TrioToken, loop).run_sync_soon(_nothing)
        except trio.RunFinishedError:
            return True
        return False

    async def open(self, host: str, port: int, limit: float) -> Stream:
        plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock = trio.socket.from_stdlib_socket(plain)
            await _within(limit, lambda: sock.connect((host, port)))
            raw = trio.SocketStream(sock)
            tune(plain)
        except BaseException as exc:
            plain.close()
            if isinstance(exc, OSError) and exc.errno is not None:
                raise OSError(exc.errno, os.strerror(exc.errno)) from exc  # trio puts its own text there
            raise
        return _Pipe(plain, raw, raw)

    async def wrap(self, stream: Stream, context: SSLContext, name: str, limit: float) -> Stream:
        pipe = cast(_Pipe, stream)
        tls = trio.SSLStream(pipe.raw, context, server_hostname=name, https_compatible=True)
        try:
            with _raising_os_errors():
                await _within(limit, tls.do_handshake)
        except BaseException:
            stream.abort()
            raise
        return _Pipe(pipe.sock, pipe.raw, tls)

    def event(self) -> Event:
        return trio.Event()

    async def wait(self, event: Event, seconds: float) -> bool:
        with trio.move_on_after(max(0.0, seconds)):
            await event.wait()
        return event.is_set()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def checkpoint(self) -> None:
        # Tasks of one round run in any order: after the second all of the first have run.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    def group(self) -> AbstractAsyncContextManager[Group]:
        return _group()

    def scope(self) -> Scope:
        return _Scope()

    async def shielded(self, call: Callable[[], Awaitable[T]], on_cancel: Callable[[], None]) -> T:
        results: list[T] = []
        errors: list[BaseException] = []
        done = trio.Event()

        async def protected() -> None:
            with trio.CancelScope(shield=True):
                try:
                    results.append(await call())
                except BaseException as exc:
                    errors.append(exc)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(protected)
            try:
                await done.wait()
            except BaseException as exc:
                if not isinstance(exc, trio.Cancelled):
                    errors.append(exc)
                on_cancel()
                with trio.CancelScope(shield=True):
                    await done.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        if errors:
            raise errors[0]
        return results[0]

    def spawn(self, call: Callable[[], Awaitable[Any]]) -> None:
        trio.lowlevel.spawn_system_task(call)

    def bind_call_soon(self) -> Callable[..., None]:
        token = trio.lowlevel.current_trio_token()

        def post(function: Callable[..., None], *args: Any) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(function, *args)

        return post


BACKEND: Final = TrioBackend()


class Connection(AnyConnection):
    """One conversation with a server under trio. It belongs to the `trio.run` and the process that opened it.

    >>> async with await Connection.open("tcp://localhost:7419") as connection:
    ...     print(await connection.call(Info()))
    """

    _backend = BACKEND


class Client(AnyClient):
    """Push jobs from trio, and administer a server. Each `trio.run` has a pool of its own.

    >>> async with Client("tcp://localhost:7419") as client:
    ...     await client.push(Job("resize", ["cat.png"]))
    """

    _backend = BACKEND
    _connection = Connection


class Consumer(AnyConsumer):
    """Runs the jobs of some queues under trio. Made by `ConsumerBuilder.connect_trio`.

    >>> async with await ConsumerBuilder().register("resize", resize).connect_trio() as consumer:
    ...     await consumer.run(["default"])
    """

    _backend = BACKEND
    _connection = Connection
