"""Every default and unit of the client side, in one place. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import ConfigurationError

# -- one connection (seconds) --------------------------------------------------------------------------------------
CONNECT_TIMEOUT: Final = 5.0
"""Longest time to resolve, connect, do TLS and shake hands."""
REPLY_TIMEOUT: Final = 5.0
"""Longest wait for the reply to a command: the server gives each one 5 s (server/server.go)."""
FETCH_TIMEOUT: Final = 10.0
"""Longest wait for the reply to FETCH, which the server answers within about 2 s (manager/fetch.go)."""
IDLE_LIMIT: Final = 60.0
"""A connection unused for longer is replaced before use: a firewall may have forgotten it."""

# -- what a hostile server can make us do --------------------------------------------------------------------------
MIN_ITERATIONS: Final = 1_000
"""Fewest password iterations accepted: fewer hand a rogue server a cheap hash. Real ones ask for 4,000 to 8,095."""
MAX_ITERATIONS: Final = 100_000
"""Most password iterations accepted: more would keep us busy for a server's fun."""

# -- producing -----------------------------------------------------------------------------------------------------
POOL_SIZE: Final = 5
"""Connections a `Client` opens at most."""
POOL_TIMEOUT: Final = 30.0
"""Seconds a call waits for a connection of a busy pool."""
BULK_SIZE: Final = 1_000
"""Jobs per PUSHB; the server runs one PUSHB under one 5 s limit (Changes.md advises 1,000)."""
BULK_BYTES: Final = 8 * 1024 * 1024
"""A PUSHB is sent early when its jobs reach so many bytes."""

# -- consuming -----------------------------------------------------------------------------------------------------
BACKOFF_FIRST: Final = 0.1
BACKOFF_LIMIT: Final = 30.0
"""Delays between attempts to reconnect grow from the first to the limit, in seconds, with full jitter."""
REFUSED_DELAY: Final = 5.0
"""Least delay after a refusal that will not heal by itself, such as a wrong password or certificate."""
OUTAGE_AGAIN: Final = 300.0
"""Seconds after which it is said again why the server cannot be used."""
RESERVATION_MARGIN: Final = 20.0
"""A job without a time limit of its own must end so many seconds before its reservation does ..."""
RESERVATION_MARGIN_SHARE: Final = 1 / 3
"""... or so large a part of it, whichever is less."""
RESERVATION_WARNING: Final = 0.8
"""Part of the reservation after which a running job is warned of."""
IDLE_FETCH_PATIENCE: Final = 0.005
"""Seconds a FETCH waits before its queues count as empty, so that idle threads stop adding theirs ..."""
IDLE_FETCH_ROUND_TRIPS: Final = 4.0
"""... or so many round trips to the server, when that is more ..."""
IDLE_FETCH_PATIENCE_LIMIT: Final = 0.5
"""... but never more than this."""
MANY_WORKERS: Final = 200
"""From so many threads on, two idle FETCHes wait at the server instead of one."""
FETCH_WATCH: Final = 30.0
"""Seconds after which a FETCH that was sent and not answered hangs, and idle workers without one are woken ..."""
FETCH_WATCH_PATIENCE: Final = 1.0
"""... but not before the second look, so many seconds later."""
WIND_DOWN: Final = 2.5
"""Seconds given, when the shutdown timeout is over, to a FETCH in flight and to the reports of the jobs cut off."""
FORCED_EXIT: Final = 1.0
"""The same after a second signal."""
SECOND_SIGNAL: Final = 1.0
"""Seconds after the first TERM, INT or HUP from which another one counts."""
LEAVE_PATIENCE: Final = 0.25
"""Seconds after which a task that was cancelled for the last time is left behind."""
HEARTBEAT_PATIENCE: Final = 1.0
"""Seconds to wait for an exchange of the heartbeat when it is stopped."""
REFUSED_REPORT_FIRST: Final = 0.1
REFUSED_REPORT_LIMIT: Final = 10.0
"""An outcome that the server refuses is sent again after the first delay, twice that, and so on up to the limit."""
SAY_AGAIN: Final = 60.0
"""Seconds after which what goes on is worth another line in the log."""
UNKNOWN_DELAY: Final = 0.1
"""Seconds a worker rests after a job that nothing is registered for, so that a queue full of them costs little."""

# -- child processes (seconds) -----------------------------------------------------------------------------------------
KILL_GRACE: Final = 2.0
"""A child whose job is past its time limit is killed so long after `JobTimeout` was raised in it."""
CUT_OFF_NOTICE: Final = 0.15
"""At a shutdown's deadline a child's job sees `cancelled` so long before `JobCancelled` is raised in it ..."""
CUT_OFF_GRACE: Final = 1.5
"""... and is killed when so much time has passed since the deadline, within the wind-down ..."""
CUT_OFF_HURRY: Final = 0.5
"""... or so much, after a second signal."""
SIGNAL_AGAIN: Final = 0.01
"""A child that could not be interrupted where it was is signalled again after so many seconds, then after ever more."""
STRIKE_AGAIN: Final = 1.0
"""A child's handler that has swallowed its interrupt gets another one after so many seconds."""
STACK_PATIENCE: Final = 0.2
"""Time for a child to write its stacks before it is killed."""
KILL_PATIENCE: Final = 5.0
"""Longest wait for a child that was killed to be gone; the worker goes on without it then."""
CHILD_START_LIMIT: Final = 60.0
"""Longest time to import the application, and for a child to start."""
CHILD_START_TRIES: Final = 5
"""Starts that fail in a row, with none that succeeds between, after which `run`, `run_one` and `drain` give up."""
CHILD_STOP_LIMIT: Final = 5.0
"""Longest time for children to end when they are told to, before they are killed."""
CHILD_TAIL: Final = 50
"""Lines of a child's stderr that are kept to tell how it ended."""

