"""Managed values: made when first wanted, one of a type in a process, closed when the last who uses them is done.

Who uses them: consumers from their start to their end, and an app that runs its jobs in this process. Any thread may
ask. A value that is there is read without a lock; while one is made, only those who want the same wait for it. What has
to be awaited is made by `aio.values`, before the jobs that want it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any, TypeVar, cast
from weakref import WeakSet

from ..errors import ConfigurationError
from .callables import forget, is_async, is_async_context_manager, is_awaitable, is_generator, place_of

T = TypeVar("T")

Factory = Callable[[], T | AbstractContextManager[T] | AbstractAsyncContextManager[T] | Awaitable[T]]

log: logging.Logger = logging.getLogger("faktory.managed")

_MISSING: Any = object()

preparing: list[tuple[int, int]] = []
"""The event loops that make values before their jobs: a process and a thread for each consumer."""


class _Made:
    """The values of one process."""

    def __init__(self) -> None:
        # Taken by its own name, not through the Condition, whose `__enter__` an interrupt from outside could hit.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.values: dict[type[Any], Any] = {}
        self.exits: dict[type[Any], Callable[[], Any]] = {}
        self.makers: dict[type[Any], object] = {}
        """Who makes a value just now: a thread's number, or a token."""
        self.waiting: dict[object, type[Any]] = {}
        """Which value a thread waits for."""
        self.users: WeakSet[Any] = WeakSet()

    def claim(self, kind: type[Any], maker: object) -> bool:
        """Take it on to make a value; False when it is there, or somebody else makes it. The lock is held."""
        if kind in self.values or kind in self.makers:
            return False
        self.makers[kind] = maker
        return True

    def await_other(self, kind: type[Any], me: object) -> None:
        """Wait until somebody else has made a value, or has given up. The lock is held."""
        maker = self.makers[kind]
        while maker is not None:
            if maker == me:
                raise ConfigurationError(f"the factory of {kind.__qualname__} asks for a {kind.__qualname__} itself")
            wanted = self.waiting.get(maker)
            maker = None if wanted is None else self.makers.get(wanted)
        self.waiting[me] = kind
        try:
            self.changed.wait()
        finally:
            del self.waiting[me]


