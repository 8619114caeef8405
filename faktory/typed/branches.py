"""How apps include one another: which are above one, and which below. Pure.

Several may include the same one: then several ways lead down to it, from a root each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self
from weakref import ref

from ..errors import ConfigurationError


class Branch:
    """What can include others of its kind, and be included."""

    def __init__(self) -> None:
        self._parent: Self | None = None
        """The latest that includes this one."""
        self._earlier: list[ref[Self]] = []
        self._children: list[Self] = []
        self._paths: tuple[tuple[Self, ...], ...] = ()

    def _check_apart(self, other: Self) -> None:
        """Raise `ConfigurationError` for one that is included already, or is above."""
        if any(other in root._tree() or root in other._tree() for root in self._roots()):
            raise ConfigurationError("an app can be included once in another, and not in itself")

    def _take(self, other: Self) -> None:
        """Include another."""
        if other._parent is not None:
            other._earlier.append(ref(other._parent))
        other._parent = self
        self._children.append(other)
        self._forget_paths()

    def _forget_paths(self) -> None:
        for one in self._tree():
            one._paths = ()

    def _every_path(self) -> tuple[tuple[Self, ...], ...]:
        """Return the ways to this one, from a root each, the latest last."""
        paths = self._paths
        if not paths:
            parents = [parent for known in self._earlier if (parent := known()) is not None]
            parents += [] if self._parent is None else [self._parent]
            paths = self._paths = tuple((*path, self) for one in parents for path in one._every_path()) or ((self,),)
        return paths

    def _roots(self) -> list[Self]:
        return [path[0] for path in self._every_path()]

    def _ancestors(self) -> set[Self]:
        """Return this one and all that have it, however far down."""
        return {one for path in self._every_path() for one in path}

    def _tree(self) -> Iterator[Self]:
        yield self
        for child in self._children:
            yield from child._tree()