# -- consuming on an event loop ---------------------------------------------------------------------------------------
FETCHERS: Final = 8
"""Connections that fetch, at most; with the heartbeat's and the reporter's that makes ten, however many jobs run."""
REPORT_BATCH: Final = 100
"""Outcomes sent in one write, at most ..."""
REPORT_BYTES: Final = 64 * 1024
"""... and fewer when they reach so many bytes."""

# -- jobs pushed again (seconds) ---------------------------------------------------------------------------------------
RETRY_FLOOR: Final = 1.0
"""Least delay of a job pushed again: `Retry(in_=0)` must not run in a hot loop."""
LONGEST_RETRY: Final = 10
"""Run after which the delays of `Retry` grow no more."""

# -- what the server keeps of a failure (manager/retry.go) ----------------------------------------------------------
MAX_ERRTYPE: Final = 100
MAX_MESSAGE: Final = 1_000
MAX_BACKTRACE: Final = 50


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """What a worker process takes from one queue; None is no limit."""

    concurrency: int | None = None
    """Jobs at a time."""
    per_second: float | None = None
    """Jobs begun a second."""

    def __post_init__(self) -> None:
        if self.concurrency is None and self.per_second is None:
            raise ConfigurationError("a limit takes concurrency=, per_second=, or both; got neither")
        if self.concurrency is not None and (type(self.concurrency) is not int or self.concurrency < 1):
            raise ConfigurationError(f"concurrency must be an integer from 1 on, got {self.concurrency!a:.60}")
        rate = self.per_second
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1e6):
            raise ConfigurationError(f"per_second must be above 0, at most 1e6, got {rate!a:.60}")


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """How a consumer runs; made by `ConsumerBuilder`, checked here. All times in seconds."""

    hostname: str
    wid: str
    labels: tuple[str, ...] = ("python",)
    workers: int = 1
    shutdown_timeout: float = 25.0
    heartbeat_interval: float = 15.0
    fetch_watch: float = FETCH_WATCH
    limits: tuple[tuple[str, QueueLimit], ...] = ()
    homes: tuple[tuple[str, str], ...] = ()
    """The queue and the type of each of an app's jobs."""

    @property
    def queues(self) -> tuple[str, ...]:
        """What is fetched when no queues are named: those of the app's jobs."""
        return tuple({queue: None for queue, _ in self.homes})

    def __post_init__(self) -> None:
        if type(self.workers) is not int or not 1 <= self.workers <= 10_000:
            raise ConfigurationError(f"workers must be an integer from 1 to 10,000, got {self.workers!a}")
        if not _is_time(self.shutdown_timeout) or not 0 <= self.shutdown_timeout <= 86_400:
            raise ConfigurationError(
                f"shutdown_timeout must be seconds from 0 to 86,400, got {self.shutdown_timeout!a}"
            )
        # The server forgets a worker that is silent for 60 s (server/tasks.go); three beats must fit.
        if not _is_time(self.heartbeat_interval) or not 0 < self.heartbeat_interval <= 20:
            raise ConfigurationError(
                f"heartbeat_interval must be seconds, above 0 and at most 20 (the server forgets a worker after 60 s "
                f"of silence), got {self.heartbeat_interval!a}"
            )
        _check_name("hostname", self.hostname)
        _check_name("wid", self.wid)
        if len(self.wid) < 8:
            raise ConfigurationError(f"wid must have at least 8 characters, got {self.wid!a}")
        if not isinstance(self.labels, tuple):
            raise ConfigurationError(f"labels must be a tuple of texts, got {self.labels!a}")
        for label in self.labels:
            _check_name("a label", label)


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """When a child process is replaced, between two jobs; None is never."""

    max_jobs: int | None = None
    max_rss_mb: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_jobs_per_child", self.max_jobs), ("max_rss_mb", self.max_rss_mb)):
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigurationError(f"{name} must be an integer from 1 on, or None, got {value!a:.60}")

    def are_reached(self, jobs: int, rss_kb: int | None) -> bool:
        """Tell whether a child that has done so many jobs has served its time."""
        if self.max_jobs is not None and jobs >= self.max_jobs:
            return True
        return self.max_rss_mb is not None and rss_kb is not None and rss_kb > self.max_rss_mb * 1024


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _check_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ConfigurationError(f"{name} must be a printable, non-empty text, got {value!a}")