class Managed:
    """Factories by type, and their values. Thread-safe; a forked child makes values of its own.

    With a `base`, what has no factory here is asked for there.
    """

    def __init__(self, base: Managed | None = None) -> None:
        self.base = base
        self._factories: dict[type[Any], Callable[[], Any]] = {}
        # By process: a child neither waits for a lock that a thread of its parent held, nor lets the parent's values
        # go, whose destructors could say goodbye on a connection that the parent goes on using.
        self._made: dict[int, _Made] = {}

    # -- factories ------------------------------------------------------------------------------------------------

    def add(self, kind: type[T], factory: Factory[T]) -> None:
        """Register a factory. Raises `ConfigurationError` for a type that has one."""
        self.check_new(kind, factory)
        self._factories[kind] = factory

    def check_new(self, kind: type[Any], factory: Callable[[], Any]) -> None:
        """Raise `ConfigurationError` for what `add` would refuse."""
        if not isinstance(kind, type) or not callable(factory):
            raise ConfigurationError(
                f"manage takes a type and a function that makes one, got {kind!a:.60} and {factory!a:.60}"
            )
        if is_generator(factory):
            raise ConfigurationError(
                f"the factory {place_of(factory)} of {kind.__qualname__} has a yield, so that calling it would make "
                "nothing; put @contextlib.contextmanager above it"
            )
        if self.has(kind):
            raise ConfigurationError(f"{kind.__qualname__} is managed twice")

    def has(self, kind: type[Any]) -> bool:
        """Tell whether there is a factory for this type."""
        return kind in self._factories or (self.base is not None and self.base.has(kind))

    @property
    def kinds(self) -> list[type[Any]]:
        """The types that there are factories for."""
        return [*(() if self.base is None else self.base.kinds), *self._factories]

    def check_apart(self, other: Managed) -> None:
        """Raise `ConfigurationError` for a type that both have."""
        for kind in other._factories:
            if kind in self._factories:
                raise ConfigurationError(f"{kind.__qualname__} is managed twice")

    def take(self, other: Managed) -> None:
        """Add the factories of another. Raises `ConfigurationError` for a type that both have, and adds none."""
        self.check_apart(other)
        self._factories.update(other._factories)

    def over(self, base: Managed) -> Managed:
        """Return these factories and values, with those of another base below."""
        found = Managed(base)
        found._factories, found._made = self._factories, self._made
        return found

    def check_plain(self, where: str) -> None:
        """Raise `ConfigurationError` for a factory that has to be awaited, which only an event loop can."""
        for kind in self.kinds:
            factory = self.home_of(kind)._factories[kind]
            if is_async(factory) or is_async_context_manager(factory):
                raise ConfigurationError(
                    f"the factory {place_of(factory)} of {kind.__qualname__} is async, which {where} cannot run; make "
                    "it plain, or use connect_asyncio or connect_trio"
                )

    def home_of(self, kind: type[Any]) -> Managed:
        """Return who has the factory of a type: this one, or the base. Raises `ConfigurationError` if nobody has."""
        if kind in self._factories:
            return self
        if self.base is None:
            raise ConfigurationError(f"{kind.__qualname__} is not managed; add it with manage(type, factory)")
        return self.base.home_of(kind)

    # -- values ---------------------------------------------------------------------------------------------------

    def _of_process(self) -> _Made:
        pid = os.getpid()
        made = self._made.get(pid)
        return self._made.setdefault(pid, _Made()) if made is None else made  # in one step: two threads get the same

    def get(self, kind: type[T]) -> T:
        """Return the value of this type, made now if it is the first call.

        Raises `ConfigurationError` for a type that nobody manages, and what the factory raises. On the event loop of a
        consumer nothing is made, by a factory that would hold up all its jobs: `ConfigurationError`, too.
        """
        if kind not in self._factories:
            return self.home_of(kind).get(kind)
        made = self._of_process()
        value = made.values.get(kind, _MISSING)
        if value is not _MISSING:
            return cast(T, value)
        me = threading.get_ident()
        if (os.getpid(), me) in preparing:
            raise ConfigurationError(
                f"the {kind.__qualname__} was not made before the job, and making it here would stop the event loop; "
                f"{_declare(kind)}"
            )
        try:  # an interrupt can strike anywhere in here
            with made.lock:
                while not made.claim(kind, me):
                    if kind in made.values:
                        return cast(T, made.values[kind])
                    made.await_other(kind, me)
            found = self.call_factory(kind)
            if found is self.must_await:
                raise ConfigurationError(
                    f"the {kind.__qualname__} has to be awaited, which an event loop does before a job that needs it; "
                    f"{_declare(kind)}"
                )
            value, leave = self.entered(kind, found)
            self.keep(kind, value, leave)
        except BaseException:
            self.give_up(kind, me)
            raise
        return cast(T, value)

    must_await: Any = object()
    """What `call_factory` returns for a factory that is async."""

    def call_factory(self, kind: type[Any]) -> Any:
        """Call the factory of a type of its own, unless it is async."""
        factory = self._factories[kind]
        return self.must_await if is_async(factory) or is_async_context_manager(factory) else factory()

    def call_async_factory(self, kind: type[Any]) -> Any:
        """Call the factory of a type of its own; the result is to be awaited, or entered."""
        return self._factories[kind]()

    def claim(self, kind: type[Any], maker: object) -> bool:
        """Take it on to make the value of a type of its own; False when it is there, or somebody else makes it."""
        made = self._of_process()
        with made.lock:
            return made.claim(kind, maker)

    def give_up(self, kind: type[Any], maker: object) -> None:
        """Let others make the value of a type, if this maker has claimed it."""
        made = self._of_process()
        with made.lock:
            if made.makers.get(kind) == maker:
                del made.makers[kind]
            made.changed.notify_all()

    def keep(self, kind: type[Any], value: Any, leave: Callable[[], Any] | None) -> None:
        """Note the value of a type that was claimed; `leave()` ends it, and may have to be awaited."""
        made = self._of_process()
        with made.lock:
            made.values[kind] = value
            if leave is not None:
                made.exits[kind] = leave
            made.makers.pop(kind, None)
            made.changed.notify_all()

    def is_made(self, kind: type[Any]) -> bool:
        """Tell whether the value of a type is there."""
        return kind in self.home_of(kind)._of_process().values

    def has_all(self) -> bool:
        """Tell whether all values are there."""
        is_whole = not self._factories or len(self._of_process().values) == len(self._factories)
        return is_whole and (self.base is None or self.base.has_all())

    def entered(self, kind: type[Any], made: Any) -> tuple[Any, Callable[[], Any] | None]:
        """Return the value that a factory's result stands for, and what leaves it when it was a context manager.

        A value that has a `close` is not entered, as that may begin something else: a transaction, say. Raises
        `ConfigurationError` for a value of another type.
        """
        is_value = is_a(made, kind)
        if not hasattr(type(made), "__enter__") or (is_value and hasattr(type(made), "close")):
            return self.checked(kind, made), None
        entered = made.__enter__()
        value = made if is_value and not is_a(entered, kind) else entered
        try:
            return self.checked(kind, value), lambda: made.__exit__(None, None, None)
        except ConfigurationError:
            made.__exit__(*sys.exc_info())
            raise

    def checked(self, kind: type[Any], value: Any) -> Any:
        """Return a value of the right type. Raises `ConfigurationError` for another."""
        if is_a(value, kind):
            return value
        forget(value)
        hint = "; has it a return?" if value is None else ""
        if is_awaitable(value) or hasattr(type(value), "__aenter__"):
            hint = ", which has to be awaited; use connect_asyncio or connect_trio"
        raise ConfigurationError(
            f"the factory {place_of(self._factories[kind])} of {kind.__qualname__} gave a "
            f"{type(value).__qualname__}{hint}"
        )

    # -- users ----------------------------------------------------------------------------------------------------

    def enter(self, user: object) -> None:
        """Count a user, until it closes: the values live as long as anyone uses them."""
        if self.base is not None:
            self.base.enter(user)
        made = self._of_process()
        with made.lock:
            made.users.add(user)

    def close(self, user: object = None) -> None:
        """End what a user has used: leave or `close` the values that can be, the last made first, if nobody else does.

        An error is logged and stops nothing. What has to be awaited is run in an event loop of its own.
        """
        for kind, end in self.ends(user):
            try:
                result = end()
                if is_awaitable(result):
                    _run(result)
            except BaseException:  # also SystemExit: the consumer has more to close
                log_not_closed(kind)

    def ends(self, user: object = None) -> Iterator[tuple[type[Any], Callable[[], Any]]]:
        """Yield how to end each value, when nobody else uses them: the last made first, and each just once."""
        made = self._made.get(os.getpid())  # the parent's values are the parent's to close
        if made is not None:
            with made.lock:
                if user is not None:
                    made.users.discard(user)
                values: dict[type[Any], Any] = {}
                if not made.users:
                    values, made.values = made.values, {}
                exits, made.exits = made.exits, {} if not made.users else made.exits
            for kind, value in reversed(values.items()):
                yield kind, exits.get(kind) or partial(_closed, value)
        if self.base is not None:
            yield from self.base.ends(user)


def _declare(kind: type[Any]) -> str:
    return f"declare the job with needs=({kind.__qualname__},)"


def _closed(value: Any) -> Any:
    close = getattr(value, "close", None)
    return close() if callable(close) else None


def is_a(value: object, kind: type[Any]) -> bool:
    """Tell whether a value is of a type; of a protocol that cannot be asked, anything but None is."""
    try:
        return isinstance(value, kind)
    except TypeError:
        return value is not None


def log_not_closed(kind: type[Any]) -> None:
    """Say which value could not be closed, with the traceback."""
    log.exception("closing the managed %s raised", kind.__qualname__)


def _run(result: Any) -> None:
    import asyncio

    async def awaited() -> None:
        await result

    asyncio.run(awaited())
