"""`ConsumerBuilder`: everything a consumer needs to know, checked before it connects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from . import override
from .blocking.connection import Connection
from .blocking.heartbeat import Heartbeat
from .blocking.state import ConsumerState
from .client import Client
from .consumer import Consumer
from .core.callables import is_async, place_of
from .core.hooks import FailureHook, Hook, Hooks, checked
from .core.managed import Factory, Managed
from .core.registry import Handler, HandlerFunction, Middleware, Registry
from .core.settling import plain_settler
from .errors import ConfigurationError
from .isolation import check_can_isolate
from .job import check_queue_name
from .network.names import local_hostname
from .observe.observer import Observer, Place, Watch, watch_of
from .observe.observer import checked as checked_observer
from .options import CONNECT_TIMEOUT, ChildLimits, ConsumerOptions, QueueLimit
from .protocol.address import Address
from .protocol.handshake import Identity
from .runtime.greenlets import refuse_greenlets
from .runtime.memory import resident_kb

if TYPE_CHECKING:
    from ssl import SSLContext

    from . import asyncio, trio
    from .aio.consumer import Consumer as AnyConsumer
    from .aio.state import ConsumerState as AsyncConsumerState
    from .isolation.fork_client import ForkServer

    C = TypeVar("C", bound=AnyConsumer)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class _Missing:
    def __repr__(self) -> str:
        return "..."


_MISSING: Any = _Missing()


class ConsumerBuilder:
    """Describe a consumer, call by call, then `connect` it. Each call returns the builder.

    >>> builder = ConsumerBuilder().register("resize", resize, timeout=60).workers(10)
    >>> builder.connect().run_to_completion(["images", "default"])
    """

    def __init__(self) -> None:
        self._registry = Registry()
        self._hooks = Hooks()
        self._managed = Managed()  # above an app's own, where the builder is an app's
        self._factories: dict[type[Any], Callable[[], Any]] = {}
        self._locate: Callable[[str | Address | None], Address] = _located  # or an app's own
        self._add_jobs: Callable[[], None] | None = None  # of an app
        self._app_observers: Callable[[], Iterable[Observer]] = tuple  # those of an app
        self._homes: Callable[[], tuple[tuple[str, str], ...]] = tuple  # the queue and the type of an app's jobs
        self._hostname: str | None = None
        self._wid: str | None = None
        self._labels: tuple[str, ...] = ("python",)
        self._workers: int | None = None
        self._processes: int | None = None
        self._limits = ChildLimits()
        self._child_start: list[Hook] = []
        self._child_stop: list[Hook] = []
        self._child_setup: list[Hook] = []  # before a child imports anything of the application
        self._queues: list[str] | dict[str, int] | None = None  # what `faktoryctl worker` fetches from, unless told
        self._observers: list[Observer] = []
        self._queue_limits: dict[str, QueueLimit] = {}
        self._shutdown_timeout = 25.0
        self._heartbeat_interval = 15.0

    # -- handlers -----------------------------------------------------------------------------------------------

    @overload
    def register(self, jobtype: str, handler: HandlerFunction, *, timeout: float | None = None) -> Self: ...

    @overload
    def register(self, jobtype: str, *, timeout: float | None = None) -> Callable[[F], F]: ...

    def register(
        self, jobtype: str, handler: HandlerFunction = _MISSING, *, timeout: float | None = None
    ) -> Self | Callable[[F], F]:
        """Have jobs of a type run by `handler(job)`: returning is success, raising is failure. Also a decorator.

        `timeout` is in seconds, at most 86,400; without it a job must end before its reservation does, by a margin of
        20 s or a third of it. At the limit `JobTimeout` is raised in the handler, which Python can do only between two
        bytecodes: a call that waits inside C is not cut short. Raises `ConfigurationError` for a type registered twice.
        """
        if not isinstance(jobtype, str):
            raise ConfigurationError(
                f'a job type must be a text, got {type(jobtype).__name__}; write register("name", handler), or '
                '@builder.register("name") above the handler'
            )
        if handler is _MISSING:

            def decorate(function: F) -> F:
                self._registry.register(jobtype, function, timeout)
                return function

            return decorate
        self._registry.register(jobtype, handler, timeout)
        return self

    def middleware(self, fn: Middleware) -> Self:
        """Call `fn(job, call_next)` around every handler; `call_next()` goes on. The first added is the outermost.

        Middleware that returns without calling it skips the job, which is acknowledged, logged at INFO and counted as
        skipped. Around async handlers, and beside async middleware, what `call_next()` gives must be awaited.
        """
        self._registry.use(fn)
        return self

    def manage(self, kind: type[T], factory: Factory[T]) -> Self:
        """Make one value of a type per process when `Consumer.get` first asks; closed, or left, at the end.

        As `App.manage`, for this consumer alone.
        """
        self._managed.add(kind, factory)
        self._factories[kind] = factory
        return self

    # -- who it is ------------------------------------------------------------------------------------------------

    def hostname(self, name: str) -> Self:
        """Show this name in the server's Web UI instead of the machine's."""
        self._hostname = name
        return self

    def wid(self, wid: str) -> Self:
        """Use this worker id, of at least 8 characters, instead of a random one. Two workers must not share one."""
        self._wid = wid
        return self

    def labels(self, *labels: str) -> Self:
        """Replace the labels shown in the server's Web UI, at first "python"."""
        self._labels = _texts(labels)
        return self

    def add_labels(self, *labels: str) -> Self:
        """Add to the labels."""
        self._labels = (*self._labels, *_texts(labels))
        return self

    # -- how it works -----------------------------------------------------------------------------------------------

    def workers(self, n: int = 1) -> Self:
        """Run up to `n` jobs at a time, each in a thread of its own (1 to 10,000)."""
        self._workers = n
        return self

    def limit(self, queue: str, *, concurrency: int | None = None, per_second: float | None = None) -> Self:
        """Take at most so many jobs of a queue at a time, and begin so many a second, in this worker process.

        Per worker process: three of them run three times as many. A queue that is full is not fetched from, so that its
        jobs stay with the server, for other workers; none is fetched and held. Raises `ConfigurationError`. ::

            builder.limit("slow", concurrency=4, per_second=10)
        """
        self._queue_limits[check_queue_name(queue)] = QueueLimit(concurrency, per_second)
        return self

    def processes(
        self,
        n: int,
        *,
        max_jobs_per_child: int | None = None,
        max_rss_mb: int | None = None,
        on_child_start: Hook | None = None,
        on_child_stop: Hook | None = None,
    ) -> Self:
        """Run up to `n` jobs at a time, each in a child process of its own, instead of in threads. POSIX only.

        A job that hangs past its time limit gets `JobTimeout` raised, out of waiting calls too, and its process is
        killed 2 s later; one that crashes, or is killed, fails alone. Handlers, middleware, `on_failure`, `on_death`
        and managed factories run in the children, which import them by name: what cannot be imported (a lambda, a
        closure) is refused by `connect`. The other hooks run here; so do `on_failure` and `on_death` for a job whose
        process is gone.

        * `max_jobs_per_child`: replace a child after so many jobs; 1 is a fresh process for each job, None is never.
        * `max_rss_mb`: replace a child whose resident memory is above this after a job.
        * `on_child_start()`, `on_child_stop()`: called in each child before its first and after its last job. No job is
          fetched for a child before `on_child_start` has returned; when it raises, another child is tried after a
          while. `run`, `run_one` and `drain` raise `ChildStartFailed` after five tries in a row. After `on_child_stop`
          the child waits for the threads and executors of its jobs and runs what they have registered with `atexit`,
          all within 5 s.

        The environment decides against the program: with FAKTORY_ISOLATION=thread jobs run in threads all the same;
        FAKTORY_ISOLATION=process and FAKTORY_PROCESSES=n do as this does for a program that does not call it; without
        the latter there are as many children as `workers`. FAKTORY_MAX_JOBS_PER_CHILD goes before `max_jobs_per_child`.
        What is said here of children can be said by `on_child_start`, `on_child_stop` and `child_limits`, too.
        """
        if type(n) is not int or not 1 <= n <= 10_000:
            raise ConfigurationError(
                f"processes must be an integer from 1 to 10,000, got {n!a:.60}; leave the call out to run jobs in "
                "threads"
            )
        self._processes = n
        if max_jobs_per_child is not None or max_rss_mb is not None:
            self.child_limits(max_jobs=max_jobs_per_child, max_rss_mb=max_rss_mb)
        if on_child_start is not None:
            self.on_child_start(on_child_start)
        if on_child_stop is not None:
            self.on_child_stop(on_child_stop)
        return self

    def on_child_start(self, fn: Hook) -> Self:
        """Call `fn()` in each child before its first job, if children run the jobs; see `processes`."""
        self._child_start.append(_checked_plain(fn))
        return self

    def on_child_stop(self, fn: Hook) -> Self:
        """Call `fn()` in each child after its last job, if children run the jobs; see `processes`."""
        self._child_stop.append(_checked_plain(fn))
        return self

    def child_limits(self, *, max_jobs: int | None = None, max_rss_mb: int | None = None) -> Self:
        """Replace a child after so many jobs, or above so much memory, if children run the jobs; None is never."""
        self._limits = ChildLimits(max_jobs, max_rss_mb)
        return self

    def shutdown_timeout(self, seconds: float) -> Self:
        """Give running jobs so many seconds to end when the consumer is terminated (0 to 86,400; 25 at first)."""
        self._shutdown_timeout = seconds
        return self

    def heartbeat_interval(self, seconds: float) -> Self:
        """Tell the server so often that the worker lives (above 0, at most 20 seconds; 15 at first)."""
        self._heartbeat_interval = seconds
        return self

    # -- hooks ----------------------------------------------------------------------------------------------------

    def on_startup(self, fn: Hook) -> Self:
        """Call `fn()` once before the first job is fetched. What it raises ends the consumer, and is raised by `run`.

        Then `on_quiet` and `on_shutdown` are not called; `run_to_completion` ends the process with exit code 1. Any
        other hook that raises is logged at ERROR and changes nothing.
        """
        self._hooks.startup.append(checked(fn, 0))
        return self

    def on_quiet(self, fn: Hook) -> Self:
        """Call `fn()` once when no new jobs are taken any more: at quiet, or at terminate without one before."""
        self._hooks.quiet.append(checked(fn, 0))
        return self

    def on_shutdown(self, fn: Hook) -> Self:
        """Call `fn()` once after the last job has ended or was cut off."""
        self._hooks.shutdown.append(checked(fn, 0))
        return self

    def on_failure(self, fn: FailureHook) -> Self:
        """Call `fn(job, exc)` in the worker's thread after a handler has raised, before that is reported.

        Also for a job that nothing is registered for (`UnknownJobType`); with child processes, here.
        """
        self._hooks.failure.append(checked(fn, 2))
        return self

    def on_death(self, fn: FailureHook) -> Self:
        """Call `fn(job, exc)` after a failure that leaves no retry (also of a job with `retry` 0)."""
        self._hooks.death.append(checked(fn, 2))
        return self

    def observer(self, observer: Observer) -> Self:
        """Have an observer see the jobs and the connections; see `faktory.observe.Observer`. What it raises is logged.

        The first added is the outermost, outside of all middleware. Raises `ConfigurationError` for what is none.
        """
        self._observers.append(checked_observer(observer, self._observers))
        return self

    def stop_when(self, predicate: Callable[[], Any]) -> Self:
        """Terminate when `predicate()` is true; asked after each job and after each empty FETCH."""
        self._hooks.stop_when.append(checked(predicate, 0))
        return self

    # -- connecting -------------------------------------------------------------------------------------------------

    def connect(self, url: str | Address | None = None, *, ssl_context: SSLContext | None = None) -> Consumer:
        """Connect to the server and return the consumer. `url` and `ssl_context` are as in `Client`.

        Tries once, so that a wrong URL or password is seen when the program starts; what reconnects is the consumer.

        Raises `ConfigurationError` for what cannot work, and what `faktory.connection.Connection` raises.
        """
        self._registry.settle = plain_settler(lambda: Client(address, ssl_context=context))
        hooks = self._observed_hooks()
        handlers = self._handlers()
        self._refuse_async(handlers.values(), hooks.all())
        self._managed.check_plain("threads")
        address, context = self._where(url, ssl_context)
        processes = self._children_wanted()
        options = self._options(processes)
        _attach(hooks, address, options)
        identity = Identity(options.hostname, os.getpid(), options.wid, options.labels)
        open_connection = _opener(address, identity, context)
        if processes is None:
            return Consumer(ConsumerState(options, handlers, hooks, self._managed, open_connection))
        fork_server = self._start_fork_server(address, hooks, options.wid)
        try:
            return Consumer(ConsumerState(options, handlers, hooks, self._managed, open_connection, fork_server))
        except BaseException:
            fork_server.close()
            raise

    async def connect_asyncio(
        self, url: str | Address | None = None, *, ssl_context: SSLContext | None = None
    ) -> asyncio.Consumer:
        """Connect from an asyncio loop: async handlers run on it, plain functions in threads. Raises as `connect` does.

        Middleware and hooks may be async, too, and are called on the loop. For an async handler, or beside async
        middleware, `call_next()` returns what must be awaited, or returned.
        """
        from .asyncio import Consumer as AsyncioConsumer

        return await self._connect_async(AsyncioConsumer, url, ssl_context)

    async def connect_trio(
        self, url: str | Address | None = None, *, ssl_context: SSLContext | None = None
    ) -> trio.Consumer:
        """Connect within `trio.run`: all is as with `connect_asyncio`."""
        from .trio import Consumer as TrioConsumer

        return await self._connect_async(TrioConsumer, url, ssl_context)

    async def _connect_async(self, kind: type[C], url: str | Address | None, ssl_context: SSLContext | None) -> C:
        self._registry.settle = plain_settler(lambda: Client(address, ssl_context=context))
        hooks = self._observed_hooks()
        handlers = self._handlers()
        address, context = self._where(url, ssl_context)
        processes = self._children_wanted()
        if processes is not None:
            self._refuse_async(handlers.values(), [*hooks.failure, *hooks.death], where="child processes")
            self._managed.check_plain("child processes")
        options = self._options(processes)
        _attach(hooks, address, options)
        identity = Identity(options.hostname, os.getpid(), options.wid, options.labels)
        open_connection = _opener(address, identity, context)

        from .aio.duties import Duties as AsyncDuties  # imported by now

        def make_heartbeat(state: AsyncConsumerState) -> Heartbeat:
            memory = resident_kb if state.children is None else state.children.resident_kb
            return Heartbeat(AsyncDuties(state), open_connection, memory=memory)

        return await kind.connect(
            address,
            identity,
            options,
            self._registry,
            hooks,
            self._managed,
            context,
            None if processes is None else partial(self._start_fork_server, address, hooks, options.wid),
            open_connection,
            make_heartbeat,
        )

    def _where(self, url: str | Address | None, context: SSLContext | None) -> tuple[Address, SSLContext | None]:
        address = self._locate(url)
        return address, context if address.tls or override.active() is None else None

    # -- what is built ----------------------------------------------------------------------------------------------

    def _observed_hooks(self) -> Hooks:
        """Return the hooks of one consumer, with its observers, which go around its handlers, too."""
        watch = watch_of([*self._app_observers(), *self._observers])
        self._registry.outermost = () if watch is None or not watch.has_workers else (watch.around,)
        return replace(self._hooks, watch=watch)

    def _handlers(self) -> dict[str, Handler]:
        if self._add_jobs is not None:
            self._add_jobs()
        refuse_greenlets(sys.modules)
        handlers = self._registry.build()
        if not handlers:
            raise ConfigurationError("expected at least one handler, got none; call register(jobtype, handler) first")
        return handlers

    def _refuse_async(self, handlers: Iterable[Handler], hooks: Iterable[Any], where: str = "threads") -> None:
        """Refuse what can only run on a loop."""
        hint = f"which {where} cannot run; make it a plain function"
        if where == "threads":
            hint += ", or use connect_asyncio or connect_trio"
        for handler in handlers:
            if is_async(handler.function):
                raise ConfigurationError(f"the handler of {handler.jobtype!a} is async, {hint}")
        for what, functions in (("middleware", self._registry.middleware), ("hook", hooks)):
            for function in functions:
                if is_async(function):
                    raise ConfigurationError(f"the {what} {place_of(function)} is async, {hint}")

    def _options(self, processes: int | None) -> ConsumerOptions:
        return ConsumerOptions(
            hostname=local_hostname() if self._hostname is None else self._hostname,
            wid=os.urandom(8).hex() if self._wid is None else self._wid,
            labels=self._labels,
            workers=processes or (self._processes or 1 if self._workers is None else self._workers),
            homes=self._homes(),
            limits=tuple(self._queue_limits.items()),
            shutdown_timeout=self._shutdown_timeout,
            heartbeat_interval=self._heartbeat_interval,
        )

    def _children_wanted(self) -> int | None:
        """Return the number of child processes; None for threads."""
        wanted = os.environ.get("FAKTORY_ISOLATION", "thread" if self._processes is None else "process")
        if wanted not in ("thread", "process"):
            raise ConfigurationError(f'FAKTORY_ISOLATION must be "thread" or "process", got {wanted!a:.60}')
        if wanted == "thread":
            return None
        if self._processes is not None and self._workers not in (None, self._processes):
            raise ConfigurationError(
                f"workers({self._workers!a:.60}) and processes({self._processes}) contradict: a child process runs one "
                "job at a time; leave out workers(...) to run jobs in children, or processes(...) to run them in "
                "threads"
            )
        if self._processes is not None:
            return self._processes
        return _count_from("FAKTORY_PROCESSES", 1 if self._workers is None else self._workers)

    def _start_fork_server(self, address: Address, hooks: Hooks, wid: str) -> ForkServer:
        check_can_isolate()  # before what only POSIX systems can import
        from .isolation.fork_client import ForkServer
        from .isolation.program import describe

        start, stop, setup = tuple(self._child_start), tuple(self._child_stop), tuple(self._child_setup)
        limits = self._limits
        if (most := _count_from("FAKTORY_MAX_JOBS_PER_CHILD", 0)) > 0:
            limits = replace(limits, max_jobs=most)
        return ForkServer(describe(self._registry, hooks, self._factories, start, stop, limits, address, setup, wid))


