"""The seam: what an application can see of pushes, jobs and connections. Whatever an observer raises harms nothing.

A front end holds one `Watch` over all observers, or None: then it asks nobody, which is one `if`. `working` is called
where the handler runs, which may be a child process; all the rest in the worker process, by the thread or task that
pushes, or has run the job. None of them may wait: they are called on event loops, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, cast

from ..core.callables import is_awaitable
from ..core.chain import Waiting
from ..core.failure import ReportedFailure
from ..errors import ConfigurationError, JobCancelled, JobTimeout
from ..job import Job

log: logging.Logger = logging.getLogger("faktory.observe")

Outcome = Literal["succeeded", "failed", "dead", "discarded", "retried", "cut_off"]
"""What became of a job.

"dead": failed with no retry left. "discarded": ended by `Discard`, or skipped by middleware. "retried": a copy was
pushed, as `Retry` asks. "cut_off": given up at the end of a shutdown; the server runs it again.
"""

ConnectionEvent = Literal["connected", "lost"]
"""What has happened to a connection of a consumer."""

_NOTHING: Final[AbstractContextManager[None]] = nullcontext()
_INTERRUPTS: Final = (JobTimeout, JobCancelled, KeyboardInterrupt)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an observer sees what happens: the server, and the worker's id, None where there is no worker."""

    host: str
    port: int
    wid: str | None = None


class Pushing(list[Job]):
    """The jobs of one exchange.

    >>> class Counting(Observer):
    ...     @contextmanager
    ...     def pushing(self, jobs: Pushing) -> Iterator[None]:
    ...         yield
    ...         print(f"{len(jobs) - len(jobs.refused)} of {len(jobs)} stored")
    """

    def __init__(self, jobs: Iterable[Job], place: Place | None = None) -> None:
        super().__init__(jobs)
        self.place: Place | None = place
        """Where they are pushed to; None for a server that stands in for it in a test."""
        self.refused: dict[str, str] = {}
        """Once the exchange is over, those the server refused: jid to reason."""
        self._customs = [job.custom for job in self]

    def encoded(self, documents: list[bytes], encode: Callable[[Job], bytes]) -> list[bytes]:
        """Return the jobs' documents, anew for those whose `custom` was replaced since they were made."""
        return [
            document if job.custom is custom else encode(job)
            for document, job, custom in zip(documents, self, self._customs, strict=True)
        ]


class Observer:
    """Sees pushes, jobs and connections. Inherit, and override what you need: each method here does nothing.

    Methods are called from several threads, and must not block. What they raise is logged, and harms nothing::

        class Slow(faktory.observe.Observer):
            def settled(self, job, outcome, seconds, waited, exc):
                if seconds > 10:
                    print(job.jobtype, "took", seconds)

        builder.observer(Slow())

    With child processes `working` is called in the child, for an observer that is made there: see `for_children`. All
    else is called in the worker process.
    """

    def attached(self, place: Place) -> None:
        """Note the worker that is going to be observed; also called in its child processes."""

    def pushing(self, jobs: Pushing) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return a context manager, entered around the exchange that pushes these jobs.

        On entry a job's `custom` may be replaced by another dict, which then travels with it. An exception that ends
        the exchange passes through; jobs that the server refused are in `jobs.refused` at the end.
        """
        return _NOTHING

    def working(self, job: Job) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return a context manager, entered around the job's middleware and handler, where those run.

        The handler's exception passes through; swallowing it changes nothing.
        """
        return _NOTHING

    def settled(
        self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
    ) -> None:
        """Note what became of a fetched job, once for each, before the server is told.

        `seconds` is how long it ran, 0 for one that did not; `waited` how long it had been in its queue, in seconds,
        None where the server did not say. `exc` is what the handler raised; of a child process it is the report.
        """

    def connection(self, event: ConnectionEvent) -> None:
        """Note that a consumer has a connection to the server, or has lost one."""

    def flush(self) -> None:
        """Send what is kept back: this process, a worker or a child of one, is about to end. It has 2 s."""

    def for_children(self) -> tuple[Callable[..., Observer], dict[str, Any]] | None:
        """Return what makes this observer in each child process, and keyword arguments that JSON can carry.

        What makes it is a class or function at the top of a module. None keeps it out of children. This one returns the
        class itself, without arguments, when it overrides `working`.
        """
        kind = type(self)
        return (kind, {}) if kind.working is not Observer.working else None


