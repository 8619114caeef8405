"""Async twin of `faktory.consumer`: tasks that fetch, run and report jobs, and a careful end."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar

from ..blocking.connection import Connection as BlockingConnection
from ..blocking.heartbeat import Heartbeat
from ..core.hooks import Hooks
from ..core.lifecycle import State, StoppedBy
from ..core.managed import Managed
from ..core.queues import Queues, order_of
from ..core.registry import Registry
from ..core.session import Session, as_lost, log_end, log_unserved, raise_for
from ..core.standing import Health, Summary
from ..errors import ConfigurationError, ConsumerTerminated
from ..observe.http import Server as HealthServer
from ..observe.observing import Observation
from ..options import CONNECT_TIMEOUT, FETCH_TIMEOUT, FETCHERS, FORCED_EXIT, LEAVE_PATIENCE, WIND_DOWN, ConsumerOptions
from ..protocol.address import Address
from ..protocol.handshake import Identity
from ..runtime.memory import resident_kb
from ..runtime.signals import Signals, Wish, taking
from ..runtime.ticking import monotonic
from .backend import Backend
from .connection import Connection
from .fetcher import Fetcher
from .guard import Guard
from .home import Home
from .job_runner import Runner, log_goes_on, run_hooks, run_startup, tell_of_cut_off
from .job_task import in_children, on_loop_or_in_threads
from .managed import Values
from .reconnector import Reconnector
from .reporter import Reporter
from .stacks import dump_stacks
from .state import ConsumerState
from .thread_pool import Threads, run_in_thread

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..isolation.fork_client import ForkServer
    from ..isolation.shared import Children

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.consumer")


class Consumer:
    """Async twin of `faktory.Consumer`. Its tasks end before the call that has started them does.

    `quiet` and `terminate` act at once and from any thread; awaiting what they return is allowed, and changes nothing.
    """

    _backend: ClassVar[Backend]
    _connection: ClassVar[type[Connection]]

    def __init__(
        self, state: ConsumerState, hooks: Hooks, threads: Threads, reconnector: Reconnector, values: Values
    ) -> None:
        self._state = state
        self._values = values
        self._home = Home(self._backend)
        self._hooks = hooks
        self._threads = threads
        self._reconnector = reconnector
        memory = resident_kb if state.children is None else state.children.resident_kb
        self._heartbeat = Heartbeat(state, memory=memory)
        self._at_work = False
        self._has_started = False
        self._told_quiet = False
        self._signals = Signals()
        self._guard: Guard | None = None
        pool, wake = type(self).__module__.rpartition(".")[2], lambda: state.post(state.look_again)
        self._observation = Observation(state, hooks, self.health, self._heartbeat, wake, pool, state.children)

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
    ) -> Self:
        """Make one of what a `ConsumerBuilder` knows, and connect its heartbeat."""
        threads = Threads(cls._backend)
        values = Values(cls._backend, managed, threads)

        def connect_heartbeat(timeout: float) -> BlockingConnection:
            return BlockingConnection(
                address, identity=identity, connect_timeout=CONNECT_TIMEOUT, timeout=timeout, ssl_context=ssl_context
            )

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
            children = await cls._start_children(start_fork_server)
            handlers = in_children(registry.build(), children, threads)
        state = ConsumerState(cls._backend, options, handlers, managed, connect_heartbeat, children)
        consumer = cls(state, hooks, threads, Reconnector(cls._backend, state.outage, connect), values)
        try:
            await consumer._connect_heartbeat()
        except BaseException:
            consumer._heartbeat.close()
            if children is not None:
                children.close()
            raise
        return consumer

    @classmethod
    async def _start_children(cls, start_fork_server: Callable[[], ForkServer]) -> Children:
        from ..isolation.shared import Children  # what runs children is slow to import, and not always needed

        started: list[ForkServer] = []

        def start() -> None:
            started.append(start_fork_server())

        def forget() -> None:
            for fork_server in started:
                fork_server.close()

        await cls._backend.shielded(lambda: run_in_thread(cls._backend, start), on_cancel=forget)
        return Children(started[0])

    async def _connect_heartbeat(self) -> None:
        # A connection made for somebody who is gone would be nobody's to close.
        await self._backend.shielded(
            lambda: run_in_thread(self._backend, self._heartbeat.connect), on_cancel=lambda: None
        )

    # -- working ------------------------------------------------------------------------------------------------

    async def run(self, queues: Queues | None = None) -> int:
        """Async twin of `run`. Cancelling it terminates: it goes on until the running jobs have ended or were cut off.

        Its jobs do not outlive it: after a lost connection, too, they are cut off when `shutdown_timeout` is over.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=False)
        busy = await self._work(session)
        raise_for(session)
        return busy

    async def drain(self, queues: Queues | None = None) -> Summary:
        """Async twin of `drain`."""
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=True)
        started, before = monotonic(), self._state.outbox.given_up
        await self._work(session)
        raise_for(session)
        unreported = self._state.outbox.unreported - before
        return Summary(session.succeeded, session.failed, monotonic() - started, session.skipped, unreported)

    async def run_one(self, queues: Queues | None = None) -> bool:
        """Async twin of `run_one`. Cancelling it does not terminate; a job that runs has `shutdown_timeout` to end."""
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=False)
        if self.state is State.QUIET:
            return False
        await self._work(session, is_single=True)
        raise_for(session)
        return session.total > 0

    async def run_to_completion(self, queues: Queues | None = None) -> NoReturn:
        """Async twin of `run_to_completion`. Ends the process by `SystemExit`: call it last, in the main task."""
        session = Session(order_of(queues, self._state.options.queues), is_persistent=True, until_empty=False)
        self._guard = guard = Guard(self._state)
        with taking(self._note_signal, guard.signalled):
            busy = await self._work(session)
            await self._end()
        self._exit(session, busy)

    def _exit(self, session: Session, busy: int) -> NoReturn:
        unreported = self._state.outbox.unreported
        if unreported:
            log.error("%d outcomes could not be reported; the server will have those jobs run again", unreported)
        has_failed = bool(self._state.cut_off or unreported or session.error)
        code = 128 + self._signals.forced_by if self._signals.forced_by else int(has_failed)
        if busy or threading.current_thread() is not threading.main_thread():
            # What cannot be stopped must not go on with jobs that the server hands to others now.
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        sys.exit(code)

    # -- state --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Async twin of `state`."""
        return self._state.lifecycle.state

    @property
    def stopped_by(self) -> StoppedBy | None:
        """Async twin of `stopped_by`; a cancellation of `run` is a "method", too."""
        return self._state.lifecycle.stopped_by

    @property
    def wid(self) -> str:
        """Async twin of `wid`."""
        return self._state.options.wid

    def health(self) -> Health:
        """Async twin of `health`, which waits for nothing either."""
        state, now = self._state, monotonic()

        def age(moment: float | None) -> float | None:
            return None if moment is None else max(0.0, now - moment)

        busy, outage = state.busy(), self._reconnector.outage
        is_full = busy == state.options.workers
        is_consuming = state.is_consuming() and not outage.is_down
        return Health(
            state=self.state,
            is_ready=self.state is State.RUNNING and self._at_work and (is_consuming or is_full),
            workers=state.options.workers,
            busy=busy,
            last_fetch_age=age(state.fetched_at),
            last_beat_age=age(self._heartbeat.beaten_at),
            last_report_age=age(state.reported_at),
            reconnects=outage.reconnects,
            unreported=len(state.outbox),
        )

    def serve_health(self, where: str | int = "127.0.0.1:0") -> HealthServer:
        """Async twin of `serve_health`, which waits for nothing either."""
        return self._observation.serve(where)

    def quiet(self) -> Done:
        """Async twin of `quiet`; any thread may call it."""
        self._state.quiet()
        return Done()

    def terminate(self) -> Done:
        """Async twin of `terminate`; any thread may call it."""
        self._state.terminate()
        return Done()

    async def reconnect(self) -> None:
        """Async twin of `reconnect`."""
        async with self._working():
            self._check_alive()
            await self._connect_heartbeat()

    def get(self, kind: type[T]) -> T:
        """Async twin of `get`, which waits for nothing either."""
        return self._state.managed.get(kind)

    async def close(self) -> None:
        """Async twin of `close`."""
        while self._at_work:
            self._state.terminate()
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
                log_unserved(self._state.options, session.next_fetch())
            return await self._backend.shielded(
                lambda: self._run_session(session, is_single=is_single),
                on_cancel=lambda: self._state.stop(session) if is_single else self._state.terminate(),
            )

    async def _run_session(self, session: Session, *, is_single: bool) -> int:
        state = self._state
        self._take_signals()  # what came while `on_startup` ran: a worker told to end fetches nothing
        state.stuck = self._threads.busy
        state.carry_over(is_watched=is_single)
        state.fetched_at = monotonic()
        session.limit(state.options.limits, state.fetched_at)
        state.reporter = reporter = Reporter(state, session, self._reconnector)
        queues = session.next_fetch().line.decode().split()[1:]
        number = 1 if is_single else min(FETCHERS, state.options.workers)
        if not is_single:
            log.info(
                "working as %s at %s: %d jobs at a time, queues %s",
                self.wid,
                self._heartbeat.server,
                state.options.workers,
                queues,
            )
        self._heartbeat.start()
        if self._guard is not None:
            self._guard.start()
        try:
            async with self._backend.group() as group:
                runner = Runner(state, session, self._hooks, group)
                state.fetchers = [
                    Fetcher(state, session, self._reconnector, index, runner, is_single=is_single)
                    for index in range(number)
                ]
                for fetcher in state.fetchers:
                    group.start(fetcher.run)
                group.start(reporter.run)
                await self._wait(session)
                reporter.close()
                if not state.has_ended(reporter):
                    await self._insist(session, reporter)
                    await group.leave(LEAVE_PATIENCE)
        finally:
            if self._guard is not None:
                self._guard.close()
            state.reporter = None
            await run_in_thread(self._backend, self._heartbeat.stop)
            state.lifecycle.pulse.rest()
        state.stuck = self._threads.busy
        if not is_single:
            log_end(session, state.cut_off)
        if session.error is not None:
            state.lifecycle.failed()
        if state.lifecycle.is_ending:
            await self._end()
        return state.busy()

    async def _wait(self, session: Session) -> None:
        """Wait for the tasks to end; cut the jobs off when their time is up."""
        state, pulse = self._state, self._state.lifecycle.pulse
        limit = float("inf")
        while not state.is_settled(session):
            now = pulse.ticked_at = monotonic()
            self._take_signals()
            if self.state is not State.RUNNING:
                await self._tell_quiet()
                if session.until_empty and not session.is_stopping:
                    state.stop(session)
            if limit == float("inf") and (session.is_stopping or state.has_only_reports):
                limit = now + state.options.shutdown_timeout
            if state.lifecycle.is_over(now) or now >= limit:
                jids = state.cancel_running(session)
                if jids:
                    log.warning("cut off %d jobs: %s", len(jids), ", ".join(map(ascii, jids)))
                await self._wait_wound_down(FORCED_EXIT if self._signals.forced_by else WIND_DOWN)
                await self._tell_of_those_left_behind()
                return
            await state.mail.wait(min(limit, state.lifecycle.deadline, now + min(3600, pulse.every)) - now)

    async def _wait_wound_down(self, seconds: float) -> None:
        state = self._state
        limit = monotonic() + seconds
        state.heartbeat_wake.set()
        while not state.is_wound_down and (left := limit - monotonic()) > 0:
            await state.mail.wait(left)

    async def _insist(self, session: Session, reporter: Reporter) -> None:
        """Fail the jobs that go on though they were cancelled; they are left behind. See to the last reports."""
        state = self._state
        for work in list(state.works):
            if work.slot.job is None:
                state.release(work)  # its hooks take too long
            elif not work.slot.is_cancelled:
                log_goes_on(work.job)
                state.fail_running(session, work)
        await self._wait_reported(reporter, FORCED_EXIT)
        await self._tell_of_those_left_behind()

    async def _wait_reported(self, reporter: Reporter, seconds: float) -> None:
        """Let what has ended last be reported, too."""
        state = self._state
        limit = monotonic() + seconds
        while len(state.outbox) and not reporter.has_given_up and (left := limit - monotonic()) > 0:
            await state.mail.wait(left)

    def _take_signals(self) -> None:
        state = self._state
        while state.signals:
            match self._signals.meaning(*state.signals.popleft()):
                case Wish.DUMP:
                    dump_stacks(state.works)
                case Wish.QUIET:
                    state.quiet()
                case Wish.FORCE:
                    state.force("signal")
                case Wish.TERMINATE:
                    state.terminate("signal")
                case Wish.NOTHING:
                    pass

    async def _tell_of_those_left_behind(self) -> None:
        for job in self._state.left_behind():
            await tell_of_cut_off(self._hooks, job)

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

    # -- signals ------------------------------------------------------------------------------------------------

    def _note_signal(self, signum: int, at: float) -> None:
        self._state.signals.append((signum, at))
        self._state.post(self._state.mail.ring)  # safe in a signal handler, whatever was interrupted


class Done:
    """What may be awaited and needs no waiting."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield
