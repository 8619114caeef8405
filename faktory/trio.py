"""Faktory for trio: `Client`, `Consumer` and `Connection`, the twins of the blocking ones."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import trio

from .aio.client import Batch
from .aio.client import Client as AnyClient
from .aio.connection import Connection as AnyConnection
from .aio.consumer import Consumer as AnyConsumer
from .aio.kit import Cut, Event, Group, Scope, Stream
from .connection import is_readable, tune

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["Batch", "Client", "Connection", "Consumer"]

T = TypeVar("T")


class _Pipe:
    """A `Stream` over trio's."""

    def __init__(self, raw: trio.SocketStream, stream: trio.abc.Stream) -> None:
        self.raw = raw
        self._stream = stream

    async def send(self, data: bytes, limit: float) -> None:
        with _raising_os_errors(), trio.move_on_after(limit):
            await self._stream.send_all(data)
            return
        raise TimeoutError("timed out")

    async def receive(self, limit: float) -> bytes:
        with _raising_os_errors(), trio.move_on_after(limit):
            return bytes(await self._stream.receive_some())
        raise TimeoutError("timed out")

    def is_readable(self) -> bool:
        return self.raw.socket.fileno() < 0 or is_readable(self.raw.socket.fileno())

    async def close(self, goodbye: bytes, limit: float) -> None:
        try:
            with suppress(OSError):
                await self.send(goodbye, limit)
        finally:
            self.abort()

    def abort(self) -> None:
        self.raw.socket.close()


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
    """A `Group`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._nursery.start_soon(call, *args)

    def cancel(self) -> None:
        self._nursery.cancel_scope.cancel()


@asynccontextmanager
async def _group() -> AsyncGenerator[_Tasks, None]:
    async with trio.open_nursery() as nursery:
        yield _Tasks(nursery)


class _Scope:
    """A `Scope`."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    def cancel(self) -> None:
        self._scope.cancel()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        cancelled: trio.Cancelled | None = None
        with self._scope:
            try:
                return await call()
            except trio.Cancelled as exc:
                cancelled = exc
                raise
        raise Cut from cancelled


class TrioKit:
    """The kit of trio."""

    async def open(self, host: str, port: int, limit: float) -> Stream:
        sock = trio.socket.socket(trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET)
        try:
            with trio.move_on_after(limit):
                await sock.connect((host, port))
                raw = trio.SocketStream(sock)
                tune(sock)  # type: ignore[arg-type]  # it has the one method that is used
                return _Pipe(raw, raw)
        except OSError as exc:
            sock.close()
            if exc.errno is None:
                raise
            raise OSError(exc.errno, os.strerror(exc.errno)) from exc  # trio puts its own text there
        except BaseException:
            sock.close()
            raise
        sock.close()
        raise TimeoutError("timed out")

    async def wrap(self, stream: Stream, context: SSLContext, name: str, limit: float) -> Stream:
        raw = cast(_Pipe, stream).raw
        tls = trio.SSLStream(raw, context, server_hostname=name, https_compatible=True)
        try:
            with trio.move_on_after(limit):
                with _raising_os_errors():
                    await tls.do_handshake()
                return _Pipe(raw, tls)
        except BaseException:
            stream.abort()
            raise
        stream.abort()
        raise TimeoutError("timed out")

    def event(self) -> Event:
        return trio.Event()

    async def wait(self, event: Event, seconds: float) -> bool:
        with trio.move_on_after(max(0.0, seconds)):
            await event.wait()
        return event.is_set()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def give_way(self) -> None:
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

    def poster(self) -> Callable[..., None]:
        token = trio.lowlevel.current_trio_token()

        def post(function: Callable[..., None], *args: Any) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(function, *args)

        return post


KIT: Final = TrioKit()


class Connection(AnyConnection):
    """Async twin of `faktory.connection.Connection`, for trio."""

    _kit = KIT


class Client(AnyClient):
    """Async twin of `faktory.Client`, for trio. Belongs to one `trio.run` at a time."""

    _kit = KIT
    _connection = Connection


class Consumer(AnyConsumer):
    """Async twin of `faktory.Consumer`, for trio. Made by `ConsumerBuilder.connect_trio`."""

    _kit = KIT
    _connection = Connection
