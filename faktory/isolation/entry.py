"""The frame that a strike looks for, and how the thread in it makes sure that none is left over. On the hot path."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


def enter(call: Callable[[A], T], argument: A) -> T:
    """Call a handler: what this has on top of it, and nothing else, may be interrupted."""
    return call(argument)
