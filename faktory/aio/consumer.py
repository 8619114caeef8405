"""Async twin of `faktory.consumer`: tasks that fetch, run and report jobs, and a careful end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self, TypeVar

from ..core.ending import exit_code, health_of
from ..core.hooks import Hooks
from ..core.lifecycle import State, StoppedBy
from ..core.managed import Managed
from ..core.queues import Queues, order_of
from ..core.registry import Registry
from ..core.session import Session, as_lost, log_unreported, log_unserved, raise_for
from ..core.standing import Health, Summary, summary_of
from ..errors import ConfigurationError, ConsumerTerminated
from ..observe.http import Server as HealthServer
from ..observe.observing import Observation
from ..options import CONNECT_TIMEOUT, FETCH_TIMEOUT, ConsumerOptions
from ..protocol.address import Address
from ..protocol.handshake import Identity
from ..runtime.exiting import end_process
from ..runtime.signals import taking
from ..runtime.ticking import monotonic
from .backend import Backend
from .beating import Heartbeat, Line
from .children import start_children
from .connection import Connection
from .done import Done
from .guard import Guard
from .home import Home
from .job_runner import run_hooks, run_startup
from .job_task import in_children, on_loop_or_in_threads
from .managed import Values
from .reconnector import Reconnector
from .state import ConsumerState
from .supervisor import Supervisor
from .thread_pool import Threads, run_in_thread

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..isolation.fork_client import ForkServer
    from ..isolation.shared import Children

T = TypeVar("T")


class Consumer:
    """Runs the jobs of some queues on an event loop. Its tasks end before the call that has started them does.

    `quiet` and `terminate` act at once and from any thread; awaiting what they return is allowed, and changes nothing.
    """

    _backend: ClassVar[Backend]
    _connection: ClassVar[type[Connection]]

    def __init__(
        self,
        state: ConsumerState,
        heartbeat: Heartbeat,
        hooks: Hooks,
        threads: Threads,
        reconnector: Reconnector,
        values: Values,
    ) -> None:
        self._state = state
        self._values = values
        self._home = Home(self._backend)
        self._hooks = hooks
        self._threads = threads
        self._reconnector = reconnector
        self._heartbeat = heartbeat
        self._at_work = False
        self._has_started = False
        self._told_quiet = False
        self._supervisor = Supervisor(state, heartbeat, hooks, threads, reconnector, self._tell_quiet)
        self._guard: Guard | None = None
        pool, wake = type(self).__module__.rpartition(".")[2], lambda: state.call_soon(state.look_again)
        self._observation = Observation(state, hooks, self.health, heartbeat, wake, pool, state.children)

    @classmethod
    async def connect(
        cls,
        address: Address,
        identity: Identity,
        options: ConsumerOptions,
        registry: Registry,
        hooks: Hooks,
        managed: Managed,
        ssl_context: SSLContext | None,
        start_fork_server: Callable[[], ForkServer] | None,
        connect_blocking: Callable[[float], Line],
        make_heartbeat: Callable[[ConsumerState], Heartbeat],
    ) -> Self:
        """Make one of what a `ConsumerBuilder` knows, and connect its heartbeat.

        `connect_blocking` opens a connection that blocks, given its reply timeout in seconds; `make_heartbeat` makes
        what keeps the server told from a thread of its own.
        """
        threads = Threads(cls._backend)
        values = Values(cls._backend, managed, threads)

        async def connect() -> Connection:
            return await cls._connection.open(
                address,
                identity=identity,
                connect_timeout=CONNECT_TIMEOUT,
                timeout=FETCH_TIMEOUT,
                ssl_context=ssl_context,
            )

        children: Children | None = None
        if start_fork_server is None:
            handlers = on_loop_or_in_threads(registry.build(), registry.around, threads, values)
        else:
            children = await start_children(cls._backend, start_fork_server)
            handlers = in_children(registry.build(), children, threads)
        state = ConsumerState(cls._backend, options, handlers, managed, connect_blocking, children)
        reconnector = Reconnector(cls._backend, state.outage, connect)
        consumer = cls(state, make_heartbeat(state), hooks, threads, reconnector, values)
        try:
            await consumer._connect_heartbeat()
        except BaseException:
            consumer._heartbeat.close()
            if children is not None:
                children.close()
            raise
        return consumer

    async def _connect_heartbeat(self) -> None:
        # A connection made for somebody who is gone would be nobody's to close.
        await self._backend.shielded(
            lambda: run_in_thread(self._backend, self._heartbeat.connect), on_cancel=lambda: None
        )

    # -- working ------------------------------------------------------------------------------------------------

    async def run(self, queues: Queues | None = None) -> int:
        """Fetch and run jobs until the server, `terminate` or a cancellation ends it. Returns how many jobs still run.

        Raises as `faktory.Consumer.run` does; its jobs, also after a loss, have `shutdown_timeout` seconds to end.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=False)
        busy = await self._work(session)
        raise_for(session)
        return busy

    async def drain(self, queues: Queues | None = None) -> Summary:
        """Run jobs until the queues are empty and nothing runs; scheduled jobs and retries are not waited for."""
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=True)
        ledger, started = self._state.ledger, monotonic()
        before = ledger.tally()
        await self._work(session)
        raise_for(session)
        return summary_of(ledger.tally().since(before), monotonic() - started, len(ledger.outbox))

    async def run_one(self, queues: Queues | None = None) -> bool:
        """Fetch and run one job; False when none came for 2 s. Cancelled, its job has `shutdown_timeout` seconds."""
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=False)
        if self.state is State.QUIET:
            return False
        before = self._state.ledger.tally()
        await self._work(session, is_single=True)
        raise_for(session)
        return self._state.ledger.tally().since(before).total > 0

    async def run_to_completion(self, queues: Queues | None = None) -> NoReturn:
        """Run jobs until told to stop, then end the process by `SystemExit`: call it last, in the main task.

        Signals and the exit code are as in `faktory.Consumer.run_to_completion`.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=True, until_empty=False)
        self._guard = guard = Guard(self._state)
        with taking(self._supervisor.note_signal, guard.signalled):
            busy = await self._work(session)
            await self._end()
        self._exit(session, busy)

    def _exit(self, session: Session, busy: int) -> NoReturn:
        unreported, forced_by = self._state.ledger.outbox.unreported, self._supervisor.forced_by
        log_unreported(unreported)
        has_error = session.error is not None
        code = exit_code(forced_by, cut_offs=self._state.ledger.cut_offs, unreported=unreported, has_error=has_error)
        end_process(code, at_once=busy > 0)

    # -- state --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the consumer is in its life: running, quiet, terminating or terminated."""
        return self._state.lifecycle.state

    @property
    def stopped_by(self) -> StoppedBy | None:
        """Who has asked for the end, if anybody: "server", "signal", "method" (or cancelling), "predicate", "error"."""
        return self._state.lifecycle.stopped_by

    @property
    def wid(self) -> str:
        """The worker's id at the server."""
        return self._state.options.wid

    def health(self) -> Health:
        """Tell how the consumer is, for a liveness or readiness probe. Thread-safe, and waits for nothing."""
        state, outage = self._state, self._reconnector.outage
        return health_of(
            monotonic(),
            self.state,
            is_at_work=self._at_work,
            is_consuming=state.is_consuming() and not outage.is_down,
            workers=state.options.workers,
            busy=state.busy(),
            fetched_at=state.fetches.answered_at,
            beaten_at=self._heartbeat.beaten_at,
            reported_at=state.ledger.reported_at,
            reconnects=outage.reconnects,
            unreported=len(state.ledger.outbox),
        )

    def serve_health(self, where: str | int = "127.0.0.1:0") -> HealthServer:
        """Serve `/livez`, `/readyz` and `/metrics` at HOST:PORT until the consumer is closed. Waits for nothing."""
        return self._observation.serve(where)

    def quiet(self) -> Done:
        """Take no new jobs from now on; there is no way back. `run` goes on until terminated. For any thread."""
        self._state.door.quiet()
        return Done()

    def terminate(self) -> Done:
        """Take no new jobs, give running ones `shutdown_timeout` seconds, fail the rest, end `run`. For any thread."""
        self._state.door.terminate()
        return Done()

    async def reconnect(self) -> None:
        """Open a new connection under the same wid, after `run` has raised. Raises what connecting raises."""
        async with self._working():
            self._check_alive()
            await self._connect_heartbeat()

    def get(self, kind: type[T]) -> T:
        """Return the managed value of a type, made by its factory on the first call. Waits for nothing."""
        return self._state.managed.get(kind)

    async def close(self) -> None:
        """Terminate, wait for a `run` in another task, and close the connections. Can be called twice."""
        while self._at_work:
            self._state.door.terminate()
            await self._backend.wait(self._state.changed, float("inf"))
        await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._backend.shielded(self.close, lambda: None)

    def __repr__(self) -> str:
        return f"<Consumer wid={self.wid!r} {self.state.value}>"

    # -- a session --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _working(self) -> AsyncGenerator[None, None]:
        if self._at_work:
            raise ConfigurationError("the consumer is at work already; build another one for more jobs at a time")
        self._at_work = True
        self._state.lifecycle.resume()
        try:
            yield
        except Exception:
            self._state.lifecycle.failed()
            raise
        finally:
            self._at_work = False
            self._state.look_again()

    def _check_alive(self) -> None:
        if self._state.lifecycle.is_ending:
            raise ConsumerTerminated("the consumer was terminated; build and connect a new one")
        if not self._home.is_here:
            raise ConfigurationError(
                "the consumer belongs to the event loop, and the process, that connected it; connect another one here"
            )

    async def _begin(self, session: Session) -> None:
        """Make ready to work: a live connection."""
        self._check_alive()
        try:
            if not self._heartbeat.is_connected:
                await self._connect_heartbeat()
        except ConnectionError as exc:
            if not session.is_persistent:  # else the heartbeat and the tasks go on trying
                raise as_lost(exc) from exc.__cause__
        if not self._has_started:
            await self._start()

    async def _start(self) -> None:
        """Call the `on_startup` hooks, once. What one raises ends the consumer before anything is fetched."""
        self._state.managed.enter(self)
        try:
            await run_startup(self._hooks.startup)
        except BaseException:
            self._state.lifecycle.failed()
            await self._backend.shielded(self._end, lambda: None)
            raise
        self._has_started = True

    async def _work(self, session: Session, *, is_single: bool = False) -> int:
        """Run a session to its end, whatever happens to the caller. Returns the number of workers still busy."""
        async with self._working():
            is_first = not self._has_started
            await self._begin(session)
            if is_first and not is_single:
                log_unserved(self._state.options, session)
            return await self._backend.shielded(
                lambda: self._run(session, is_single=is_single),
                on_cancel=lambda: self._state.stop(session) if is_single else self._state.door.terminate(),
            )

    async def _run(self, session: Session, *, is_single: bool) -> int:
        state = self._state
        await self._supervisor.run(session, self._guard, is_single=is_single)
        if session.error is not None:
            state.lifecycle.failed()
        if state.lifecycle.is_ending:
            await self._end()
        return state.busy()

    async def _tell_quiet(self) -> None:
        if not self._told_quiet:
            self._told_quiet = True
            await run_hooks("on_quiet", self._hooks.quiet)

    async def _end(self) -> None:
        """Close everything, once."""
        if self.state is State.TERMINATED:
            return
        self._state.lifecycle.finish()
        if self._state.children is not None:
            await run_in_thread(self._backend, self._state.children.close)
        if self._has_started:
            await self._tell_quiet()
            await run_hooks("on_shutdown", self._hooks.shutdown)
        await self._values.close(self)
        self._threads.close()
        await run_in_thread(self._backend, self._observation.close)
        await run_in_thread(self._backend, self._heartbeat.close)
