"""Puts an override in force for a block: for clients, for what reads the environment, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from .. import override
from ..core.managed import Managed

T = TypeVar("T")


class Kept:
    """What clients and apps make under one override: it must not outlive it."""

    def __init__(self) -> None:
        # By the owner's id, with the owner: what is left to the garbage collector warns of open sockets.
        self._made: dict[int, tuple[object, Any]] = {}

    def of(self, owner: object, make: Callable[[], T]) -> T:
        """Return the owner's, made if there is none."""
        found = self._made.get(id(owner))
        if found is None:
            # In one step: the thread that loses has opened nothing.
            found = self._made.setdefault(id(owner), (owner, make()))
        return found[1]  # type: ignore[no-any-return]

    def end(self) -> None:
        """Close all of it, without waiting."""
        for _, made in list(self._made.values()):
            (getattr(made, "drop", None) or made.close)()
        self._made.clear()


class Ending:
    """What is called when the override ends."""

    def __init__(self, close: Callable[[], object]) -> None:
        self.close = close


class Borrowed:
    """Managed values that are used until the override ends."""

    def __init__(self, managed: Managed) -> None:
        self._managed = managed
        managed.enter(self)

    def close(self) -> None:
        """Let go of them."""
        self._managed.close(self)


@contextmanager
def in_force(over: override.Override, kept: Kept, environment: Mapping[str, str | None]) -> Generator[None, None, None]:
    """Have an override in force for a block, and these variables set, or unset where they are None."""
    before = {name: os.environ.get(name) for name in environment}
    _set(environment)
    override.push(over)
    try:
        yield
    finally:
        override.pop(over)
        _set(before)
        kept.end()


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
