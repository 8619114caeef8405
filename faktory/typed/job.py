"""`TypedJob`: a function whose calls can be pushed as jobs, and the handler that runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial, update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

from ..client import Client
from ..core.again import wish_of
from ..core.callables import is_async, is_awaitable, place_of
from ..core.chain import Waiting, check_result, compose, compose_async
from ..core.job_timer import fitting_reservation, time_limit
from ..core.managed import Managed
from ..core.registry import Backing, HandlerFunction, backed
from ..core.run import Run, running
from ..core.settling import settle
from ..errors import ConfigurationError, InvalidJob
from ..job import Job
from ..protocol.address import Address
from ..runtime.ticking import monotonic
from .background import in_thread
from .context import JobContext
from .signature import Signature

P = ParamSpec("P")
R = TypeVar("R")

Middleware = Callable[[JobContext, Callable[[], Any]], Any]
"""Called as `fn(ctx, call_next)` around a typed job; `call_next()` goes on. Async for jobs that are `async def`."""

_UNSET: Any = object()


class Door(Protocol):
    """What a typed job asks of its app."""

    @property
    def managed(self) -> Managed: ...

    def middleware(self) -> Sequence[Middleware]: ...

    def seen(self) -> dict[str, Any]: ...

    def take_server(self, address: Address) -> None: ...

    def client_maker(self) -> Callable[[], Client] | None:
        """Return what gives the client, None in a mode without a server."""
        ...

    def push(self, job: Job) -> str: ...

    def perform(self, job: Job) -> Any:
        """Run a job here and now; return what its function returns."""
        ...

    def end_values(self) -> None:
        """Close the managed values that jobs run here and now have made."""
        ...

    async def apush(self, job: Job) -> str: ...

    def push_many(self, jobs: Iterable[Job]) -> list[str]: ...

    def push_again(self, again: Job, job: Job, exc: BaseException) -> bool:
        """Push a copy of a job, which its exception has asked for; False when this mode has no later."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """How the jobs of a function are pushed; the names are those of `Job`."""

    queue: str = "default"
    retry: int = 25
    reserve_for: int | None = None
    backtrace: int | None = None
    unique_for: int | None = None
    unique_until: str | None = None
    expires_in: timedelta | float | None = None
    custom: Mapping[str, Any] | None = None

    def job(self, jobtype: str, args: list[Any], at: datetime | timedelta | float | None = None) -> Job:
        """Return the job to push. Raises `InvalidJob`."""
        job = Job(
            jobtype,
            args,
            queue=self.queue,
            retry=self.retry,
            reserve_for=self.reserve_for,
            backtrace=self.backtrace,
            at=at,
            custom=deepcopy(dict(self.custom)) if isinstance(self.custom, Mapping) else self.custom,
        )
        if self.unique_for is not None:
            job.unique_for(self.unique_for)
        if self.unique_until is not None:
            job.unique_until(self.unique_until)
        if self.expires_in is not None:
            job.expires_in(self.expires_in)
        return job


@dataclass(frozen=True, slots=True)
class Rules:
    """How the jobs of a function are run."""

    timeout: float | None
    retry_on: tuple[type[Exception], ...]
    discard_on: tuple[type[Exception], ...]
    needs: tuple[type[Any], ...]

    def __post_init__(self) -> None:
        _check_exceptions("retry_on", self.retry_on)
        _check_exceptions("discard_on", self.discard_on)
        if not isinstance(self.needs, tuple) or not all(isinstance(kind, type) for kind in self.needs):
            raise ConfigurationError(f"needs must be a tuple of types, got {self.needs!a:.80}; write needs=(Database,)")


def _check_exceptions(what: str, found: object) -> None:
    if not isinstance(found, tuple) or not all(isinstance(e, type) and issubclass(e, BaseException) for e in found):
        raise ConfigurationError(f"{what} must be a tuple of exception classes, got {found!a:.80}")
    for kind in found:
        if not issubclass(kind, Exception):
            raise ConfigurationError(
                f"{what} takes subclasses of Exception, got {kind.__name__}; a job that raises it has failed"
            )


class TypedJob(Generic[P, R]):
    """A job declared by `App.job`. Its arguments are converted and checked before anything is sent: `InvalidJob`.

    Calls raise TypeError for arguments that the function does not take, and what `Client.push` raises.

    >>> resize.enqueue("cat.png", width=400)
    >>> resize.enqueue_in(timedelta(minutes=5), "dog.png")
    """

    __name__: str
    __qualname__: str

    def __init__(
        self,
        door: Door,
        jobtype: str,
        function: Callable[..., Any],
        signature: Signature,
        options: Options,
        rules: Rules,
    ) -> None:
        self.__name__ = self.__qualname__ = jobtype  # of an object or a partial, which have no name
        update_wrapper(cast(Callable[..., Any], self), function)
        self.jobtype = jobtype
        self.function = function
        self.options = options
        self.rules = rules
        self.signature = signature
        self._door = door
        self.__faktory_handler__: HandlerFunction = _handler(self, door)

    @property
    def timeout(self) -> float | None:
        """The job's time limit in seconds; None for what its reservation allows."""
        return self.rules.timeout

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Push a job that runs the function with these arguments; return its jid."""
        return self._door.push(self.to_job(*args, **kwargs))

    def enqueue_in(self, delay: timedelta | float, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Push a job that runs after a delay, in seconds or a timedelta."""
        return self._door.push(self._job(args, kwargs, delay))

    def enqueue_at(self, when: datetime, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Push a job that runs at a time, an aware datetime."""
        return self._door.push(self._job(args, kwargs, when))

    def enqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[str]:
        """Push a job for each tuple of arguments, 1,000 at a time; return the jids.

        Those in a list or tuple are all checked before any is sent; others are drawn as they are sent. Raises
        `ServerError` at the end when the server has refused some. Whatever it raises while it sends has the jids of the
        jobs stored before in an attribute `stored`.
        """
        jobs = (self._job(_checked_call(args), {}, None) for args in calls)
        return self._door.push_many(list(jobs) if isinstance(calls, (list, tuple)) else jobs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Push a call from asyncio or trio, and return its jid: the push itself happens in a thread.

        >>> await resize.aenqueue("cat.png", width=400)

        Raises `InvalidJob` for arguments that do not fit, before anything is sent, and what `Client.push` raises.
        """
        return await self._door.apush(self.to_job(*args, **kwargs))

    async def aenqueue_in(self, delay: timedelta | float, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Push a call that runs after a delay, in seconds or a timedelta; see `aenqueue`."""
        return await self._door.apush(self._job(args, kwargs, delay))

    async def aenqueue_at(self, when: datetime, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Push a call that runs at a time, an aware datetime; see `aenqueue`."""
        return await self._door.apush(self._job(args, kwargs, when))

    async def aenqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[str]:
        """Push a call for each tuple of positional arguments, from asyncio or trio; return the jids.

        What is no list or tuple is drawn in a thread. Raises as `enqueue_many` does.
        """
        return await in_thread(self.enqueue_many, calls)

    def to_job(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Return the job without pushing it: for a batch, its callbacks, or `Client.push_bulk`."""
        return self._job(args, kwargs, None)

    def push(self, job: Job) -> str:
        """Push a job that `to_job` has made; return its jid. Under the same jid it may be tried again."""
        return self._door.push(job)

    def using(
        self,
        *,
        queue: str = _UNSET,
        retry: int = _UNSET,
        reserve_for: int | None = _UNSET,
        backtrace: int | None = _UNSET,
        unique_for: int | None = _UNSET,
        unique_until: str | None = _UNSET,
        expires_in: timedelta | float | None = _UNSET,
        custom: Mapping[str, Any] | None = _UNSET,
    ) -> Self:
        """Return the same job with other options, for the calls that follow on it. Raises `InvalidJob` for bad ones."""
        given: dict[str, Any] = {
            "queue": queue,
            "retry": retry,
            "reserve_for": reserve_for,
            "backtrace": backtrace,
            "unique_for": unique_for,
            "unique_until": unique_until,
            "expires_in": expires_in,
            "custom": custom,
        }
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        options = replace(self.options, **{name: value for name, value in given.items() if value is not _UNSET})
        options.job(self.jobtype, [])  # refuses what no job can have
        try:
            reserve_for = fitting_reservation(options.reserve_for, self.timeout)
        except ConfigurationError as exc:
            raise InvalidJob(str(exc)) from exc
        other.options = replace(options, reserve_for=reserve_for)
        return other

    def _job(self, args: Sequence[Any], kwargs: Mapping[str, Any], at: datetime | timedelta | float | None) -> Job:
        return self.options.job(self.jobtype, self.signature.dump(args, kwargs), at)

    def __reduce__(self) -> str:
        """Pickle by name, as the function would be: for process pools, whose workers import its module."""
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.jobtype!a} of {place_of(self.function)}>"


class PlainJob(TypedJob[P, R]):
    """A job whose function takes its arguments alone."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]


class ContextJob(TypedJob[P, R]):
    """A job whose function takes a `JobContext` before its arguments."""

    def __call__(self, ctx: JobContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now."""
        return self.function(ctx, *args, **kwargs)  # type: ignore[no-any-return]


class Declare(Protocol):
    """What `app.job(...)` with options gives: the decorator."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[JobContext, P], R], /
    ) -> ContextJob[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> PlainJob[P, R]: ...


def _checked_call(args: Any) -> tuple[Any, ...] | list[Any]:
    if not isinstance(args, (tuple, list)):
        raise InvalidJob(
            f"enqueue_many takes a tuple of arguments for each job, got {type(args).__name__}; write ({args!a:.40},)"
        )
    return args


# -- running ----------------------------------------------------------------------------------------------------------


def _handler(typed: TypedJob[Any, Any], door: Door) -> HandlerFunction:
    """Return what a consumer calls with a job of this type."""
    function, load, rules = typed.function, typed.signature.load, typed.rules
    takes_context, what = typed.signature.takes_context, f"the job {typed.jobtype!a}"

    def context_of(job: Job) -> JobContext:
        run = running.get()
        if run is None:  # called by nobody we know: a test, say
            run = Run(job, monotonic() + time_limit(job.reservation, rules.timeout), door.managed)
        return JobContext(run, door.client_maker(), function.__module__)

    def settled(job: Job, exc: BaseException) -> bool:
        found = settle(job, exc, lambda again: door.push_again(again, job, exc), rules.retry_on, rules.discard_on)
        run = running.get()
        if found and run is not None:
            run.is_settled = True
        return found

    def bound(job: Job) -> Callable[[JobContext], Any]:
        if takes_context:
            return lambda ctx: function(ctx, *load(job.args))
        return lambda _: function(*load(job.args))

    def handler(job: Job) -> Any:
        middleware = door.middleware()
        try:
            if not takes_context and not middleware:
                result = function(*load(job.args))
            else:
                result = compose(middleware, bound(job), what, may_wait=True)(context_of(job))
            if is_awaitable(result):  # of an async function that its decorator hides: an event loop can run it
                return Waiting(result, partial(awaited, job))
            return _ran(what, result)
        except Exception as exc:
            if not settled(job, exc):
                raise

    async def async_handler(job: Job) -> Any:
        return await awaited(job, compose_async(door.middleware(), bound(job), what)(context_of(job)))

    async def awaited(job: Job, result: Awaitable[Any]) -> Any:
        try:
            return _ran(what, await result)
        except Exception as exc:
            asks = wish_of(exc, rules.retry_on, rules.discard_on) is not None
            if not (asks and await in_thread(settled, job, exc)):
                raise

    found: Any = async_handler if is_async(function) else handler
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):  # an object or a partial has not all of them
        setattr(found, name, getattr(function, name, typed.jobtype if name != "__doc__" else None))
    return backed(found, Backing(door.managed, rules.needs, settled, door.seen, door.take_server))


def _ran(what: str, result: Any) -> Any:
    """Return what the function returned, or who skipped it. Raises `ConfigurationError` for what did not run."""
    if result is not None:
        check_result(what, result)
    return result
