"""All that the async shell may ask of a scheduler: the `Backend` protocol of `faktory.asyncio` and `faktory.trio`.

Limits are seconds from the call on; past one a `TimeoutError` is raised. What breaks a stream is raised as `OSError`.
But for the function that `bind_call_soon` gives, everything is called in the scheduler's own thread.

After a freeze (SIGSTOP, a suspended machine, a handler that blocked the loop) a limit fires together with
what it waits for, and often first. So a stream looks once more before it gives up, for `more_time` seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

_A_ROUND: Final = 0.001
"""Seconds, not zero: a scheduler that has nothing to wait for need not ask the system what has come."""
_LATE: Final = 0.1
_AFTER_A_FREEZE: Final = 1.0


def more_time(late: float) -> float:
    """Return the seconds to go on waiting after a limit whose alarm came so many seconds `late`.

    On time, one more look at what has come will do. Late, the process stood still: all that waits gets its turn.
    """
    return _AFTER_A_FREEZE if late > _LATE else _A_ROUND


class Cut(Exception):
    """A `Scope` was cancelled; the cause is the scheduler's own exception, with the place that it struck."""


class Stream(Protocol):
    """A TCP or TLS connection."""

    async def send(self, data: bytes, limit: float) -> None:
        """Hand all of the data to the system."""
        ...

    async def receive(self, limit: float) -> bytes:
        """Return what has come, at least one byte; nothing at the end of the file."""
        ...

    def is_readable(self) -> bool:
        """Tell whether `receive` would return, or raise, at once."""
        ...

    async def close(self, goodbye: bytes, limit: float) -> None:
        """Send a last word if that is possible, and close. Never raises but for a cancellation."""
        ...

    def abort(self) -> None:
        """Close without a word. Can be called twice."""
        ...

    def forget(self) -> None:
        """Let go of it when its scheduler has ended: nothing is scheduled, and nobody is told."""
        ...


class Event(Protocol):
    """Something that happens once."""

    def set(self) -> Any: ...

    def is_set(self) -> bool: ...

    async def wait(self) -> Any: ...


class Group(Protocol):
    """Tasks that end before the block does. They raise nothing."""

    def start(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task, in a copy of the present context."""
        ...

    async def leave(self, patience: float) -> int:
        """Cancel all its tasks, and wait so long for them. Returns how many go on, which nobody waits for any more."""
        ...


class Scope(Protocol):
    """A stretch of one task that can be cancelled from outside of it."""

    def cancel(self) -> None:
        """Cancel what runs in it. Does nothing when it has ended."""
        ...

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` in the scope, once. Raises `Cut` when it was cancelled and let that pass."""
        ...


class Backend(Protocol):
    """A scheduler."""

    def here(self) -> object | None:
        """Return what stands for the running loop; None where none runs. Two at a time are never equal."""
        ...

    def has_ended(self, loop: object) -> bool:
        """Tell whether a loop will never run again. Any thread may call it."""
        ...

    async def open(self, host: str, port: int, limit: float) -> Stream:
        """Connect to an IP address."""
        ...

    async def wrap(self, stream: Stream, context: SSLContext, name: str, limit: float) -> Stream:
        """Do TLS over a stream just opened. The old one is aborted when that fails."""
        ...

    def event(self) -> Event: ...

    async def wait(self, event: Event, seconds: float) -> bool:
        """Wait for an event, perhaps for an infinite time. Returns whether it has happened."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def checkpoint(self) -> None:
        """Let every other task that is ready make a step."""
        ...

    def group(self) -> AbstractAsyncContextManager[Group]: ...

    def scope(self) -> Scope: ...

    async def shielded(self, call: Callable[[], Awaitable[T]], on_cancel: Callable[[], None]) -> T:
        """Await `call()` to its end, whatever happens to the caller.

        Whenever the caller is cancelled `on_cancel()` is called; the cancellation is raised after the end.
        """
        ...

    def spawn(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Start a task that outlives its caller, and ends with the scheduler at the latest. It raises nothing."""
        ...

    def bind_call_soon(self) -> Callable[..., None]:
        """Return `post(function, *args)`, which any thread may call to have a function run in the scheduler's.

        It does nothing when the scheduler has ended.
        """
        ...


class Bell:
    """An event that can be rung again and again; for one waiting task. A ring that nobody hears yet is kept."""

    __slots__ = ("_backend", "_event")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._event = backend.event()

    def ring(self) -> None:
        """Wake the waiting task."""
        self._event.set()

    async def wait(self, seconds: float = float("inf")) -> None:
        """Wait until it rings, or the time is up."""
        await self._backend.wait(self._event, seconds)
        if self._event.is_set():
            self._event = self._backend.event()
