"""The one door through which the server, signals and methods change a consumer's state: whoever has to know is told.

Any thread may come through it. It waits for nothing but the lock, which is held for moments only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ..runtime.logs import LateLog
from ..runtime.ticking import monotonic
from .lifecycle import Lifecycle, News, StoppedBy

log: LateLog = LateLog("faktory.lifecycle")  # the heartbeat comes here, too, and must not wait


class Stoppable(Protocol):
    """Child processes that run jobs."""

    def tell_stopping(self, *, in_a_hurry: bool = False) -> None:
        """Have jobs know that their worker is ending, soon or now."""
        ...


class Door:
    """Changes a `Lifecycle` under `lock`, then calls `announce()`; `children` are told of an end before."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        lock: AbstractContextManager[object],
        announce: Callable[[], None],
        children: Stoppable | None,
    ) -> None:
        self._lifecycle = lifecycle
        self._lock = lock
        self._announce = announce
        self._children = children

    def quiet(self) -> None:
        """Stop taking jobs."""
        self._enter(lambda: self._lifecycle.quiet(monotonic()))

    def terminate(self, by: StoppedBy = "method") -> None:
        """Stop taking jobs and end."""
        self._tell_children()
        self._enter(lambda: self._lifecycle.terminate(monotonic(), by))

    def force(self, by: StoppedBy = "method") -> None:
        """End now."""
        self._tell_children(in_a_hurry=True)
        self._enter(lambda: self._lifecycle.force(monotonic(), by))

    def server_says(self, wanted: str | None) -> None:
        """Obey the answer to a BEAT."""
        if wanted is not None:
            if wanted == "terminate":
                self._tell_children()
            self._enter(lambda: self._lifecycle.server_says(wanted, monotonic()))

    def _enter(self, change: Callable[[], News | None]) -> None:
        with self._lock:
            news = change()
        self._announce()
        if news is not None:
            (log.warning if news.is_urgent else log.info)(news.text, *news.args)

    def _tell_children(self, *, in_a_hurry: bool = False) -> None:
        if self._children is not None:
            self._children.tell_stopping(in_a_hurry=in_a_hurry)
