"""The consumer: threads that fetch and run jobs, and a careful end. Made by `ConsumerBuilder.connect`."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn, Self, TypeVar

from .blocking.duties import Duties
from .blocking.heartbeat import Heartbeat
from .blocking.reconnector import Reconnector
from .blocking.state import ConsumerState
from .blocking.supervisor import Supervisor
from .blocking.worker import Worker
from .core.ending import exit_code, health_of
from .core.hooks import run as run_hooks
from .core.hooks import start as run_startup
from .core.lifecycle import State, StoppedBy
from .core.queues import Queues, order_of
from .core.session import Session, as_lost, log_end, log_unreported, log_unserved, raise_for
from .core.standing import Health, Summary, summary_of
from .errors import ConfigurationError, ConsumerTerminated
from .isolation import interrupter
from .observe.http import Server as HealthServer
from .observe.observing import Observation
from .options import WIND_DOWN
from .runtime.exiting import end_process
from .runtime.memory import resident_kb
from .runtime.signals import taking
from .runtime.ticking import monotonic

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.consumer")


class Consumer:
    """Runs the jobs of some queues in `workers` threads. At least once: a job may run twice, and none is dropped.

    One call of `run`, `run_one`, `run_to_completion` or `drain` at a time; the other methods can be called from any
    thread. A context manager, which closes it.

    >>> with ConsumerBuilder().register("resize", resize).connect() as consumer:
    ...     consumer.run(["images", "default"])
    """

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        memory = resident_kb if state.fork_server is None else state.fork_server.resident_kb
        duties = Duties(state)
        self._heartbeat = Heartbeat(duties, lambda timeout: state.connect(timeout), duties, memory)
        self._reconnector = Reconnector(state)
        self._at_work = threading.Lock()
        self._single: Worker | None = None
        self._has_started = False
        self._told_quiet = False
        self._supervisor = Supervisor(state, self._tell_quiet)
        self._observation = Observation(
            state, state.hooks, self.health, self._heartbeat, state.look_again, "threads", state.fork_server
        )
        self._heartbeat.connect()

    # -- working ------------------------------------------------------------------------------------------------

    def run(self, queues: Queues | None = None) -> int:
        """Fetch and run jobs until the server, or `terminate`, ends it. Returns the number of workers still busy.

        Raises `ConnectionLost` when the server cannot be talked to; after `reconnect` it can be called again, and then
        first reports what could not be reported, without running any job again. After a terminate it raises
        `ConsumerTerminated`; without room for its threads, `ThreadStartFailed`, before anything is fetched. Takes no
        signals; a KeyboardInterrupt terminates and is raised at the end.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=False)
        with self._working():
            busy = self._work(session)
        raise_for(session)
        return busy

    def drain(self, queues: Queues | None = None) -> Summary:
        """Run jobs until the queues are empty and nothing runs, which the server tells about 2 s after it is so.

        Jobs that are scheduled, or failed and wait for their retry, are not waited for. Raises what `run` raises.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=True)
        ledger, started = self._state.ledger, monotonic()
        before = ledger.tally()
        with self._working():
            self._work(session)
        raise_for(session)
        return summary_of(ledger.tally().since(before), monotonic() - started, len(ledger.outbox))

    def run_one(self, queues: Queues | None = None) -> bool:
        """Fetch one job and run it in this thread. Returns False when there was none for about 2 s, or when quiet.

        True means that a job ran, whether it succeeded or failed. Raises like `run`; an outcome that could not be
        reported is reported by the next call. Ctrl-C while a job runs fails the job and is raised afterwards; while it
        waits for one it is raised at once, and the FETCH it leaves behind may take a job for its whole reservation.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=False, until_empty=False)
        with self._working():
            self._begin()
            if self.state is not State.RUNNING:
                return False
            if self._single is None:
                self._single = Worker(self._state, session, self._reconnector)
            session.limit(self._state.options.limits, monotonic())
            self._state.begin_session([self._single.slot])
            self._state.drop_late(self._single.slot)
            with self._beating():
                try:
                    has_run = self._single.run_one(session)
                    self._state.wait_reported(self._state.options.shutdown_timeout)
                    return has_run
                except ConnectionError as exc:
                    raise as_lost(exc) from exc.__cause__

    def run_to_completion(self, queues: Queues | None = None) -> NoReturn:
        """Run jobs until told to stop, reconnecting for ever, then end the process. None: the queues of the app's jobs.

        The exit code is 0, or 1 when jobs were cut off or outcomes could not be reported. TERM, INT and HUP terminate,
        another one from a second later on ends at once with 128 and the signal's number; TSTP is quiet; TTIN logs the
        stack of every thread with its job. HUP is left alone where it is ignored or has a handler. Signals are taken
        only when called from the main thread. With jobs cut off, or outside of the main thread, the process ends
        without `finally` and `atexit`: `on_shutdown` is the place to clean up.
        """
        session = Session(order_of(queues, self._state.options.queues), is_persistent=True, until_empty=False)
        with self._working(), taking(self._supervisor.note_signal, self._supervisor.note_waking):
            busy = self._work(session)
            self._end()
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
        """Who has asked for the end; None while nobody has.

        "server" (its Web UI), "signal" (or Ctrl-C), "method" (`terminate`, `close`, or the interpreter's end),
        "predicate" (`stop_when`); or "error", of what has ended `run`, until it is called again.
        """
        return self._state.lifecycle.stopped_by

    @property
    def wid(self) -> str:
        """The worker's id at the server."""
        return self._state.options.wid

    def health(self) -> Health:
        """Tell how the consumer is, for a liveness or readiness probe. Thread-safe, and asks nobody."""
        state, reconnector = self._state, self._reconnector
        return health_of(
            monotonic(),
            self.state,
            is_at_work=self._at_work.locked(),
            is_consuming=state.is_consuming() and not reconnector.is_down,
            workers=state.options.workers,
            busy=state.busy(),
            fetched_at=state.fetches.answered_at,
            beaten_at=self._heartbeat.beaten_at,
            reported_at=state.ledger.reported_at,
            reconnects=reconnector.reconnects,
            unreported=len(state.ledger.outbox),
        )

    def serve_health(self, where: str | int = "127.0.0.1:0") -> HealthServer:
        """Serve `/livez`, `/readyz` and `/metrics` over HTTP until the consumer is closed; return the server.

        `where` is HOST:PORT, or a port of the loopback address; port 0 takes a free one, which `server.url` tells. Jobs
        are counted from now on. Raises `ConfigurationError` where it cannot listen. ::

            consumer.serve_health("0.0.0.0:9464")
        """
        return self._observation.serve(where)

    def quiet(self) -> None:
        """Take no new jobs from now on; there is no way back. `run` goes on until terminated."""
        self._state.door.quiet()

    def terminate(self) -> None:
        """Take no new jobs, give the running ones `shutdown_timeout` seconds, fail the rest, and end `run`."""
        self._state.door.terminate()

    def reconnect(self) -> None:
        """Open a new connection under the same wid, after `run` has raised. Raises what `connect` raises."""
        with self._working():
            self._check_alive()
            self._heartbeat.connect()

    def get(self, kind: type[T]) -> T:
        """Return the managed value of a type, made by its factory on the first call. Thread-safe."""
        return self._state.managed.get(kind)

    def close(self) -> None:
        """Terminate, wait for a `run` in another thread, and close the connections. Can be called twice."""
        if not self._at_work.acquire(blocking=False):
            self._state.door.terminate()
            self._at_work.acquire()
        try:
            self._end()
        finally:
            self._at_work.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer wid={self.wid!r} {self.state.value}>"

    # -- a session --------------------------------------------------------------------------------------------------

    @contextmanager
    def _working(self) -> Generator[None, None, None]:
        if not self._at_work.acquire(blocking=False):
            raise ConfigurationError("the consumer is at work already; build another one for more threads")
        atexit.register(self._at_exit)  # only now: what is dropped while it is idle must not live on through this
        self._state.lifecycle.resume()
        try:
            yield
        except Exception:
            self._state.lifecycle.failed()
            raise
        finally:
            atexit.unregister(self._at_exit)
            self._at_work.release()

    @contextmanager
    def _beating(self) -> Generator[None, None, None]:
        is_in_threads = self._state.fork_server is None
        if is_in_threads:
            interrupter.start()
        try:
            self._heartbeat.start()
            try:
                yield
            finally:
                self._heartbeat.stop()
                self._state.lifecycle.pulse.rest()
        finally:
            if is_in_threads:
                interrupter.stop()

    def _check_alive(self) -> None:
        if self._state.lifecycle.is_ending:
            raise ConsumerTerminated("the consumer was terminated; build and connect a new one")

    def _begin(self, *, is_persistent: bool = False) -> None:
        """Make ready to work: a live connection, and nothing left over."""
        self._check_alive()
        try:
            if not self._heartbeat.is_connected:
                self._heartbeat.connect()
            self._heartbeat.report_orphans()
        except ConnectionError as exc:
            if not is_persistent:  # else the heartbeat and the workers go on trying
                raise as_lost(exc) from exc.__cause__
        if not self._has_started:
            self._start()

    def _start(self) -> None:
        """Call the `on_startup` hooks, once. What one raises ends the consumer before anything is fetched."""
        self._state.managed.enter(self)
        try:
            run_startup(self._state.hooks.startup)
        except BaseException:
            self._state.lifecycle.failed()
            self._end()
            raise
        self._has_started = True

    def _work(self, session: Session) -> int:
        """Run a session to its end. Returns the number of workers still busy."""
        state, is_first = self._state, not self._has_started
        self._begin(is_persistent=session.is_persistent)
        if is_first:
            log_unserved(state.options, session)
        before = state.ledger.tally()
        session.limit(state.options.limits, monotonic())
        workers = [Worker(state, session, self._reconnector) for _ in range(state.options.workers)]
        what = "threads" if state.fork_server is None else "child processes"
        server, count = self._heartbeat.server, len(workers)
        log.info("working as %s at %s: %d %s, queues %s", self.wid, server, count, what, session.queues)
        with self._beating():
            interrupt = self._supervisor.run(session, workers)
        busy = state.busy()
        log_end(state.ledger.tally().since(before), state.ledger.cut_offs)
        if session.error is not None:
            state.lifecycle.failed()
        if state.lifecycle.is_ending:
            self._end()
        if interrupt is not None:
            raise interrupt
        return busy

    def _tell_quiet(self) -> None:
        if not self._told_quiet:
            self._told_quiet = True
            run_hooks("on_quiet", self._state.hooks.quiet)

    def _end(self) -> None:
        """Close everything, once."""
        if self._state.lifecycle.state is State.TERMINATED:
            return
        self._state.lifecycle.finish()
        if self._single is not None:
            self._single.close()
        if self._state.fork_server is not None:
            self._state.fork_server.close()
        if self._has_started:
            self._tell_quiet()
            run_hooks("on_shutdown", self._state.hooks.shutdown)
        self._state.managed.close(self)
        self._observation.close()
        self._heartbeat.close()

    def _at_exit(self) -> None:
        """Drain when the interpreter ends under a consumer that works in a daemon thread."""
        self._state.door.terminate()
        if self._at_work.acquire(timeout=self._state.options.shutdown_timeout + WIND_DOWN + 1.0):
            self._at_work.release()