def _opener(address: Address, identity: Identity, context: SSLContext | None) -> Callable[[float], Connection]:
    """Return what opens a connection that blocks, given its reply timeout in seconds."""
    return lambda timeout: Connection(
        address, identity=identity, connect_timeout=CONNECT_TIMEOUT, timeout=timeout, ssl_context=context
    )


def _count_from(name: str, otherwise: int) -> int:
    """Return the number that an environment variable says."""
    found = os.environ.get(name)
    if found is None:
        return otherwise
    if not found.isdecimal() or int(found) < 1:
        raise ConfigurationError(f"{name} must be an integer from 1 on, got {found!a:.60}")
    return int(found)


def _attach(hooks: Hooks, address: Address, options: ConsumerOptions) -> None:
    """Tell the observers whom they see."""
    if isinstance(hooks.watch, Watch):
        hooks.watch.attached(Place(address.host, address.port, options.wid))


def _located(url: str | Address | None) -> Address:
    return override.place(url if isinstance(url, Address) else Address.resolve(url))


def _checked_plain(fn: F) -> F:
    if is_async(checked(fn, 0)):
        raise ConfigurationError(f"the hook {place_of(fn)} is async, which child processes cannot run; make it plain")
    return fn


def _texts(labels: tuple[str, ...]) -> tuple[str, ...]:
    if len(labels) == 1 and isinstance(labels[0], (list, tuple, set)):
        raise ConfigurationError('labels are given one by one, got a list; write labels("a", "b") or labels(*names)')
    return labels
