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
from ..blocking.heartbeat import Heart
from ..core.failure import cut_off
from ..core.hooks import Hooks
from ..core.lifecycle import State, StoppedBy
from ..core.managed import Managed
from ..core.queues import Queues, order_of
from ..core.registry import Registry
from ..core.shift import Shift, as_lost, log_end, log_unserved, raise_for
from ..core.standing import Health, Summary
from ..errors import ConfigurationError, ConsumerTerminated
from ..options import CONNECT_TIMEOUT, FETCH_TIMEOUT, FETCHERS, FORCED_EXIT, LEAVE_PATIENCE, WIND_DOWN, ConsumerOptions
from ..protocol.address import Address
from ..protocol.handshake import Identity
from ..runtime.memory import resident_kb
from ..runtime.signals import Signals, Wish, taking
from ..runtime.ticking import monotonic
from .backend import Kit
from .connection import Connection
from .fetcher import Fetcher
from .guard import Guard
from .home import Home
from .job_runner import Runner, run_hooks, run_startup, tell_of_failure
from .job_task import in_children, on_loop_or_in_threads
from .managed import Values
from .reconnector import Dialler
from .reporter import Reporter
from .stacks import dump_stacks
from .state import Crew
from .thread_pool import Threads, aside

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..isolation.fork_client import Nursery
    from ..isolation.shared import Children

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.consumer")


class Consumer:
    """Async twin of `faktory.Consumer`. Its tasks end before the call that has started them does.

    `quiet` and `terminate` act at once and from any thread; awaiting what they return is allowed, and changes nothing.
    """

    _kit: ClassVar[Kit]
    _connection: ClassVar[type[Connection]]

    def __init__(self, crew: Crew, hooks: Hooks, threads: Threads, dialler: Dialler, values: Values) -> None:
        self._crew = crew
        self._values = values
        self._home = Home(self._kit)
        self._hooks = hooks
        self._threads = threads
        self._dialler = dialler
        memory = resident_kb if crew.children is None else crew.children.resident_kb
        self._heart = Heart(crew, memory=memory)
        self._at_work = False
        self._has_started = False
        self._told_quiet = False
        self._signals = Signals()
        self._guard: Guard | None = None

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
        start_nursery: Callable[[], Nursery] | None,
    ) -> Self:
        """Make one of what a `ConsumerBuilder` knows, and connect its heart."""
        threads = Threads(cls._kit)
        values = Values(cls._kit, managed, threads)

        def connect_heart(timeout: float) -> BlockingConnection:
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
        if start_nursery is None:
            handlers = on_loop_or_in_threads(registry.build(), registry.middleware, threads, values)
        else:
            children = await cls._start_children(start_nursery)
            handlers = in_children(registry.build(), children, threads)
        crew = Crew(cls._kit, options, handlers, managed, connect_heart, children)
        consumer = cls(crew, hooks, threads, Dialler(cls._kit, crew.outage, connect), values)
        try:
            await consumer._connect_heart()
        except BaseException:
            consumer._heart.close()
            if children is not None:
                children.close()
            raise
        return consumer

    @classmethod
    async def _start_children(cls, start_nursery: Callable[[], Nursery]) -> Children:
        from ..isolation.shared import Children  # what runs children is slow to import, and not always needed

        started: list[Nursery] = []

        def start() -> None:
            started.append(start_nursery())

        def forget() -> None:
            for nursery in started:
                nursery.close()

        await cls._kit.shielded(lambda: aside(cls._kit, start), on_cancel=forget)
        return Children(started[0])

    async def _connect_heart(self) -> None:
        # A connection made for somebody who is gone would be nobody's to close.
        await self._kit.shielded(lambda: aside(self._kit, self._heart.connect), on_cancel=lambda: None)

    # -- working ------------------------------------------------------------------------------------------------

    async def run(self, queues: Queues | None = None) -> int:
        """Async twin of `run`. Cancelling it terminates: it goes on until the running jobs have ended or were cut off.

        Its jobs do not outlive it: after a lost connection, too, they are cut off when `shutdown_timeout` is over.
        """
        shift = Shift(order_of(queues, self._crew.options.queues), is_persistent=False, until_empty=False)
        busy = await self._work(shift)
        raise_for(shift)
        return busy

    async def drain(self, queues: Queues | None = None) -> Summary:
        """Async twin of `drain`."""
        shift = Shift(order_of(queues, self._crew.options.queues), is_persistent=False, until_empty=True)
        started, before = monotonic(), self._crew.outbox.given_up
        await self._work(shift)
        raise_for(shift)
        unreported = self._crew.outbox.unreported - before
        return Summary(shift.succeeded, shift.failed, monotonic() - started, shift.skipped, unreported)

    async def run_one(self, queues: Queues | None = None) -> bool:
        """Async twin of `run_one`. Cancelling it does not terminate; a job that runs has `shutdown_timeout` to end."""
        shift = Shift(order_of(queues, self._crew.options.queues), is_persistent=False, until_empty=False)
        if self.state is State.QUIET:
            return False
        await self._work(shift, is_single=True)
        raise_for(shift)
        return shift.total > 0

    async def run_to_completion(self, queues: Queues | None = None) -> NoReturn:
        """Async twin of `run_to_completion`. Ends the process by `SystemExit`: call it last, in the main task."""
        shift = Shift(order_of(queues, self._crew.options.queues), is_persistent=True, until_empty=False)
        self._guard = guard = Guard(self._crew)
        with taking(self._note_signal, guard.signalled):
            busy = await self._work(shift)
            await self._end()
        self._exit(shift, busy)

    def _exit(self, shift: Shift, busy: int) -> NoReturn:
        unreported = self._crew.outbox.unreported
        if unreported:
            log.error("%d outcomes could not be reported; the server will have those jobs run again", unreported)
        has_failed = bool(self._crew.cut_off or unreported or shift.error)
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
        return self._crew.lifecycle.state

    @property
    def stopped_by(self) -> StoppedBy | None:
        """Async twin of `stopped_by`; a cancellation of `run` is a "method", too."""
        return self._crew.lifecycle.stopped_by

    @property
    def wid(self) -> str:
        """Async twin of `wid`."""
        return self._crew.options.wid

    def health(self) -> Health:
        """Async twin of `health`, which waits for nothing either."""
        crew, now = self._crew, monotonic()

        def age(moment: float | None) -> float | None:
            return None if moment is None else max(0.0, now - moment)

        busy, outage = crew.busy(), self._dialler.outage
        is_full = busy == crew.options.workers
        is_consuming = crew.is_consuming() and not outage.is_down
        return Health(
            state=self.state,
            is_ready=self.state is State.RUNNING and self._at_work and (is_consuming or is_full),
            workers=crew.options.workers,
            busy=busy,
            last_fetch_age=age(crew.fetched_at),
            last_beat_age=age(self._heart.beaten_at),
            last_report_age=age(crew.reported_at),
            reconnects=outage.reconnects,
            unreported=len(crew.outbox),
        )

    def quiet(self) -> Done:
        """Async twin of `quiet`; any thread may call it."""
        self._crew.quiet()
        return Done()

    def terminate(self) -> Done:
        """Async twin of `terminate`; any thread may call it."""
        self._crew.terminate()
        return Done()

    async def reconnect(self) -> None:
        """Async twin of `reconnect`."""
        async with self._working():
            self._check_alive()
            await self._connect_heart()

    def get(self, kind: type[T]) -> T:
        """Async twin of `get`, which waits for nothing either."""
        return self._crew.managed.get(kind)

    async def close(self) -> None:
        """Async twin of `close`."""
        while self._at_work:
            self._crew.terminate()
            await self._kit.wait(self._crew.changed, float("inf"))
        await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._kit.shielded(self.close, lambda: None)

    def __repr__(self) -> str:
        return f"<Consumer wid={self.wid!r} {self.state.value}>"

    # -- a shift --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _working(self) -> AsyncGenerator[None, None]:
        if self._at_work:
            raise ConfigurationError("the consumer is at work already; build another one for more jobs at a time")
        self._at_work = True
        self._crew.lifecycle.resume()
        try:
            yield
        except Exception:
            self._crew.lifecycle.failed()
            raise
        finally:
            self._at_work = False
            self._crew.look_again()

    def _check_alive(self) -> None:
        if self._crew.lifecycle.is_ending:
            raise ConsumerTerminated("the consumer was terminated; build and connect a new one")
        if not self._home.is_here:
            raise ConfigurationError(
                "the consumer belongs to the event loop, and the process, that connected it; connect another one here"
            )

    async def _begin(self, shift: Shift) -> None:
        """Make ready to work: a live connection."""
        self._check_alive()
        try:
            if not self._heart.is_connected:
                await self._connect_heart()
        except ConnectionError as exc:
            if not shift.is_persistent:  # else the heart and the tasks go on trying
                raise as_lost(exc) from exc.__cause__
        if not self._has_started:
            await self._start()

    async def _start(self) -> None:
        """Call the `on_startup` hooks, once. What one raises ends the consumer before anything is fetched."""
        self._crew.managed.enter(self)
        try:
            await run_startup(self._hooks.startup)
        except BaseException:
            self._crew.lifecycle.failed()
            await self._kit.shielded(self._end, lambda: None)
            raise
        self._has_started = True

    async def _work(self, shift: Shift, *, is_single: bool = False) -> int:
        """Run a shift to its end, whatever happens to the caller. Returns the number of workers still busy."""
        async with self._working():
            is_first = not self._has_started
            await self._begin(shift)
            if is_first and not is_single:
                log_unserved(self._crew.options, shift.next_fetch())
            return await self._kit.shielded(
                lambda: self._run_shift(shift, is_single=is_single),
                on_cancel=lambda: self._crew.stop(shift) if is_single else self._crew.terminate(),
            )

    async def _run_shift(self, shift: Shift, *, is_single: bool) -> int:
        crew = self._crew
        self._take_signals()  # what came while `on_startup` ran: a worker told to end fetches nothing
        crew.stuck = self._threads.busy
        crew.carry_over(is_watched=is_single)
        crew.fetched_at = monotonic()
        crew.reporter = reporter = Reporter(crew, shift, self._dialler)
        queues = shift.next_fetch().line.decode().split()[1:]
        number = 1 if is_single else min(FETCHERS, crew.options.workers)
        if not is_single:
            log.info(
                "working as %s at %s: %d jobs at a time, queues %s",
                self.wid,
                self._heart.server,
                crew.options.workers,
                queues,
            )
        self._heart.start()
        if self._guard is not None:
            self._guard.start()
        try:
            async with self._kit.group() as group:
                runner = Runner(crew, shift, self._hooks, group)
                crew.fetchers = [
                    Fetcher(crew, shift, self._dialler, index, runner, is_single=is_single) for index in range(number)
                ]
                for fetcher in crew.fetchers:
                    group.start(fetcher.run)
                group.start(reporter.run)
                await self._wait(shift)
                reporter.close()
                if not crew.has_ended(reporter):
                    await self._insist(shift, reporter)
                    await group.leave(LEAVE_PATIENCE)
        finally:
            if self._guard is not None:
                self._guard.close()
            crew.reporter = None
            await aside(self._kit, self._heart.stop)
        crew.stuck = self._threads.busy
        if not is_single:
            log_end(shift, crew.cut_off)
        if shift.error is not None:
            crew.lifecycle.failed()
        if crew.lifecycle.is_ending:
            await self._end()
        return crew.busy()

    async def _wait(self, shift: Shift) -> None:
        """Wait for the tasks to end; cut the jobs off when their time is up."""
        crew = self._crew
        limit = float("inf")
        while not crew.is_settled(shift):
            now = monotonic()
            self._take_signals()
            if self.state is not State.RUNNING:
                await self._tell_quiet()
                if shift.until_empty and not shift.is_stopping:
                    crew.stop(shift)
            if limit == float("inf") and (shift.is_stopping or crew.has_only_reports):
                limit = now + crew.options.shutdown_timeout
            if crew.lifecycle.is_over(now) or now >= limit:
                jids = crew.cancel_running(shift)
                if jids:
                    log.warning("cut off %d jobs: %s", len(jids), ", ".join(map(ascii, jids)))
                await self._wait_wound_down(FORCED_EXIT if self._signals.forced_by else WIND_DOWN)
                await self._tell_of_those_left_behind()
                return
            await crew.mail.wait(min(limit, crew.lifecycle.deadline, now + 3600) - now)

    async def _wait_wound_down(self, seconds: float) -> None:
        crew = self._crew
        limit = monotonic() + seconds
        crew.heart_wake.set()
        while not crew.is_wound_down and (left := limit - monotonic()) > 0:
            await crew.mail.wait(left)

    async def _insist(self, shift: Shift, reporter: Reporter) -> None:
        """Fail the jobs that go on though they were cancelled; they are left behind. See to the last reports."""
        crew = self._crew
        for work in list(crew.works):
            if work.slot.job is None:
                crew.release(work)  # its hooks take too long
            elif not work.slot.is_cancelled:
                log.error("job %a (%a) goes on though it was cancelled", work.job.jid, work.job.jobtype)
                crew.fail_running(shift, work)
        await self._wait_reported(reporter, FORCED_EXIT)
        await self._tell_of_those_left_behind()

    async def _wait_reported(self, reporter: Reporter, seconds: float) -> None:
        """Let what has ended last be reported, too."""
        crew = self._crew
        limit = monotonic() + seconds
        while len(crew.outbox) and not reporter.has_given_up and (left := limit - monotonic()) > 0:
            await crew.mail.wait(left)

    def _take_signals(self) -> None:
        crew = self._crew
        while crew.signals:
            match self._signals.meaning(*crew.signals.popleft()):
                case Wish.DUMP:
                    dump_stacks(crew.works)
                case Wish.QUIET:
                    crew.quiet()
                case Wish.FORCE:
                    crew.force("signal")
                case Wish.TERMINATE:
                    crew.terminate("signal")
                case Wish.NOTHING:
                    pass

    async def _tell_of_those_left_behind(self) -> None:
        for job in self._crew.left_behind():
            await tell_of_failure(self._hooks, job, cut_off())

    async def _tell_quiet(self) -> None:
        if not self._told_quiet:
            self._told_quiet = True
            await run_hooks("on_quiet", self._hooks.quiet)

    async def _end(self) -> None:
        """Close everything, once."""
        if self.state is State.TERMINATED:
            return
        self._crew.lifecycle.finish()
        if self._crew.children is not None:
            await aside(self._kit, self._crew.children.close)
        if self._has_started:
            await self._tell_quiet()
            await run_hooks("on_shutdown", self._hooks.shutdown)
        await self._values.close(self)
        self._threads.close()
        await aside(self._kit, self._heart.close)

    # -- signals ------------------------------------------------------------------------------------------------

    def _note_signal(self, signum: int, at: float) -> None:
        self._crew.signals.append((signum, at))
        self._crew.post(self._crew.mail.ring)  # safe in a signal handler, whatever was interrupted


class Done:
    """What may be awaited and needs no waiting."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield
