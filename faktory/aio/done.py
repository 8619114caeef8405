"""What may be awaited without need, where a method of threads has an async twin that waits for nothing either."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


class Done:
    """Nothing to wait for: awaiting it returns at once."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield
