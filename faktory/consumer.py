"""The consumer: threads that fetch and run jobs, and a careful end. Made by `ConsumerBuilder.connect`."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from queue import Empty
from typing import NoReturn, Self, TypeVar

from .blocking.heartbeat import Heartbeat
from .blocking.reconnector import Reconnector
from .blocking.state import ConsumerState
from .blocking.worker import Worker
from .core.failure import cut_off
from .core.hooks import run as run_hooks
from .core.hooks import start as run_startup
from .core.lifecycle import State, StoppedBy
from .core.queues import Queues, order_of
from .core.run import facts_of
from .core.session import Session, as_lost, log_end, log_unserved, raise_for
from .core.standing import Health, Summary
from .errors import ConfigurationError, ConsumerTerminated, ThreadStartFailed
from .isolation import interrupter
from .observe.http import Server as HealthServer
from .observe.observing import Observation
from .options import FORCED_EXIT, WIND_DOWN
from .runtime.launch import launch
from .runtime.memory import resident_kb
from .runtime.signals import Signals, Wish, taking
from .runtime.ticking import monotonic

T = TypeVar("T")

log: logging.Logger = logging.getLogger("faktory.consumer")


class Consumer:
    """Runs the jobs of some queues in `workers` threads. At least once: a job may run twice, and none is dropped.

    One call of `run`, `run_one`, `run_to_completion` or `drain` at a time; the other methods can be called from any
    thread. A context manager, which closes it.
    """

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        memory = resident_kb if state.fork_server is None else state.fork_server.resident_kb
        self._heartbeat = Heartbeat(state, state, memory)
        self._reconnector = Reconnector(state)
        self._at_work = threading.Lock()
        self._single: Worker | None = None
        self._has_started = False
        self._told_quiet = False
        self._signals = Signals()
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
        started, before = monotonic(), self._state.outbox.given_up
        with self._working():
            self._work(session)
        raise_for(session)
        unreported = self._state.outbox.unreported - before
        return Summary(session.succeeded, session.failed, monotonic() - started, session.skipped, unreported)

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
            self._single.session = session
            session.limit(self._state.options.limits, monotonic())
            self._state.workers = [self._single]
            with self._beating():
                try:
                    has_run = self._single.run_one()
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
        with self._working(), taking(self._note_signal, self._note_waking):
            busy = self._work(session)
            self._end()
        unreported = self._state.outbox.unreported
        if unreported:
            log.error("%d outcomes could not be reported; the server will have those jobs run again", unreported)
        has_failed = bool(self._state.cut_off or unreported or session.error)
        code = 128 + self._signals.forced_by if self._signals.forced_by else int(has_failed)
        if busy or threading.current_thread() is not threading.main_thread():
            # Threads that cannot be stopped must not go on with jobs that the server hands to others now.
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        sys.exit(code)

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
        state, now = self._state, monotonic()

        def age(moment: float | None) -> float | None:
            return None if moment is None else max(0.0, now - moment)

        busy = state.busy()
        is_full = busy == state.options.workers
        is_consuming = state.is_consuming() and not self._reconnector.is_down
        return Health(
            state=self.state,
            is_ready=self.state is State.RUNNING and self._at_work.locked() and (is_consuming or is_full),
            workers=state.options.workers,
            busy=busy,
            last_fetch_age=age(state.fetched_at),
            last_beat_age=age(self._heartbeat.beaten_at),
            last_report_age=age(state.reported_at),
            reconnects=self._reconnector.reconnects,
            unreported=len(state.outbox),
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
        self._state.quiet()

    def terminate(self) -> None:
        """Take no new jobs, give the running ones `shutdown_timeout` seconds, fail the rest, and end `run`."""
        self._state.terminate()

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
            self._state.terminate()
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
            log_unserved(state.options, session.next_fetch())
        state.fetched_at = monotonic()
        session.limit(state.options.limits, state.fetched_at)
        state.workers = [Worker(state, session, self._reconnector) for _ in range(state.options.workers)]
        queues = session.next_fetch().line.decode().split()[1:]
        what = "threads" if state.fork_server is None else "child processes"
        log.info(
            "working as %s at %s: %d %s, queues %s", self.wid, self._heartbeat.server, len(state.workers), what, queues
        )
        with self._beating():
            interrupt = self._launch(session)
            while True:
                try:
                    self._wait(session)
                    break
                except KeyboardInterrupt as exc:
                    (state.force if interrupt else state.terminate)("signal")
                    interrupt = exc
        busy = state.busy()
        log_end(session, state.cut_off)
        if session.error is not None:
            state.lifecycle.failed()
        if state.lifecycle.is_ending:
            self._end()
        if interrupt is not None:
            raise interrupt
        return busy

    def _launch(self, session: Session) -> KeyboardInterrupt | None:
        """Start the threads, and let them begin when all are there and what came meanwhile has been heard.

        Returns the KeyboardInterrupt that struck in here, after which nothing is fetched.
        """
        state = self._state
        state.gate = threading.Event()
        workers, state.workers = state.workers, []
        try:
            for number, worker in enumerate(workers, 1):
                launch(f"faktory-worker-{number}", worker.run)
                state.workers.append(worker)
            while self._take_mail(0.0):
                pass
        except ThreadStartFailed as exc:
            log.error("%s", exc)
            state.stop(session, exc)
        except KeyboardInterrupt as exc:
            state.terminate("signal")
            return exc
        finally:
            state.gate.set()
        return None

    def _wait(self, session: Session) -> None:
        """Wait for the workers to end; cut them off when their time is up."""
        state, pulse = self._state, self._state.lifecycle.pulse
        limit = float("inf")
        while not state.is_settled(session):
            now = pulse.ticked_at = monotonic()
            if self.state is not State.RUNNING:
                self._tell_quiet()
                if session.until_empty and not session.is_stopping:
                    state.stop(session)
            if session.is_stopping and limit == float("inf"):
                limit = now + state.options.shutdown_timeout
            if state.lifecycle.is_over(now):
                jids = state.cancel_running()
                if jids:
                    log.warning("cut off %d jobs: %s", len(jids), ", ".join(map(ascii, jids)))
                state.wait_wound_down(FORCED_EXIT if self._signals.forced_by else WIND_DOWN)
                for job in state.left_behind():
                    if state.hooks.watch is not None:
                        state.hooks.watch.ended(job, 0.0, cut_off())
                    state.hooks.failed(job, cut_off())
                return
            if now >= limit:
                return  # a lost connection ended the session; a job that goes on is reported by the next one
            self._take_mail(min(limit, state.lifecycle.deadline, now + min(3600, pulse.every)) - now)

    def _take_mail(self, seconds: float) -> bool:
        """Wait for a signal, or for something to look at. Returns False when there was none in time."""
        try:
            mail = self._state.mailbox.get(timeout=max(0.0, seconds))
        except Empty:
            return False
        if mail is None:
            return True
        match self._signals.meaning(*mail):
            case Wish.DUMP:
                self._dump_stacks()
            case Wish.QUIET:
                self._state.quiet()
            case Wish.FORCE:
                self._state.force("signal")
            case Wish.TERMINATE:
                self._state.terminate("signal")
            case Wish.NOTHING:
                pass
        return True

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
        self._state.terminate()
        if self._at_work.acquire(timeout=self._state.options.shutdown_timeout + WIND_DOWN + 1.0):
            self._at_work.release()

    # -- signals ------------------------------------------------------------------------------------------------

    def _note_signal(self, signum: int, at: float) -> None:
        self._state.mailbox.put((signum, at))  # a SimpleQueue: safe in a signal handler, whatever was interrupted

    def _note_waking(self, _signum: int, _at: float) -> None:
        self._state.look_again()

    def _dump_stacks(self) -> None:
        import traceback

        for worker in self._state.workers:
            job, pid = worker.slot.job, worker.dump_child()
            if job is not None and pid:
                log.warning(
                    "child process %d writes its stacks to stderr, job %a (%a)",
                    pid,
                    job.jid,
                    job.jobtype,
                    extra=facts_of(job),
                )
        jobs = {worker.thread_id: worker.slot.job for worker in self._state.workers}
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for thread_id, frame in sys._current_frames().items():
            job = jobs.get(thread_id)
            log.warning(
                "stack of thread %s%s:\n%s",
                names.get(thread_id, thread_id),
                "" if job is None else f", job {job.jid!a} ({job.jobtype!a})",
                "".join(traceback.format_stack(frame)),
            )
