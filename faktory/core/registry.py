"""Job types and what runs them: the handlers, and the middleware around each call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ..job import Job
from ..protocol.address import Address
from .callables import can_take, check_runs, place_of
from .chain import compose
from .managed import Managed

HandlerFunction = Callable[[Job], Any]
"""Gets the job. Returning means success, whatever is returned; raising means failure."""
Middleware = Callable[[Job, Callable[..., Any]], Any]
"""Called as `fn(job, call_next)` around a handler; `call_next()` goes on with the same job."""

_COMPARED = 200  # characters of an unknown job type that are compared with the known ones, which takes time


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind the handler of a typed job: its app, and what the job says of itself.

    Only what `backed` has made has one, whatever attributes a user's function may have.
    """

    managed: Managed
    """The managed values of its app, below those of the consumer."""
    needs: tuple[type[Any], ...]
    """The managed types that are made before it runs."""
    settle: Callable[[Job, BaseException], bool]
    """Does what an exception of the job asks for; False when it is a failure."""
    seen: Callable[[], dict[str, Any]]
    """Tells what its app has got around its jobs, to be compared between worker and child."""
    take_server: Callable[[Address], None]
    """Has its app push to a server."""


def backed(function: HandlerFunction, backing: Backing) -> HandlerFunction:
    """Return a function of ours, as the handler of a typed job."""
    vars(function)["__faktory_backing__"] = backing
    return function


def backing_of(function: object) -> Backing | None:
    """Return what stands behind a handler; None for a user's plain function."""
    backing = getattr(function, "__faktory_backing__", None)
    return backing if isinstance(backing, Backing) else None


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler: `call` runs it within its middleware; `timeout` in seconds, None for the reservation's."""

    jobtype: str
    function: HandlerFunction
    timeout: float | None
    call: HandlerFunction
    settle: Callable[[Job, BaseException], bool] | None = None
    """Does what an exception of the job asks for; False when it is a failure."""
    backing: Backing | None = None
    """What stands behind the handler of a typed job."""


class Registry:
    """Handlers by exact job type. Nothing is ever imported or looked up by the name in a job."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[HandlerFunction, float | None]] = {}
        self.middleware: list[Middleware] = []
        """The first added is the outermost."""
        self.outermost: tuple[Middleware, ...] = ()
        """What goes around all middleware, and is no part of the program: observers."""
        self.settle: Callable[[Job, BaseException], bool] | None = None
        """Of the handlers that have none of their own."""

    def register(self, jobtype: str, function: HandlerFunction, timeout: float | None = None) -> None:
        """Add a handler. Raises `ConfigurationError` for one that could not be called with a job."""
        if not isinstance(jobtype, str) or not jobtype:
            raise ConfigurationError(f"a job type must be a non-empty text, got {jobtype!a:.60}")
        if not callable(function):
            raise ConfigurationError(f"the handler of {jobtype!a} must be callable, got {type(function).__name__}")
        if jobtype in self._found:
            raise ConfigurationError(
                f"the job type {jobtype!a} is registered twice: {place_of(self._found[jobtype][0])} and "
                f"{place_of(function)}"
            )
        if timeout is not None and (
            isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 86_400
        ):
            raise ConfigurationError(
                f"the timeout of {jobtype!a} must be seconds, above 0 and at most 86,400, got {timeout!a:.60}"
            )
        _check_call(jobtype, function)
        self._found[jobtype] = (function, timeout)

    def use(self, middleware: Middleware) -> None:
        """Add middleware; the first added is the outermost."""
        check_around(middleware, "middleware", "job, call_next")
        self.middleware.append(middleware)

    def entries(self) -> Iterator[tuple[str, HandlerFunction, float | None]]:
        """Yield each job type, its function without middleware, and its timeout."""
        for jobtype, (function, timeout) in self._found.items():
            yield jobtype, function, timeout

    @property
    def around(self) -> list[Middleware]:
        """All that goes around a handler, the outermost first."""
        return [*self.outermost, *self.middleware]

    def build(self) -> dict[str, Handler]:
        """Return the handlers by job type, each wrapped in the middleware."""
        return {jobtype: self._built(jobtype, *found) for jobtype, found in self._found.items()}

    def _built(self, jobtype: str, function: HandlerFunction, timeout: float | None) -> Handler:
        backing = backing_of(function)
        settle = self.settle if backing is None else backing.settle
        call = compose(self.around, function, handler_of(jobtype))
        return Handler(jobtype, function, timeout, call, settle, backing)


def unknown_jobtype(jobtype: str, known: Iterable[str]) -> str:
    """Return the message for a job that nothing is registered for, with the names that come near."""
    from difflib import get_close_matches  # slow to import, and rarely needed

    near = get_close_matches(jobtype[:_COMPARED], list(known), n=3)
    hint = f"; did you mean {', '.join(map(ascii, near))}?" if near else ""
    return f"no handler is registered for the job type {jobtype!a:.200}{hint}"


def _check_call(jobtype: str, function: HandlerFunction) -> None:
    """Refuse a function that would run nothing, and a plain one that cannot take the job as its one argument."""
    check_runs(function, f"{handler_of(jobtype)} at", "make it a plain function")
    if not can_take(function, 1):
        raise ConfigurationError(
            f"the handler of {jobtype!a} at {place_of(function)} must take one argument, the job; its arguments are in "
            "job.args"
        )


def handler_of(jobtype: str) -> str:
    """Return what messages call the handler of a job type."""
    return f"the handler of {jobtype!a}"


def check_around(function: object, what: str, arguments: str) -> None:
    """Refuse middleware that could not be called, or would run nothing; `what` it is called in the error.

    Raises `ConfigurationError`.
    """
    if not callable(function):
        raise ConfigurationError(f"{what} must be callable, got {type(function).__name__}")
    if isinstance(function, type):
        raise ConfigurationError(
            f"the {what} {function.__qualname__} is a class, so that calling it would make an object and run nothing; "
            f"give an object whose __call__ takes ({arguments})"
        )
    check_runs(function, f"the {what}", "call call_next() where the yield stands, and return what it returns")
    if not can_take(function, 2):
        raise ConfigurationError(f"the {what} {place_of(function)} must take two arguments: {arguments}")
