"""Job types and what runs them: the handlers, and the middleware around each call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any

from .errors import ConfigurationError
from .job import Job

HandlerFunction = Callable[[Job], Any]
"""Gets the job. Returning means success, whatever is returned; raising means failure."""
Middleware = Callable[[Job, Callable[..., Any]], Any]
"""Called as `fn(job, call_next)` around a handler; `call_next()` goes on with the same job."""

# Flags of code objects, as in inspect, which is slow to import.
_TAKES_ANY = 0x04  # *args
_GENERATOR = 0x20
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200

_COMPARED = 200  # characters of an unknown job type that are compared with the known ones, which takes time


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler: `call` runs it within its middleware; `timeout` in seconds, None for the reservation's."""

    jobtype: str
    function: HandlerFunction
    timeout: float | None
    call: HandlerFunction


class Registry:
    """Handlers by exact job type. Nothing is ever imported or looked up by the name in a job."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[HandlerFunction, float | None]] = {}
        self.middleware: list[Middleware] = []
        """The first added is the outermost."""

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
        if not callable(middleware):
            raise ConfigurationError(f"middleware must be callable, got {type(middleware).__name__}")
        if not can_take(middleware, 2):
            raise ConfigurationError(f"the middleware {place_of(middleware)} must take two arguments: job, call_next")
        self.middleware.append(middleware)

    def entries(self) -> Iterator[tuple[str, HandlerFunction, float | None]]:
        """Yield each job type, its function without middleware, and its timeout."""
        for jobtype, (function, timeout) in self._found.items():
            yield jobtype, function, timeout

    def build(self) -> dict[str, Handler]:
        """Return the handlers by job type, each wrapped in the middleware."""
        return {
            jobtype: Handler(jobtype, function, timeout, compose(self.middleware, function))
            for jobtype, (function, timeout) in self._found.items()
        }


def compose(middleware: Iterable[Middleware], function: HandlerFunction) -> HandlerFunction:
    """Return `function` wrapped in middleware, the first outermost."""
    call = function
    for wrapper in reversed(list(middleware)):
        call = _wrapped(wrapper, call)
    return call


def _wrapped(wrapper: Middleware, inner: HandlerFunction) -> HandlerFunction:
    def call(job: Job) -> Any:
        def call_next(other: Job = job) -> Any:
            return inner(other)

        return wrapper(job, call_next)

    return call


def check_result(jobtype: str, result: object) -> None:
    """Raise `ConfigurationError` for a result that still waits to be run: nothing in a thread or a child would."""
    if hasattr(result, "__await__"):
        close = getattr(result, "close", None)
        if close is not None:
            close()  # else Python warns of a coroutine that nobody awaited
        raise ConfigurationError(
            f"the handler of {jobtype!a} returned an awaitable, which nothing here runs; call asyncio.run(...) in the "
            "handler"
        )


def is_async(function: object) -> bool:
    """True for a function whose call gives a coroutine, however it is wrapped in partials or a callable object."""
    return bool(_flags(function) & (_COROUTINE | _ASYNC_GENERATOR))


def _flags(function: object) -> int:
    """Return the flags of the code that a call would run, 0 where it cannot be seen."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  # its code is wanted
    return code.co_flags if code is not None else 0


def is_generator(function: object) -> bool:
    """Tell whether calling a function would only make a generator, and run nothing."""
    return bool(_flags(function) & (_GENERATOR | _ASYNC_GENERATOR))


def unknown_jobtype(jobtype: str, known: Iterable[str]) -> str:
    """Return the message for a job that nothing is registered for, with the names that come near."""
    from difflib import get_close_matches  # slow to import, and rarely needed

    near = get_close_matches(jobtype[:_COMPARED], list(known), n=3)
    hint = f"; did you mean {', '.join(map(ascii, near))}?" if near else ""
    return f"no handler is registered for the job type {jobtype!a:.200}{hint}"


def _check_call(jobtype: str, function: HandlerFunction) -> None:
    """Refuse a function that would run nothing, and a plain one that cannot take the job as its one argument."""
    if is_generator(function):
        raise ConfigurationError(
            f"the handler of {jobtype!a} at {place_of(function)} has a yield, so that calling it would run nothing; "
            "make it a plain function"
        )
    if not can_take(function, 1):
        raise ConfigurationError(
            f"the handler of {jobtype!a} at {place_of(function)} must take one argument, the job; its arguments are in "
            "job.args"
        )


def can_take(function: object, arguments: int) -> bool:
    """Tell whether a function can be called with so many positional arguments; True when that cannot be seen."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return True  # a builtin, a class, a partial, a mock: what it takes shows when it is called
    bound = 1 if getattr(function, "__self__", None) is not None else 0
    positional = code.co_argcount - bound
    required = positional - len(getattr(function, "__defaults__", None) or ())
    keywords = code.co_kwonlyargcount - len(getattr(function, "__kwdefaults__", None) or ())
    takes_any = bool(code.co_flags & _TAKES_ANY)
    return required <= arguments and keywords <= 0 and (positional >= arguments or takes_any)


def place_of(function: object) -> str:
    """Return a function's name, and file and line where they are known."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else str(name)
