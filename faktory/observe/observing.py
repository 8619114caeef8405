"""All that hangs on one consumer: its observers, its pages for probes and scrapes, its health file, its manager.

Made with the consumer, whatever runs its jobs, and closed with it. Nothing is started before it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from ..core.hooks import Hooks
from ..core.lifecycle import Lifecycle
from ..core.outage import Outage
from .collecting import Subject
from .health import Healthy
from .healthfile import HealthFile
from .http import Server
from .metrics import Metrics
from .notify import Notifier
from .observer import Watch
from .pages import serve
from .telling import Teller


class Shared(Protocol):
    """What the threads or tasks of a consumer share, as far as it is looked at."""

    lifecycle: Lifecycle
    outage: Outage

    @property
    def handlers(self) -> Mapping[str, object]:
        """By job type."""
        ...


class Beating(Protocol):
    """The heartbeat."""

    @property
    def server(self) -> str:
        """The server's address, for people."""
        ...


class Ending(Protocol):
    """Child processes."""

    @property
    def ends(self) -> Mapping[str, int]:
        """How many have ended, by reason."""
        ...


class Observation:
    """What is observed of one consumer. Thread-safe but for `close`.

    * `health`: asked by any thread, and must not wait; `wake`: makes the main loop go round.
    * `pool`: what runs the jobs, unless `children` do.
    """

    def __init__(
        self,
        shared: Shared,
        hooks: Hooks,
        health: Callable[[], Healthy],
        heartbeat: Beating,
        wake: Callable[[], object],
        pool: str,
        children: Ending | None,
    ) -> None:
        self._hooks = hooks
        self._pulse = shared.lifecycle.pulse
        self._health = health
        self._wake = wake
        self._jobtypes = shared.handlers
        self._heartbeat = heartbeat
        self._pool = pool if children is None else "processes"
        self._children = children
        self._subject: Subject | None = None
        self._servers: list[Server] = []
        self._teller: Teller | None = None
        shared.outage.report_to(self._note_connection)

    def _note_connection(self, event: Literal["connected", "lost"]) -> None:
        if self._hooks.watch is not None:
            self._hooks.watch.connection(event)

    def _ends(self) -> Mapping[str, int]:
        return {} if self._children is None else self._children.ends

    def subject(self) -> Subject:
        """Return what there is to be looked at; jobs are counted from the first call on."""
        if self._subject is None:
            metrics = self._counting()
            metrics.know(self._jobtypes.__contains__)
            version = vars(sys.modules[__name__.partition(".")[0]])["__version__"]
            info = {"version": version, "server": self._heartbeat.server, "pool": self._pool}
            self._subject = Subject(self._health, self._pulse, metrics, info, self._ends)
        return self._subject

    def _counting(self) -> Metrics:
        """Return the observer that counts, the program's own or a new one."""
        watch = self._hooks.watch
        if not isinstance(watch, Watch):
            watch = Watch()
            self._hooks.watched_by(watch)
        found = next((each for each in watch.observers if isinstance(each, Metrics)), None)
        if found is None:
            found = Metrics()
            watch.add(found)
        return found

    def serve(self, where: str | int) -> Server:
        """Serve the pages. Raises `ConfigurationError`, `ThreadStartFailed`."""
        server = serve(self.subject(), str(where))
        self._servers.append(server)
        self._wake()
        return server

    def tell(self, file: HealthFile | None, notifier: Notifier) -> None:
        """Go on telling how the consumer is, until it ends. Raises `ThreadStartFailed`."""
        self._teller = teller = Teller(self.subject(), file, notifier)
        teller.start()
        self._wake()

    def close(self) -> None:
        """End it all, and have the observers send what they keep back. Can be called twice."""
        watch = self._hooks.watch
        if isinstance(watch, Watch):
            watch.flush()
        teller, self._teller = self._teller, None
        if teller is not None:
            teller.close()
        while self._servers:
            self._servers.pop().close()