class Watch(Observer):
    """All observers as one that never raises; the first is the outermost."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers: tuple[Observer, ...] = ()
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Add one. Raises `ConfigurationError` for what is no observer, and for one that is there already."""
        self._observers = (*self._observers, checked(observer, self._observers))

    @property
    def observers(self) -> tuple[Observer, ...]:
        """All of them, the outermost first."""
        return self._observers

    @property
    def has_workers(self) -> bool:
        """True when one of them goes around handlers."""
        return any(type(observer).working is not Observer.working for observer in self._observers)

    def attached(self, place: Place) -> None:
        """Tell each observer of the worker."""
        for observer in self._observers:
            try:
                observer.attached(place)
            except BaseException:
                log_raised(observer, "attached")

    def flush(self) -> None:
        """Have each observer send what it keeps back."""
        for observer in self._observers:
            try:
                observer.flush()
            except BaseException:
                log_raised(observer, "flush")

    def pushing(self, jobs: Pushing) -> AbstractContextManager[object]:
        """Enter each observer's context around an exchange."""
        return _Around([(observer, observer.pushing, jobs) for observer in self._observers])

    def working(self, job: Job) -> AbstractContextManager[object]:
        """Enter each observer's context around a handler."""
        return _Around([(observer, observer.working, job) for observer in self._observers])

    def around(self, job: Job, call_next: Callable[..., Any]) -> Any:
        """Go around a handler, as middleware does: within `working`."""
        context = self.working(job)
        context.__enter__()
        try:
            result = call_next()
        except BaseException as exc:
            context.__exit__(type(exc), exc, exc.__traceback__)
            raise
        if is_awaitable(result):
            return Waiting(result, partial(_awaited, context))
        context.__exit__(None, None, None)
        return result

    def ended(self, job: Job, seconds: float, error: BaseException | None, *, settled_as: str | None = None) -> None:
        """Tell each observer of the end of a job that ran for so many seconds, 0 for one that did not."""
        enqueued_at = job.enqueued_at
        waited: float | None = None
        if enqueued_at is not None:
            waited = max(0.0, (datetime.now(UTC) - enqueued_at).total_seconds() - seconds)
        self.settled(job, outcome_of(job, error, settled_as), seconds, waited, error)

    def settled(
        self, job: Job, outcome: Outcome, seconds: float, waited: float | None, exc: BaseException | None
    ) -> None:
        """Tell each observer what became of a job."""
        for observer in self._observers:
            try:
                observer.settled(job, outcome, seconds, waited, exc)
            except BaseException:  # also SystemExit: an observer must not end the worker
                log_raised(observer, "settled")

    def connection(self, event: ConnectionEvent) -> None:
        """Tell each observer of a connection."""
        for observer in self._observers:
            try:
                observer.connection(event)
            except BaseException:
                log_raised(observer, "connection")


async def _awaited(context: AbstractContextManager[object], result: Any) -> Any:
    """Await a handler's result within a context that was entered in the same task."""
    try:
        found = await result
    except BaseException as exc:
        context.__exit__(type(exc), exc, exc.__traceback__)
        raise
    context.__exit__(None, None, None)
    return found


def outcome_of(job: Job, error: BaseException | None, settled_as: str | None) -> Outcome:
    """Return what became of a job, by what it has raised; None when it has not failed. Pure."""
    if error is None:
        return "retried" if settled_as == "retried" else "discarded" if settled_as == "discarded" else "succeeded"
    kind = type(error)  # not isinstance, which would ask the exception itself
    is_cut_off = issubclass(kind, JobCancelled)
    if issubclass(kind, ReportedFailure):
        is_cut_off = cast(ReportedFailure, error).report.errtype == JobCancelled.__name__
    if is_cut_off:
        return "cut_off"
    return "dead" if job.is_last_attempt else "failed"


_everywhere: list[Observer] = []


def install(observer: Observer) -> None:
    """Have all clients and consumers that are made from now on be observed. Raises `ConfigurationError`."""
    _everywhere.append(checked(observer, _everywhere))


def uninstall(observer: Observer) -> None:
    """Take an observer back; what was made meanwhile keeps it."""
    _everywhere[:] = [other for other in _everywhere if other is not observer]


def installed() -> tuple[Observer, ...]:
    """Return the observers of all that is made."""
    return tuple(_everywhere)


def watch_of(observers: Iterable[Observer]) -> Watch | None:
    """Return a watch over the installed observers and others; None when there are none."""
    found = [*_everywhere, *(observer for observer in observers if observer not in _everywhere)]
    return Watch(found) if found else None


def checked(observer: object, others: Iterable[Observer] = ()) -> Observer:
    """Return an observer. Raises `ConfigurationError` for what is none, and for one among the `others`."""
    if not isinstance(observer, Observer):
        what = f"the class {observer.__name__}" if isinstance(observer, type) else type(observer).__name__
        raise ConfigurationError(
            f"expected an observer, got {what}; inherit from faktory.observe.Observer, and make an object of it"
        )
    if any(observer is other for other in others):
        raise ConfigurationError(f"the observer {type(observer).__qualname__} is there already; add it once")
    return observer


class _Around:
    """The contexts of all observers: entered in turn, and left in the opposite order, whatever each of them raises.

    An interrupt of the job may strike in an observer, too. It is no fault of the observer's, and is raised.
    """

    __slots__ = ("_calls", "_entered")

    def __init__(self, calls: list[tuple[Observer, Callable[[Any], AbstractContextManager[object]], Any]]) -> None:
        self._calls = calls
        self._entered: list[tuple[Observer, AbstractContextManager[object], str]] = []

    def __enter__(self) -> None:
        for observer, method, subject in self._calls:
            try:
                context = method(subject)
                if context is not _NOTHING:
                    context.__enter__()
                    self._entered.append((observer, context, method.__name__))
            except _INTERRUPTS as exc:
                self.__exit__(type(exc), exc, exc.__traceback__)
                raise
            except BaseException:
                log_raised(observer, method.__name__)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: Any) -> None:
        interrupt: BaseException | None = None
        for observer, context, name in reversed(self._entered):
            try:
                context.__exit__(kind, exc, traceback)
            except BaseException as raised:
                if raised is exc:
                    continue  # it passes through: the context of a generator raises it once more
                if isinstance(raised, _INTERRUPTS):
                    interrupt = raised
                else:
                    log_raised(observer, name)
        self._entered = []
        if interrupt is not None and exc is None:
            raise interrupt


def log_raised(observer: Observer, method: str) -> None:
    """Say that an observer has just raised, with the traceback."""
    try:
        log.exception("the observer %s raised in %s", type(observer).__qualname__, method)
    except BaseException:  # what the exception's own methods do, or a handler of logging
        log.error("the observer %s raised what cannot be told", type(observer).__qualname__)
