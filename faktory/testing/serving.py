"""A server for the length of a block, to which everything connects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigurationError
from ..protocol.address import Address
from ..server import Clock, Server, is_embedded
from .children import Failures
from .force import Kept, in_force
from .jobs import Jobs

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")

FETCH_WAIT = 0.01
"""Seconds that a FETCH waits, and a drain until the server says that there are no more jobs."""


class Serving:
    """The override under which everything connects to one server."""

    taker: None = None

    def __init__(self, url: str, server: Server | None) -> None:
        self.server = server
        self.url = url
        self.kept: Kept = Kept()
        self.failures: Failures = Failures()
        self._address = Address.parse(url)
        self._folder: Path | None = None

    def address(self, told: Address) -> Address:
        """Return the server's, but for what is told another server that runs in this very process."""
        return told if told != self._address and is_embedded(told.host, told.port) else self._address

    def time(self) -> float:
        """Return the server's time."""
        return time.time() if self.server is None else self.server.clock.now()

    def keep(self, owner: object, make: Callable[[], T]) -> T:
        """Return what belongs to this override."""
        return self.kept.of(owner, make)

    def enqueued(self) -> Jobs:
        """Return the jobs that wait in queues or for their time."""
        if self.server is None:
            raise ConfigurationError("a real server does not tell which jobs it has; leave out --faktory-url")
        server = self.server
        waiting = [job for name in server.queues for job in server.queue(name)]
        return Jobs([*waiting, *server.scheduled])

    # -- children ---------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what a child process needs to connect to the same server, by the same clock."""
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="faktory-testing-"))
            self.failures.folder = self._folder
            self._write_clock(beating=False)
            if self.server is not None:
                self.server.clock.watch(self._write_clock)
        return {"adopt": "faktory.testing.children:adopt", "url": self.url, "folder": str(self._folder)}

    def _write_clock(self, beating: bool) -> None:  # noqa: ARG002  # a watcher of the clock is told
        if self._folder is not None and self.server is not None:
            clock = self.server.clock
            told = {"now": clock.now()} if clock.is_standing else {"ahead": clock.now() - time.time()}
            fresh = self._folder / "clock.new"
            fresh.write_text(json.dumps(told))
            fresh.replace(self._folder / "clock")

    def end(self) -> None:
        """Remove what was left for children."""
        if self._folder is not None:
            rmtree(self._folder, ignore_errors=True)
            self._folder = None


@contextmanager
def serve(
    *,
    password: str | None = None,
    ssl_context: SSLContext | None = None,
    enterprise: bool = False,
    clock: Clock | None = None,
    now: datetime | None = None,
    fetch_wait: float = FETCH_WAIT,
    seed: int | None = None,
) -> Generator[Server, None, None]:
    """Run an embedded server for a block; all apps, clients and builders connect to it, and FAKTORY_URL names it.

    The options are those of `faktory.server.Server`; `now` is short for a `clock` that stands at a time, an aware
    datetime. Times that a producer says relative to now count from the server's clock. What is told another embedded
    server of this process connects to that one.
    """
    if now is not None:
        if clock is not None:
            raise ConfigurationError("serve takes now or a clock, got both; write clock=Clock(now)")
        clock = Clock(now)
    server = Server(
        password=password,
        ssl_context=ssl_context,
        enterprise=enterprise,
        clock=clock,
        fetch_wait=fetch_wait,
        seed=seed,
    )
    with server, pointing_at(server.url, server):
        yield server


@contextmanager
def pointing_at(url: str, server: Server | None = None) -> Generator[Serving, None, None]:
    """Have everything connect to a server that runs already."""
    serving = Serving(url, server)
    try:
        with in_force(serving, serving.kept, {"FAKTORY_URL": url, "FAKTORY_PROVIDER": None}):
            yield serving
    finally:
        serving.end()
