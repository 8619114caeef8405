"""Values that live as long as the process's consumer: made when first wanted, closed in reverse order."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .errors import ConfigurationError

T = TypeVar("T")

log = logging.getLogger("faktory.managed")


class Managed:
    """Factories by type. Thread-safe; a forked child makes values of its own."""

    def __init__(self) -> None:
        self._factories: dict[type[Any], Callable[[], Any]] = {}
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a factory may ask for another value
        self._made: dict[type[Any], Any] = {}

    def add(self, kind: type[T], factory: Callable[[], T]) -> None:
        """Register a factory. Raises `ConfigurationError` for a type that has one."""
        if not isinstance(kind, type) or not callable(factory):
            raise ConfigurationError(f"manage takes a type and a function that makes one, got {kind!a:.60}")
        if kind in self._factories:
            raise ConfigurationError(f"{kind.__qualname__} is managed twice")
        self._factories[kind] = factory

    def get(self, kind: type[T]) -> T:
        """Return the value of this type, made now if it is the first call. Raises `ConfigurationError` if unknown."""
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if kind not in self._made:
                if kind not in self._factories:
                    raise ConfigurationError(f"{kind.__qualname__} is not managed; add it with manage(type, factory)")
                self._made[kind] = self._factories[kind]()
            return cast(T, self._made[kind])

    def close(self) -> None:
        """Call `close` of the values that have one, the last made first. An error is logged and stops nothing."""
        with self._lock:
            made, self._made = self._made, {}
        if self._pid != os.getpid():
            return  # the parent's values are the parent's to close
        for value in reversed(made.values()):
            close = getattr(value, "close", None)
            if callable(close):
                try:
                    close()
                except Exception:
                    log.exception("closing the managed %s raised", type(value).__qualname__)
