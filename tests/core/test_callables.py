"""`faktory.core.callables`: what a call of the user's functions does, and what is left of it to run."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from faktory.core.callables import (
    can_take,
    check_runs,
    forget,
    is_async,
    is_async_context_manager,
    is_context_manager,
    is_same_place,
    place_of,
    unrun,
)
from faktory.errors import ConfigurationError
from faktory.job import Job

JOB = Job("resize", [1])


def resize(job: Job) -> Any:
    return job.args


async def resize_async(job: Job) -> None: ...


def resize_lazily(job: Job) -> Iterator[None]:
    yield


async def resize_lazily_async(job: Job) -> AsyncIterator[None]:
    yield


class Handlers:
    def plain(self, job: Job) -> Any:
        return job.args

    async def wait(self, job: Job) -> None: ...

    def lazily(self, job: Job) -> Iterator[None]:
        yield


class Callable1:
    def __call__(self, job: Job) -> Any:
        return job.args


class CallableAsync:
    async def __call__(self, job: Job) -> None: ...


class CallableLazily:
    def __call__(self, job: Job) -> Iterator[None]:
        yield


# -- async or not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        resize_async,
        resize_lazily_async,
        Handlers().wait,
        Handlers.wait,
        CallableAsync(),
        staticmethod(resize_async),
        functools.partial(resize_async),
        functools.partial(functools.partial(resize_async), job=JOB),
        functools.partial(Handlers().wait),
        functools.partial(CallableAsync()),
        AsyncMock(),
    ],
)
def test_async_handlers_are_seen_through_their_wrappings(function: Any) -> None:
    assert is_async(function)


@pytest.mark.parametrize(
    "function",
    [
        resize,
        resize_lazily,
        Handlers().plain,
        Callable1(),
        CallableAsync,  # the class: calling it makes an object
        functools.partial(resize),
        functools.partial(Callable1()),
        len,
        str,
        operator.attrgetter("args"),
        asyncio.run,
        7,
    ],
)
def test_plain_handlers_are_not_async(function: Any) -> None:
    assert not is_async(function)


@pytest.mark.parametrize("mock", [Mock(), MagicMock()])
def test_a_mock_is_not_async(mock: Mock) -> None:
    """It has every attribute one asks for, without end."""
    assert not is_async(mock)


# -- what would run nothing -----------------------------------------------------------------------------------------


@contextmanager
def around(job: Job) -> Iterator[None]:
    yield


@asynccontextmanager
async def around_async(job: Job) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    "function",
    [
        resize_lazily,
        resize_lazily_async,
        Handlers().lazily,
        CallableLazily(),
        functools.partial(resize_lazily, JOB),
        functools.partial(CallableLazily(), JOB),
    ],
)
def test_a_function_with_a_yield_is_refused_with_its_place_and_what_to_write(function: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_runs(function, "the hook", "write it so")
    assert str(refused.value) == (
        f"the hook {place_of(function)} has a yield, so that calling it would run nothing; write it so"
    )
    assert __file__ in str(refused.value)


@pytest.mark.parametrize("function", [around, around_async, functools.partial(around, JOB)])
def test_a_context_manager_is_refused_with_the_place_of_its_function(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="makes a context manager, which nobody enters") as refused:
        check_runs(function, "the hook", "write it so")
    assert __file__ in str(refused.value)
    assert is_context_manager(function)


@pytest.mark.parametrize("function", [resize, resize_async, Callable1(), Callable1, len, Mock(), AsyncMock(), 7])
def test_what_runs_something_is_taken(function: Any) -> None:
    check_runs(function, "the hook", "write it so")
    assert not is_context_manager(function)


# -- arguments ------------------------------------------------------------------------------------------------------


def two(a: int, b: int = 0) -> None: ...
def named(a: int, *, b: int) -> None: ...
def any_number(*args: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "count", "fits"),
    [
        (two, 1, True),
        (two, 2, True),
        (two, 0, False),
        (two, 3, False),
        (named, 1, False),
        (any_number, 5, True),
        (Handlers().plain, 1, True),
        (Handlers().plain, 2, False),
        (len, 7, True),
        (functools.partial(two), 9, True),
    ],
)
def test_how_many_arguments_fit(function: Any, count: int, fits: bool) -> None:
    assert can_take(function, count) is fits


# -- places ---------------------------------------------------------------------------------------------------------


def test_a_place_is_a_name_with_file_and_line() -> None:
    line = resize.__code__.co_firstlineno
    assert place_of(resize) == f"resize ({__file__}:{line})"
    assert place_of(functools.partial(resize, JOB)) == f"partial of resize ({__file__}:{line})"
    assert place_of(Callable1()) == f"Callable1 ({__file__}:{Callable1.__call__.__code__.co_firstlineno})"
    assert place_of(around) == f"around ({__file__}:{around.__wrapped__.__code__.co_firstlineno})"  # type: ignore[attr-defined]
    assert place_of(print) == "print"
    assert place_of(operator.attrgetter("args")) == "attrgetter"


# -- results --------------------------------------------------------------------------------------------------------


class Awaitable:
    def __await__(self) -> Any: ...


class Done(Awaitable):
    def done(self) -> bool:
        return True


class Lines:
    def __aiter__(self) -> Any: ...

    def __anext__(self) -> Any: ...


def ended() -> Any:
    generator = resize_lazily(JOB)
    assert list(generator) == [None]
    return generator


def left() -> Any:
    context = around(JOB)
    with context:
        pass
    return context


def ended_async() -> Any:
    async def main() -> Any:
        generator = resize_lazily_async(JOB)
        async for _ in generator:
            pass
        return generator

    return asyncio.run(main())


def awaited() -> Any:
    coroutine = resize_async(JOB)
    asyncio.run(coroutine)
    return coroutine


def endless() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: resize_lazily(JOB), "a generator"),
        (lambda: resize_async(JOB), "an awaitable"),
        (Awaitable, "an awaitable"),
        (lambda: around(JOB), "a context manager"),
        (lambda: around_async(JOB), "a context manager"),
        (lambda: resize_lazily_async(JOB), "an async iterator"),
        (Lines, "an async iterator"),
        (lambda: [resize_async(JOB), 5], "a list that holds an awaitable"),
        (lambda: {"a": resize_async(JOB)}, "a dict that holds an awaitable"),
        (lambda: (resize_lazily(JOB),), "a tuple that holds a generator"),
        (lambda: map(resize, [JOB]), "a lazy map"),
        (lambda: filter(resize, [JOB]), "a lazy filter"),
        (lambda: deque([resize_async(JOB)]), "a deque that holds an awaitable"),
        (lambda: {"a": [resize_async(JOB)]}, "a dict that holds a list that holds an awaitable"),
    ],
)
def test_what_has_not_run_is_named(make: Callable[[], Any], kind: str) -> None:
    result = make()
    assert unrun(result) == kind
    forget(result)  # else Python warns, which fails the test


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        object,
        lambda: "text",
        lambda: [1, [resize]],
        dict,
        lambda: iter([1]),
        ended,
        awaited,
        left,
        ended_async,
        lambda: Lines,
        Done,
        Future,
        Mock,
        lambda: [1] * 1_000_000,
        lambda: [[[[]]]],
        endless,
    ],
)
def test_what_has_run_has_no_name(make: Callable[[], Any]) -> None:
    assert unrun(make()) is None


def test_a_coroutine_that_somebody_else_runs_is_left_alone() -> None:
    seen: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0)
        seen.append("done")

    async def main() -> None:
        coroutine = slow()
        task = asyncio.ensure_future(coroutine)
        await asyncio.sleep(0)
        assert unrun(coroutine) == "an awaitable"
        forget(coroutine)
        await task

    asyncio.run(main())
    assert seen == ["done"]
    forget(7)


def test_a_module_that_is_imported_again_has_its_functions_in_the_same_place() -> None:
    def made() -> object:
        def function() -> None: ...

        return function

    def other() -> None: ...

    assert is_same_place(made(), made())
    assert is_same_place(functools.wraps(other)(lambda: None), other)
    assert not is_same_place(made(), other)
    assert not is_same_place(len, len)  # of no source that could be the same


def test_an_async_context_manager_is_told_from_a_plain_one() -> None:
    @asynccontextmanager
    async def one() -> AsyncIterator[None]:
        yield

    @contextmanager
    def other() -> Iterator[None]:
        yield

    assert is_async_context_manager(one)
    assert not is_async_context_manager(other)
    assert is_context_manager(one)
    assert is_context_manager(other)


def test_whatever_can_be_awaited_and_closed_is_closed() -> None:
    class Odd:
        is_closed = False

        def __await__(self) -> Iterator[None]:
            yield

        def close(self) -> None:
            self.is_closed = True

    odd = Odd()
    forget(odd)
    assert odd.is_closed
