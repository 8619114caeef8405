"""The embedded server: a Faktory in memory that any client can use, for development and tests."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote

from ..errors import ConfigurationError, FaktoryError
from ..protocol.wire import MAX_COMMAND
from .broker import FETCH_WAIT, MAX_CONNECTIONS, Broker
from .changes import Changes
from .clock import Clock
from .faults import Faults
from .forks import elsewhere, remember
from .listener import Listener
from .rules import Reservation
from .timestamps import LATEST
from .views import Jobs, ReservationView, WorkerView
from .workers import Worker, WorkerState

if TYPE_CHECKING:
    import ssl


T = TypeVar("T")

_LOOPBACK = ("127.0.0.1", "::1")


class Server:
    """A Faktory server in this process. All methods are thread-safe; `start` and `stop` are for one owner.

    * `bind`: "host:port"; port 0 takes a free one and keeps it over restarts. A host other than loopback needs a
      `password`, or `force`. None is a free port of 127.0.0.1, or of ::1 on a machine without IPv4.
    * `ssl_context`: a server-side context makes it speak TLS.
    * `enterprise`: adds batches, tracking, unique and expiring jobs as Faktory Enterprise documents them.
    * `clock`: a `Clock`; by default a real one, which can be turned forward.
    * `max_line`: longest command in bytes; `max_connections`: more are refused.
    * `fetch_wait`: seconds a FETCH waits for a job; the real server's are 2, fewer make tests that drain queues fast.
    * `seed`: makes retry delays, garbling and salts repeatable.

    Jobs survive `stop` and `start`, not the object. Nothing is stored on disk.

    It lives in the process that started it. In the child of a fork `url`, `port`, `address` and `is_running` answer,
    `stop` and `kill` do nothing, and all else raises `FaktoryError`; a client of `url` works. So does, everywhere, what
    is asked of a server that has crashed, until it is started again.

    >>> with Server(fetch_wait=0.1) as server, Client(server.url) as client:
    ...     client.push(Job("resize", ["cat.png"]))
    ...     assert len(server.queue("default")) == 1
    """

    def __init__(
        self,
        *,
        bind: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        enterprise: bool = False,
        clock: Clock | None = None,
        max_line: int = MAX_COMMAND,
        max_connections: int = MAX_CONNECTIONS,
        fetch_wait: float = FETCH_WAIT,
        seed: int | None = None,
        force: bool = False,
    ) -> None:
        self._host, self._port = _address("127.0.0.1:0" if bind is None else bind)
        self._hosts = _LOOPBACK if bind is None or self._host == "localhost" else (self._host,)
        self._is_elsewhere = False
        if not password and not force and not _is_loopback(self._host):
            raise ConfigurationError(
                f"{self._host!r} is reachable by others: set a password, bind to 127.0.0.1, or force it"
            )
        if not 0 <= fetch_wait <= 2:
            raise ConfigurationError(f"fetch_wait must be seconds from 0 to 2, got {fetch_wait!a}")
        self._password = password or None
        self._is_tls = ssl_context is not None
        randomness = random.Random(seed)
        self.clock: Clock = clock if clock is not None else Clock()
        self.faults: Faults = Faults(randomness)
        self._lock = threading.RLock()
        self._changes = Changes(self._lock)
        self._broker = Broker(
            now=self.clock.now(),
            password=self._password,
            enterprise=enterprise,
            max_connections=max_connections,
            randomness=randomness,
            memory_mb=_memory_mb,
            fetch_wait=fetch_wait,
        )
        self._listener = Listener(
            self._broker,
            self.clock,
            self.faults,
            self._lock,
            max_line=max_line,
            ssl_context=ssl_context,
            changed=self._changes.announce,
        )
        self.clock.watch(self._catch_up)
        remember(self)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, and return the server. Raises `OSError` when the port is taken."""
        if self._is_elsewhere:
            raise elsewhere(f"the server {self.address}")
        if self._listener.is_running:
            return self
        host, self._port = self._listener.start(self._hosts, self._port)
        if self._host != "localhost":
            self._host = host
        _started.add(self)
        return self

    def stop(self) -> None:
        """Stop as the real server does: commands are refused for 0.1 s, waiting FETCHes end, connections close."""
        self._listener.stop()

    def kill(self) -> None:
        """Stop as a crash does: every connection is reset at once, nobody gets a reply."""
        self._listener.stop(kill=True)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended; False when `timeout` seconds pass first. Raises when it has crashed."""
        has_ended = self._listener.join(timeout)
        self._check()
        return has_ended

    def disconnect_all(self, *, reset: bool = True) -> None:
        """Cut every connection, as a broken network does; the server goes on. Their FETCHes still wait up to 2 s."""
        self._check()
        self._listener.cut_all(reset=reset)

    def after_fork(self) -> None:
        """Let go of what is the parent's. Called in the child of a fork, where nothing else is running yet."""
        self._is_elsewhere = True
        self._listener.after_fork()

    def _check(self) -> None:
        """Refuse what cannot be answered: before any lock is taken, which in a child might be held for ever."""
        if self._is_elsewhere:
            raise elsewhere(f"the server {self.address}")
        crash = self._listener.crash
        if crash is not None:
            raise FaktoryError(
                f"the server {self.address} has crashed: {type(crash).__name__}: {crash}; start() begins anew, and "
                "keeps the jobs"
            ) from crash

    def _look(self, read: Callable[[Broker], T]) -> T:
        """Return what `read` finds, under the lock."""
        self._check()
        with self._lock:
            return read(self._broker)

    def __del__(self) -> None:
        listener: Listener | None = getattr(self, "_listener", None)
        if listener is not None and listener.is_running and not sys.is_finalizing():
            warnings.warn(f"{self!r} was never stopped", ResourceWarning, stacklevel=2, source=self)
            listener.abandon()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- where ----------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True between `start` and `stop`."""
        return self._listener.is_running

    @property
    def port(self) -> int:
        """The TCP port; 0 before the first start, unless one was named."""
        return self._port

    @property
    def url(self) -> str:
        """What clients connect to, with the password."""
        secret = f":{quote(self._password, safe='')}@" if self._password else ""
        scheme, _, place = self.address.partition("://")
        return f"{scheme}://{secret}{place}"

    @property
    def address(self) -> str:
        """The URL without the password: fit for logs."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"{'tcp+tls' if self._is_tls else 'tcp'}://{f'[{host}]' if ':' in host else host}:{self._port}"

    # -- looking at it --------------------------------------------------------------------------------------

    def queue(self, name: str) -> Jobs:
        """The jobs that wait in a queue, next one first; empty when nobody has pushed to it."""
        return self._jobs(name, lambda broker: broker.store.queued(name))

    @property
    def queues(self) -> dict[str, int]:
        """How many jobs wait in each known queue."""
        return self._look(lambda broker: broker.store.sizes)

    @property
    def paused(self) -> tuple[str, ...]:
        """The names of the paused queues."""
        return self._look(lambda broker: broker.store.paused)

    @property
    def scheduled(self) -> Jobs:
        """The jobs that wait for their `at`, earliest first."""
        return self._jobs("scheduled", lambda broker: broker.store.scheduled)

    @property
    def retries(self) -> Jobs:
        """The failed jobs that will be run again, earliest first."""
        return self._jobs("retries", lambda broker: broker.store.retries)

    @property
    def dead(self) -> Jobs:
        """The jobs whose retries are spent, oldest first."""
        return self._jobs("dead", lambda broker: broker.store.dead)

    @property
    def working(self) -> Jobs:
        """The jobs in the hands of workers, longest held first."""
        return self._jobs("working", lambda broker: (each.text for each in broker.store.reservations()))

    @property
    def reservations(self) -> list[ReservationView]:
        """Who holds the jobs of `working`, in the same order."""
        return self._look(lambda broker: [_reservation(each) for each in broker.store.reservations()])

    @property
    def workers(self) -> list[WorkerView]:
        """The workers that are connected: those whose HELLO named a wid."""
        return self._look(lambda broker: [_worker(each) for each in broker.workers.known])

    @property
    def waiting(self) -> int:
        """How many FETCHes wait for a job; those of clients that have gone are among them, for up to 2 s."""
        return self._look(lambda broker: len(broker.waiters))

    @property
    def info(self) -> dict[str, Any]:
        """What INFO answers."""
        return self._look(lambda broker: broker.info(self.clock.now()))

    def _jobs(self, name: str, read: Callable[[Broker], Iterable[bytes]]) -> Jobs:
        return Jobs(name, lambda: self._look(lambda broker: list(read(broker))))

    # -- control --------------------------------------------------------------------------------------------

    def quiet(self, wid: str) -> None:
        """Tell a worker, at its next beat, to fetch no more. Raises `LookupError` when none has that wid."""
        self._signal(wid, WorkerState.QUIET)

    def terminate(self, wid: str) -> None:
        """Tell a worker, at its next beat, to end. Raises `LookupError` when none has that wid."""
        self._signal(wid, WorkerState.TERMINATE)

    def _signal(self, wid: str, state: WorkerState) -> None:
        self._check()
        with self._lock:
            worker = self._broker.workers.get(wid)
            if worker is None:
                known = ", ".join(repr(each.wid) for each in self._broker.workers.known) or "none"
                raise LookupError(f"no worker {wid!r} is connected; there are: {known}")
            worker.signal(state)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no job is queued or reserved; False when `timeout` seconds pass first.

        Scheduled jobs and retries wait for the clock, and do not count.
        """
        return self.wait_until(self._is_idle, timeout)

    async def await_idle(self, timeout: float | None = None) -> bool:
        """Wait as `wait_idle` does, at most so many seconds, without holding up an asyncio or trio loop."""
        self._check()
        return await self._changes.wait_async(self._is_idle, timeout)

    def _is_idle(self) -> bool:
        self._check()
        return self._broker.store.is_idle

    def wait_until(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until `condition()` is true, asking after every change; False when `timeout` seconds pass first.

        The condition is called with the server's lock held: it may look at the server, not wait for it.
        """

        def asked() -> bool:
            self._check()
            return condition()

        self._check()
        with self._lock:
            return self._changes.wait(asked, timeout)

    def _catch_up(self, beating: bool) -> None:
        self._check()
        with self._lock:
            now = self.clock.now()
            if beating:
                self._broker.workers.beat_all(now)
            self._broker.catch_up(now)
            self._broker.end_waits(self.clock.monotonic())
            self._changes.announce()
        if self._listener.is_running:
            self._listener.wake()

    def __repr__(self) -> str:
        return f"<Server {self.address} {'running' if self.is_running else 'stopped'}>"


_started: Final[weakref.WeakSet[Server]] = weakref.WeakSet()


def is_embedded(host: str, port: int) -> bool:
    """Tell whether an embedded server of this process listens there."""
    return _is_loopback(host) and any(server.port == port and server.is_running for server in list(_started))


def _address(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(f"bind must be host:port, like 127.0.0.1:7419, got {bind!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host or "127.0.0.1", int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _memory_mb() -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(seconds, LATEST), UTC)  # a reservation may end after the year 9999


def _reservation(each: Reservation) -> ReservationView:
    return ReservationView(each.jid, each.wid, _moment(each.since), _moment(max(each.expires, each.extended)))


def _worker(each: Worker) -> WorkerView:
    return WorkerView(
        each.wid,
        each.hostname,
        each.pid,
        each.labels,
        each.state.name.lower(),
        each.rss_kb,
        len(each.connections),
        _moment(each.started_at),
        _moment(each.last_beat),
    )
