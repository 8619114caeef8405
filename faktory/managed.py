"""Values that live as long as the process's consumer: made when first wanted, closed in reverse order."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .callables import is_generator, place_of
from .errors import ConfigurationError

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.managed")


class _Made:
    """The values of one process."""

    __slots__ = ("exits", "lock", "values")

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a factory may ask for another value
        self.values: dict[type[Any], Any] = {}
        self.exits: dict[type[Any], Callable[[], object]] = {}


class Managed:
    """Factories by type. Thread-safe; a forked child makes values of its own."""

    def __init__(self) -> None:
        self._factories: dict[type[Any], Callable[[], Any]] = {}
        # By process: a child neither waits for a lock that a thread of its parent held, nor lets the parent's values
        # go, whose destructors could say goodbye on a connection that the parent goes on using.
        self._made: dict[int, _Made] = {}

    def add(self, kind: type[T], factory: Callable[[], T]) -> None:
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
        if kind in self._factories:
            raise ConfigurationError(f"{kind.__qualname__} is managed twice")

    def has(self, kind: type[Any]) -> bool:
        """Tell whether there is a factory for this type."""
        return kind in self._factories

    def check_apart(self, other: Managed) -> None:
        """Raise `ConfigurationError` for a type that both have."""
        for kind in other._factories:
            if kind in self._factories:
                raise ConfigurationError(f"{kind.__qualname__} is managed twice")

    def take(self, other: Managed) -> None:
        """Add the factories of another. Raises `ConfigurationError` for a type that both have, and adds none."""
        self.check_apart(other)
        self._factories.update(other._factories)

    def get(self, kind: type[T]) -> T:
        """Return the value of this type, made now if it is the first call. Raises `ConfigurationError` if unknown."""
        pid = os.getpid()
        made = self._made.get(pid)
        if made is None:
            made = self._made.setdefault(pid, _Made())  # in one step: two threads get the same
        with made.lock:
            if kind not in made.values:
                if kind not in self._factories:
                    raise ConfigurationError(f"{kind.__qualname__} is not managed; add it with manage(type, factory)")
                made.values[kind], leave = _entered(kind, self._factories[kind]())
                if leave is not None:
                    made.exits[kind] = leave
            return cast(T, made.values[kind])

    def close(self) -> list[Any]:
        """Leave or `close` the values that can be, the last made first. An error is logged and stops nothing.

        Returns what must be awaited, where a `close` is async.
        """
        awaitables: list[Any] = []
        made = self._made.get(os.getpid())  # the parent's values are the parent's to close
        if made is None:
            return awaitables
        with made.lock:
            values, made.values = made.values, {}
            exits, made.exits = made.exits, {}
        for kind, value in reversed(values.items()):
            try:
                close = exits.get(kind) or getattr(value, "close", None)
                if callable(close):
                    result = close()
                    if hasattr(result, "__await__"):
                        awaitables.append(result)
            except BaseException:  # also SystemExit: the consumer has more to close
                log.exception("closing the managed %s raised", type(value).__qualname__)
        return awaitables


def _entered(kind: type[Any], made: Any) -> tuple[Any, Callable[[], object] | None]:
    """Return the value that a factory's result stands for, and what leaves it when it was a context manager.

    A value that has a `close` is not entered, as that may begin something else: a transaction, say.
    """
    is_value = isinstance(made, kind)
    if not hasattr(type(made), "__enter__") or (is_value and hasattr(type(made), "close")):
        return made, None
    entered = made.__enter__()
    value = made if is_value and not isinstance(entered, kind) else entered
    return value, lambda: made.__exit__(None, None, None)
