"""Middleware around a call: what ran, what was skipped on purpose, and what only seemed to run. Pure.

A job is done when the innermost function was called, and awaited where it is async. Middleware that returns without
having gone on has skipped the job, which is told by a `Skipped`; anything else that keeps a job from running is an
error that names the middleware.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from types import CoroutineType
from typing import Any

from ..errors import ConfigurationError
from .callables import forget, is_awaitable, place_of, unrun

Around = Callable[[Any, Callable[..., Any]], Any]
"""Called as `fn(subject, call_next)`; `call_next()` goes on with the same subject, `call_next(other)` with another."""


_ADVICE = (
    ("a generator", "loop over it, or take the yield out"),
    ("a context manager", "enter it with `with`"),
    ("a lazy map", "loop over it"),
    ("a lazy filter", "loop over it"),
)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A job that did not run, as middleware ended it on purpose; `by` is its name and place."""

    by: str


def check_result(what: str, result: object) -> Skipped | None:
    """Return what a result tells of a job that was skipped further in; None for one that ran.

    Raises `ConfigurationError` for a result that still waits to be run, which would never happen.
    """
    if isinstance(result, Skipped):
        return result
    check_ran(what, result)
    return None


def check_ran(what: str, result: object) -> None:
    """Raise `ConfigurationError` for a result that still waits to be run; `what` names who returned it."""
    kind = unrun(result)
    if kind is not None:
        forget(result)
        advice = next(
            (advice for ending, advice in _ADVICE if kind.endswith(ending)),
            "await it there, or use asyncio.run(...) in a plain function",
        )
        raise ConfigurationError(f"{what} returned {kind}, which nothing here runs; {advice}")


class Waiting:
    """The rest of a call whose result must be awaited: `finish(result)` is called, and awaited, when this is."""

    def __init__(self, result: Any, finish: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        self._result = result
        self._finish = finish

    def __await__(self) -> Any:
        return self._finish(self._result).__await__()

    def close(self) -> None:
        """Let go of what nobody is going to await."""
        forget(self._result)


def compose(
    middleware: Iterable[Around], function: Callable[[Any], Any], what: str, *, may_wait: bool = False
) -> Callable[[Any], Any]:
    """Return plain `function` wrapped in plain middleware, the first outermost; `what` names the function in errors.

    The call returns what the outermost returned, or `Skipped`. Without middleware it is the function itself, whose
    results are for the caller to check. With `may_wait` the function may return something to be awaited, which the
    middleware must return then, and the call does.
    """
    wrappers = tuple(middleware)
    if not wrappers:
        return function

    def call(subject: Any) -> Any:
        passage = _Passage(wrappers, function, what, may_wait=may_wait)
        try:
            result = passage.enter(0, subject)
        except BaseException:
            forget(passage.pending)
            raise
        if passage.pending is not None:
            return Waiting(result, passage.finish)
        return passage.end() or result

    return call


def compose_async(
    middleware: Iterable[Around], function: Callable[[Any], Any], what: str
) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """Async twin of `compose`: the function and the middleware may be async, and each `call_next()` must be awaited."""
    wrappers = tuple(middleware)

    async def call(subject: Any) -> Any:
        passage = _Passage(wrappers, function, what)
        result = await passage.aenter(0, subject)
        return passage.end() or result

    return call


class _Passage:
    """One call on its way through its middleware."""

    __slots__ = (
        "_function",
        "_furthest",
        "_has_run",
        "_inner",
        "_is_over",
        "_may_wait",
        "_running",
        "_what",
        "_wrappers",
        "pending",
    )

    def __init__(
        self, wrappers: tuple[Around, ...], function: Callable[[Any], Any], what: str, *, may_wait: bool = False
    ) -> None:
        self.pending: Waiting | None = None
        """The function's result, when it has to be awaited."""
        self._may_wait = may_wait
        self._wrappers = wrappers
        self._function = function
        self._what = what
        self._furthest = 0  # index of the furthest that was reached
        self._has_run = False
        self._running = 0
        self._inner: Skipped | None = None
        self._is_over = False

    def end(self) -> Skipped | None:
        """Tell who kept the function from running, here or further in. Raises for one that goes on elsewhere."""
        self._is_over = True
        if self._running:
            raise ConfigurationError(
                f"the middleware around {self._what} did not wait for call_next(), which goes on in another thread or "
                "task; wait for it before you return"
            )
        return self._inner if self._has_run else Skipped(place_of(self._wrappers[self._furthest]))

    def enter(self, index: int, subject: Any) -> Any:
        """Call the middleware of this index, or the function behind the last."""
        if index == len(self._wrappers):
            self._begin()
            try:
                result = self._function(subject)
                if self._may_wait and is_awaitable(result):
                    self._running += 1  # until it has been awaited
                    self.pending = Waiting(result, self._await)
                    return self.pending
                return self._checked(result)
            finally:
                self._running -= 1
        wrapper = self._wrappers[index]

        def call_next(other: Any = subject) -> Any:
            self._furthest = max(self._furthest, index + 1)
            return self.enter(index + 1, other)

        result = wrapper(subject, call_next)
        if self.pending is not None:
            if not is_awaitable(result):
                raise ConfigurationError(_unawaited(wrapper))
        elif result is not None:
            self._check_returned(wrapper, result)
        return result

    def _check_returned(self, wrapper: Around, result: object) -> None:
        """Refuse what still waits to be run, or called: `return call_next`, say."""
        what = f"the middleware {place_of(wrapper)}"
        check_ran(what, result)
        if callable(result) and not self._has_run:
            raise ConfigurationError(
                f"{what} returned a function without having called call_next(), so that the job did not run; write "
                "`return call_next()`, or return nothing to skip the job"
            )

    async def _await(self, result: Any) -> Any:
        found = self._checked(await result)
        self._running -= 1
        return found

    async def finish(self, result: Any) -> Any:
        """Await what the outermost returned."""
        found = await result
        return self.end() or found

    async def aenter(self, index: int, subject: Any) -> Any:
        """Async twin of `enter`."""
        if index == len(self._wrappers):
            self._begin()
            try:
                result = self._function(subject)
                return self._checked(await result if is_awaitable(result) else result)
            finally:
                self._running -= 1
        wrapper = self._wrappers[index]
        begun: list[Any] = []

        def call_next(other: Any = subject) -> Any:
            self._furthest = max(self._furthest, index + 1)
            begun.append(self.aenter(index + 1, other))
            return begun[-1]

        try:
            result = wrapper(subject, call_next)
            if is_awaitable(result):
                result = await result
            _check_awaited(wrapper, begun)
            self._check_returned(wrapper, result)
            return result
        finally:
            for coroutine in begun:
                forget(coroutine)

    def _begin(self) -> None:
        if self._is_over:
            raise ConfigurationError(
                f"call_next() came too late: the middleware around {self._what} has returned, and the job is settled"
            )
        self._has_run = True
        self._running += 1

    def _checked(self, result: Any) -> Any:
        """Return the function's result for the middleware; what was skipped further in is kept for the end."""
        self._inner = check_result(self._what, result) if result is not None else None
        return result if self._inner is None else None


def _check_awaited(wrapper: Around, begun: list[CoroutineType[Any, Any, Any]]) -> None:
    if any(coroutine.cr_frame is not None for coroutine in begun):
        raise ConfigurationError(_unawaited(wrapper))


def _unawaited(wrapper: Around) -> str:
    return (
        f"the middleware {place_of(wrapper)} did not await what call_next() gave it, so that the job did not run; make "
        "it `async def` and `await call_next()`, or return what call_next() gives"
    )
