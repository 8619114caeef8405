"""Every exception of the package, one base and few leaves.

::

    FaktoryError
    ├── ConfigurationError (ValueError)      a URL, option, queue name or handler that cannot be used
    ├── InvalidJob (ValueError)              a job that cannot be sent, or one received that cannot be read
    ├── ConnectFailed (ConnectionError)      no usable connection could be opened; nothing was sent
    ├── ConnectionLost (ConnectionError)     an open connection broke during an exchange
    │   └── PushOutcomeUnknown               ... during a push: the jobs may be stored, or not
    ├── PushDropped                          raised by an `on_push` function: do not push it
    ├── HandshakeError                       the server's greeting cannot be accepted
    │   ├── AuthenticationError              wrong or missing password
    │   └── VersionMismatch                  a protocol version other than 2
    ├── ProtocolError                        the server broke the rules of the protocol
    ├── ServerError                          the server answered a command with an error
    │   ├── NotUnique                        the job is locked by `unique_for`
    │   └── EnterpriseRequired               the feature needs Faktory Enterprise
    ├── UnknownJobType                       for a job that nothing is registered for
    ├── JobTimeout                           a job ran past its time limit
    ├── JobCrashed                           the process that ran a job died
    ├── JobCancelled                         a job was cut off by a shutdown
    ├── Retry                                raised by a handler: run me again later
    ├── Discard                              raised by a handler: drop me, this is no failure
    ├── ChildStartFailed                     child processes end before they are ready
    ├── ThreadStartFailed                    a worker's threads cannot be started
    └── ConsumerTerminated                   the consumer has ended and cannot run again

The facts are attributes; the text is for people. All of them can be pickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

_LONGEST = 10 * 365 * 86_400.0  # seconds


class FaktoryError(Exception):
    """Base of every error this package raises on purpose.

    >>> try:
    ...     client.push(job)
    ... except FaktoryError as exc:
    ...     print(f"not pushed, or perhaps not: {exc}")
    """


class ConfigurationError(FaktoryError, ValueError):
    """A setting that cannot be used: a URL, an option, a queue name, a handler.

    >>> try:
    ...     client = Client("tcp://localhost:99999")
    ... except ConfigurationError as exc:
    ...     raise SystemExit(str(exc))
    """


class InvalidJob(FaktoryError, ValueError):
    """A job that cannot be sent as it is, or a received one that cannot be read.

    `jid` is the job's id where one is known, else None.

    >>> try:
    ...     client.push(Job("resize", [Decimal("1.5")]))
    ... except InvalidJob as exc:
    ...     print(exc, exc.jid)
    """

    def __init__(self, message: str, jid: str | None = None) -> None:
        super().__init__(message, jid)
        self.jid = jid

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectFailed(FaktoryError, ConnectionError):
    """No usable connection could be opened. Nothing was executed by the server.

    `retry_after` is the least number of seconds that it makes sense to wait before another try.

    >>> try:
    ...     client.push(job)
    ... except ConnectFailed as exc:
    ...     time.sleep(max(1.0, exc.retry_after))
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)  # alone: OSError takes two arguments for errno and strerror
        self.args: tuple[Any, ...] = (message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectionLost(FaktoryError, ConnectionError):
    """An open connection broke before the reply was read.

    `maybe_executed` is False when the server certainly did not run the command.

    >>> try:
    ...     client.flush()
    ... except ConnectionLost as exc:
    ...     print("perhaps flushed" if exc.maybe_executed else "not flushed")
    """

    def __init__(self, message: str, maybe_executed: bool = True) -> None:
        super().__init__(message)
        self.args: tuple[Any, ...] = (message, maybe_executed)
        self.maybe_executed = maybe_executed

    def __str__(self) -> str:
        return str(self.args[0])


class PushOutcomeUnknown(ConnectionLost):
    """A push whose reply was lost: the jobs named by `jids` may be stored, or not.

    Pushing the same jobs again makes sure that they run, perhaps twice.

    >>> try:
    ...     client.push(job)
    ... except PushOutcomeUnknown:
    ...     client.push(job)  # the same jid
    """

    def __init__(self, message: str, jids: Iterable[str] = ()) -> None:
        jids = tuple(jids)
        super().__init__(message)
        self.args: tuple[Any, ...] = (message, jids)
        self.jids = jids


class PushDropped(FaktoryError):
    """Raised by an `on_push` function to drop a job on purpose: nothing is stored, and `enqueue` raises this.

    `enqueue_many` leaves the job out.

    >>> @app.on_push
    ... def only_by_day(job: Job, call_next: Callable[[], str]) -> str:
    ...     if is_night():
    ...         raise PushDropped("not at night")
    ...     return call_next()
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the job was dropped by an on_push function{': ' if self.reason else ''}{self.reason}"


class HandshakeError(FaktoryError):
    """The server's greeting cannot be accepted, or ours was not.

    >>> try:
    ...     consumer = builder.connect()
    ... except HandshakeError as exc:
    ...     raise SystemExit(f"is this a Faktory server? {exc}")
    """


class AuthenticationError(HandshakeError):
    """The password is wrong, or the server wants one and none is configured.

    >>> try:
    ...     client.info()
    ... except AuthenticationError:
    ...     raise SystemExit("put the password into FAKTORY_URL")
    """


class VersionMismatch(HandshakeError):
    """The server speaks a protocol version other than 2.

    >>> try:
    ...     client.info()
    ... except VersionMismatch as exc:
    ...     raise SystemExit(str(exc))
    """


class ProtocolError(FaktoryError):
    """The server sent something that the protocol does not allow; the connection is dropped.

    >>> try:
    ...     client.info()
    ... except ProtocolError as exc:
    ...     print(f"is something between us and the server? {exc}")
    """


class ServerError(FaktoryError):
    """The server answered a command with an error: `code` is its first word, `text` the rest.

    The server echoes what clients sent, so `str()` escapes whatever a terminal or a log would obey; `text` is raw.

    >>> try:
    ...     client.push(job)
    ... except ServerError as exc:
    ...     print(exc.code, exc.text)
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return _escaped(f"{self.code} {self.text}" if self.text else self.code)


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class NotUnique(ServerError):
    """The job was not stored: one with the same type and arguments holds the unique lock.

    >>> try:
    ...     client.push(Job("report", [7]).unique_for(600))
    ... except NotUnique:
    ...     pass  # it is on its way already
    """


class EnterpriseRequired(ServerError):
    """The command belongs to a feature of Faktory Enterprise that this server does not have.

    >>> try:
    ...     client.batch(success=Job("all_resized"))
    ... except EnterpriseRequired as exc:
    ...     print(exc)
    """


class UnknownJobType(FaktoryError):
    """Reported, and told to `on_failure`, for a job that nothing is registered for.

    >>> def on_failure(job: Job, exc: BaseException) -> None:
    ...     if isinstance(exc, UnknownJobType):
    ...         print("deploy a worker that knows", job.jobtype)
    """


class JobTimeout(FaktoryError):
    """Raised inside a handler that ran past its time limit, and reported for its job.

    >>> def resize(job: Job) -> None:
    ...     try:
    ...         work(job)
    ...     except JobTimeout:
    ...         remove_what_is_half_done(job)
    ...         raise
    """


class JobCrashed(FaktoryError):
    """Reported for a job whose process died under it.

    >>> def on_failure(job: Job, exc: BaseException) -> None:
    ...     if isinstance(exc, JobCrashed):
    ...         print(job.jid, exc)  # was killed by SIGKILL, say
    """


class JobCancelled(FaktoryError):
    """Reported for a job that was cut off because its worker had to stop.

    >>> try:
    ...     work(job)
    ... except JobCancelled:
    ...     remember_how_far_it_was(job)
    ...     raise
    """


class ChildStartFailed(FaktoryError):
    """Child processes end again and again before they are ready, so that no job can be run. None was fetched for it.

    Raised by `run`, `run_one` and `drain` after some tries, and by their next call when it has not healed by then;
    `run_to_completion` goes on trying.

    >>> try:
    ...     consumer.run(["default"])
    ... except ChildStartFailed as exc:
    ...     print(f"the children cannot import the handlers: {exc}")
    """


class ThreadStartFailed(FaktoryError):
    """A thread that a worker needs could not be started: the system has no more threads, or no memory for one.

    Nothing was fetched. Fewer `workers`, or more room (`ulimit -u`, `ulimit -v`, a container's limits of pids and
    memory), help.

    >>> try:
    ...     consumer.run(["default"])
    ... except ThreadStartFailed:
    ...     raise SystemExit("fewer workers, or a larger limit of pids")
    """


class Retry(FaktoryError):
    """Raised by a handler to be run again: a copy under a new jid is pushed, then this one counts as done.

    At least once: a worker that dies between the two leaves both. `in_` is in seconds or a timedelta, of which at least
    one second is kept; None grows with the number of runs as the server's own delays do. It does not use up the job's
    `retry`: look at `ctx.attempt`. Raises `ConfigurationError` for an `in_` that is no time from now.

    >>> if response.status == 429:
    ...     raise Retry(in_=60)
    """

    def __init__(self, in_: timedelta | float | None = None) -> None:
        seconds = in_.total_seconds() if isinstance(in_, timedelta) else in_
        is_time = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds <= _LONGEST
        if seconds is not None and not is_time:
            raise ConfigurationError(
                f"Retry takes in_= seconds from now or a timedelta, up to 10 years, got {in_!a:.60}; write "
                "Retry(in_=60), and log a reason before it"
            )
        super().__init__(in_)
        self.in_ = in_

    def __str__(self) -> str:
        return "the job wants to run again" + ("" if self.in_ is None else f" in {self.in_}")


class Discard(FaktoryError):
    """Raised by a handler whose job is not worth running: it counts as done, and the reason is logged.

    >>> if order.is_paid:
    ...     raise Discard("paid in the meantime")
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class ConsumerTerminated(FaktoryError):
    """The consumer was told to terminate; build and connect a new one to go on.

    >>> try:
    ...     consumer.run(["default"])
    ... except ConsumerTerminated:
    ...     consumer = builder.connect()
    """
