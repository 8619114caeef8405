"""Where the jobs of an app go: to a server, or to this process's own hands."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final, Literal, Protocol

from .. import override
from ..client import Client
from ..commands import encode_job
from ..core.callables import forget, is_awaitable
from ..core.chain import Skipped
from ..core.job_timer import time_limit
from ..core.managed import Managed
from ..core.pushes import check_job
from ..core.registry import HandlerFunction
from ..core.run import Run, facts_of, running
from ..errors import ConfigurationError
from ..job import Job
from ..observe.observer import Observer
from ..protocol.address import Address
from ..runtime import forks
from ..runtime.interpreter import is_asyncio_running
from ..runtime.ticking import monotonic
from . import foreground
from .background import Background

log: logging.Logger = logging.getLogger("faktory.app")

Mode = Literal["queue", "foreground", "background"]

EXIT_TIMEOUT: Final = 25.0
"""Seconds that the end of the process waits for jobs in `background`."""


class Runnable(Protocol):
    """What is asked of a typed job to run it here."""

    __faktory_handler__: HandlerFunction

    @property
    def timeout(self) -> float | None: ...

    function: Callable[..., Any]


class Delivery:
    """The client and the mode of an app and of all that it includes. Opens nothing before a job is pushed."""

    def __init__(
        self,
        url: str | Address | None,
        client: Client | None,
        mode: Mode | None,
        managed: Managed,
        find: Callable[[str], Runnable],
    ) -> None:
        if url is not None and client is not None:
            raise ConfigurationError("an App takes a url or a client, got both; the client has a url of its own")
        self._url = url
        self._client = client
        self._mode: Mode | None = None if mode is None else _checked_mode(mode, "mode")
        self._managed = managed
        self._find = find
        self._made: dict[str, Client] = {}
        self._backgrounds: dict[int, Background] = {}  # by process: threads do not survive a fork
        self._closes_at_exit: int | None = None
        """The process that has been told to close this at its end."""
        self._take_back: Callable[[], object] = lambda: None
        self._has_performed = False
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Have an observer see the pushes of the client that is made when the first job is pushed."""
        self._observers.append(observer)

    def locate(self, url: str | Address | None) -> Address:
        """Return where the app's consumer connects when told `url`: where the app's jobs are pushed, and only there.

        Raises `ConfigurationError` for another server. An app that has none yet takes the one that is told.
        """
        own = self._own_address()
        if url is None:
            return override.place(Address.resolve() if own is None else own)
        told = override.place(url if isinstance(url, Address) else Address.parse(url))
        if own is None and override.active() is None:
            self._url = told
        elif not told.is_same_server(pushed := override.place(Address.resolve() if own is None else own)):
            raise ConfigurationError(
                f"the app's jobs are pushed to {pushed}, but its consumer was told to connect to {told}; give that URL "
                "to App(url), and none to connect"
            )
        return told

    def _own_address(self) -> Address | None:
        """Return where jobs are pushed, as far as that is settled."""
        client = self._client or self._made.get("client")
        if client is not None:
            return client.address
        return Address.parse(self._url) if isinstance(self._url, str) else self._url

    def take_server(self, address: Address) -> None:
        """Push to this server, unless there is one already."""
        if self._own_address() is None:
            self._url = address

    @property
    def mode(self) -> Mode:
        """How jobs are run, just now: what has taken over, the app, or the environment says it."""
        if override.active() is not None:
            return "queue"
        if self._mode is not None:
            return self._mode
        return _checked_mode(os.environ.get("FAKTORY_MODE") or "queue", "FAKTORY_MODE")

    def client(self) -> Client:
        """Return the client, made now if there is none."""
        if self._client is not None:
            return self._client
        active = override.active()
        if active is not None:
            return active.keep(self, lambda: Client(self._url, observers=self._observers))
        made = self._made.get("client")
        if made is None:
            # In one step, and without a lock that a fork could leave taken: a client that loses has opened nothing.
            made = self._made.setdefault("client", Client(self._url, observers=self._observers))
            self._close_at_exit()
        return made

    def use_client(self, client: Client) -> None:
        """Use this client from now on; close one of the app's own. Raises `ConfigurationError` where none is used."""
        if self.mode != "queue":
            raise ConfigurationError(
                f'use_client is for the mode "queue", and in "{self.mode}" jobs go to no server; leave it out, or ask '
                "app.mode before"
            )
        made = self._made.pop("client", None)
        self._client = client
        if made is not None:
            made.close()

    # -- pushing --------------------------------------------------------------------------------------------------

    def push(self, job: Job) -> str:
        """Store the job, run it, or have it run; return its jid."""
        check_job(job)
        taker = override.taker()
        if taker is not None:
            taker.take(Job.decode(encode_job(job)), self)
            return job.jid
        mode = self.mode
        if mode == "queue":
            return self.client().push(job)
        arrived = Job.decode(encode_job(job))  # the same journey as through a server
        if mode == "foreground":
            foreground.run(self.perform, arrived)
        else:
            self._background().push(arrived)
        return job.jid

    def push_many(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Push each; return the refused ones, jid to reason."""
        if self.mode == "queue" and override.taker() is None:
            return self.client().push_bulk(jobs)
        for job in jobs:
            self.push(job)
        return {}

    def perform(self, job: Job) -> Any:
        """Run a job in this thread. Returns what it returned, None for one that was skipped, retried or discarded."""
        self._has_performed = True
        self._managed.enter(self)
        if self._closes_at_exit != os.getpid():
            self._close_at_exit()
        typed = self._find(job.jobtype)
        handler = typed.__faktory_handler__
        token = running.set(Run(job, monotonic() + time_limit(job.reservation, typed.timeout), self._managed))
        try:
            result = handler(job)
            if is_awaitable(result):
                result = _run_async(job, typed.function, result)
            if isinstance(result, Skipped):
                log.info(
                    "job %a (%a) was skipped by the middleware %s", job.jid, job.jobtype, result.by, extra=facts_of(job)
                )
                return None
            return result
        finally:
            running.reset(token)

    # -- the end --------------------------------------------------------------------------------------------------

    def _background(self) -> Background:
        pid = os.getpid()
        found = self._backgrounds.get(pid)
        if found is None:
            found = self._backgrounds.setdefault(pid, Background(self.perform))
            self._close_at_exit()
        return found

    def end_values(self) -> None:
        """Close the managed values, if they were made by jobs that ran here; else they are a consumer's."""
        if self._has_performed:
            self._has_performed = False
            self._managed.close(self)

    def _close_at_exit(self) -> None:
        atexit.unregister(self.close)
        atexit.register(self.close)
        self._closes_at_exit = os.getpid()
        self._take_back()
        self._take_back = forks.call_at_end(self.close)

    def close(self, timeout: float = EXIT_TIMEOUT) -> None:
        """Wait for the jobs in `background`; close the managed values that jobs here have made, and the own client."""
        atexit.unregister(self.close)
        self._take_back()
        background = self._backgrounds.get(os.getpid())
        if background is not None:
            background.close(timeout)  # meanwhile its jobs may push others
            self._backgrounds.pop(os.getpid(), None)
        self._closes_at_exit = None
        self.end_values()
        made = self._made.pop("client", None)
        if made is not None:
            made.close()


def _checked_mode(mode: Mode | str, what: str) -> Mode:
    if mode == "queue" or mode == "foreground" or mode == "background":
        return mode  # type: ignore[return-value]
    raise ConfigurationError(f"{what} must be queue, foreground or background, got {mode!a:.60}")


def _run_async(job: Job, function: Any, result: Any) -> Any:
    """Await a job's result on a loop of its own: trio's, if the job's module uses trio and not asyncio."""
    import asyncio

    async def awaited() -> Any:
        return await result

    known = list(getattr(inspect.unwrap(function), "__globals__", {}).values())
    trio: Any = sys.modules.get("trio")
    if trio is not None and _are_of("trio", known) and not _are_of("asyncio", known):
        if not trio.lowlevel.in_trio_run():
            return trio.run(awaited)
    elif not is_asyncio_running():
        return asyncio.run(awaited())
    forget(result)
    raise ConfigurationError(
        f"the async job {job.jobtype!a} cannot be run at once from a running event loop; await its aenqueue"
    )


def _are_of(package: str, values: list[Any]) -> bool:
    """Tell whether some of a module's values are a package, or come from it."""
    names = (value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "") for value in values)
    return any(isinstance(name, str) and name.split(".")[0] == package for name in names)
