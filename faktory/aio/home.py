"""Where something belongs: the loop that runs, in this process. Sockets of another one are not ours to touch."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..errors import ConfigurationError
from .backend import Backend


class Home:
    """The process and the loop of its making."""

    __slots__ = ("_backend", "loop", "pid", "post")

    def __init__(self, backend: Backend) -> None:
        """Take the running loop. Raises `ConfigurationError` when there is none."""
        loop = backend.here()
        if loop is None:
            raise ConfigurationError(
                "no event loop runs here; a process that was forked while one ran needs a loop of its own"
            )
        self.loop: object = loop
        self.pid: int = os.getpid()
        self.post: Callable[..., Any] = backend.bind_call_soon()
        """Have a function called in the loop, by any thread; nothing when the loop has ended."""
        self._backend = backend

    @property
    def is_here(self) -> bool:
        """True where this loop runs, in the same process."""
        return self.pid == os.getpid() and self.loop is self._backend.here()

    @property
    def is_in_another_process(self) -> bool:
        """True in the child of a fork."""
        return self.pid != os.getpid()

    @property
    def has_ended(self) -> bool:
        """True when the loop will never run again."""
        return self._backend.has_ended(self.loop)
