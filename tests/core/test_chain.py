"""`faktory.core.chain`: middleware around a call, and whether what it goes around has run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from faktory.core.callables import place_of
from faktory.core.chain import Skipped, Waiting, check_result, compose, compose_async
from faktory.errors import ConfigurationError
from faktory.job import Job

JOB = Job("resize", [1])
WHAT = "the handler of 'resize'"
Next = Callable[..., Any]


def resize(job: Job) -> Any:
    return job.args


@contextmanager
def nullcontextmanager() -> Iterator[None]:
    yield


def test_without_middleware_the_handler_is_called_directly() -> None:
    """The hot path."""
    assert compose([], resize, WHAT) is resize


def test_middleware_may_go_on_with_another_job() -> None:
    other = Job("resize", [2])
    called: list[Job] = []
    compose([lambda job, call_next: call_next(other), lambda job, call_next: call_next()], called.append, WHAT)(JOB)
    assert called == [other]


def test_middleware_that_does_not_go_on_has_skipped_the_job_and_is_named() -> None:
    called: list[Job] = []

    def outer(job: Job, call_next: Next) -> Any:
        return call_next()

    def inner(job: Job, call_next: Next) -> Any:
        return "not today"

    assert compose([outer, inner, outer], called.append, WHAT)(JOB) == Skipped(place_of(inner))
    assert compose([inner, outer], called.append, WHAT)(JOB) == Skipped(place_of(inner))
    assert called == []


def test_a_job_that_was_skipped_further_in_is_skipped_whatever_goes_around_returns() -> None:
    further = compose([lambda job, call_next: None], resize, WHAT)
    seen: list[Any] = []

    def outer(job: Job, call_next: Next) -> Any:
        seen.append(call_next())
        return "mine"

    found = compose([outer], further, WHAT)(JOB)
    assert isinstance(found, Skipped)
    assert seen == [None]
    assert compose([outer], resize, WHAT)(JOB) == "mine"


@pytest.mark.parametrize(
    "around",
    [
        lambda job, call_next: call_next,
        lambda job, call_next: lambda: call_next(),
        lambda job, call_next: partial(call_next, job),
    ],
)
def test_middleware_that_returns_a_function_has_not_skipped_on_purpose(around: Any) -> None:
    """`return call_next` for `return call_next()`."""
    called: list[Job] = []
    with pytest.raises(ConfigurationError, match=r"returned a function without having called call_next\(\)") as failed:
        compose([lambda job, call_next: call_next() and None, around], called.append, WHAT)(JOB)
    assert place_of(around) in str(failed.value)
    with pytest.raises(ConfigurationError, match="returned a function"):
        asyncio.run(compose_async([around], called.append, WHAT)(JOB))
    assert called == []


def test_middleware_may_return_a_function_once_the_job_has_run() -> None:
    assert compose([lambda job, call_next: call_next() and resize], resize, WHAT)(JOB) is resize


@pytest.mark.parametrize(
    ("result", "advice"),
    [
        (map(resize, [JOB]), "returned a lazy map, which nothing here runs; loop over it"),
        ([map(resize, [JOB])], "returned a list that holds a lazy map, which nothing here runs; loop over it"),
        (nullcontextmanager(), "returned a context manager, which nothing here runs; enter it with `with`"),
    ],
)
def test_the_advice_fits_what_was_returned(result: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError) as failed:
        check_result(WHAT, result)
    assert str(failed.value) == f"{WHAT} {advice}"


def test_middleware_may_go_on_again() -> None:
    called: list[Job] = []

    def twice(job: Job, call_next: Next) -> None:
        call_next()
        call_next()

    assert compose([twice], called.append, WHAT)(JOB) is None
    assert called == [JOB, JOB]


def test_what_the_handler_raises_passes_through_middleware() -> None:
    seen: list[BaseException] = []
    error = SystemExit(3)

    def middleware(job: Job, call_next: Callable[..., Any]) -> Any:
        try:
            return call_next()
        except BaseException as exc:
            seen.append(exc)
            raise

    def handler(job: Job) -> None:
        raise error

    with pytest.raises(SystemExit):
        compose([middleware, middleware], handler, WHAT)(JOB)
    assert seen == [error, error]


def test_each_call_has_a_call_next_of_its_own_which_ends_with_it() -> None:
    kept: list[Next] = []
    called: list[Job] = []
    call = compose([lambda job, call_next: kept.append(call_next)], called.append, WHAT)
    assert isinstance(call(JOB), Skipped)
    with pytest.raises(ConfigurationError, match="came too late: the middleware around the handler of 'resize'"):
        kept[0]()
    assert called == []


def test_a_call_that_goes_on_in_another_thread_is_no_success() -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def elsewhere(job: Job, call_next: Next) -> None:
        threads.append(threading.Thread(target=call_next))
        threads[0].start()
        assert has_begun.wait(5)

    def slow(job: Job) -> None:
        has_begun.set()
        may_end.wait(5)

    with pytest.raises(ConfigurationError, match=r"did not wait for call_next\(\)"):
        compose([elsewhere], slow, WHAT)(JOB)
    may_end.set()
    threads[0].join(5)


# -- what seems to run ----------------------------------------------------------------------------------------------


def lazily(*_: Any) -> Iterator[None]:
    yield


async def wait(*_: Any) -> Any: ...


@pytest.mark.parametrize("bad", [lazily, wait, lambda *_: [wait()]])
def test_a_result_that_still_waits_is_an_error_that_names_who_returned_it(bad: Any) -> None:
    go_on: Any = lambda job, call_next: call_next()  # noqa: E731
    with pytest.raises(ConfigurationError, match=r"^the handler of 'resize' returned a"):
        compose([go_on], bad, WHAT)(JOB)
    hidden: Any = lambda job, call_next: bad(call_next())  # noqa: E731
    with pytest.raises(ConfigurationError, match=r"^the middleware .*<lambda> \(.*\) returned a.*, which nothing here"):
        compose([hidden], resize, WHAT)(JOB)
    with pytest.raises(ConfigurationError, match=r"^the handler of 'resize' returned a"):
        check_result(WHAT, bad())


def test_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="returned a generator, which nothing here runs; loop over it, or"):
        check_result(WHAT, lazily())
    with pytest.raises(ConfigurationError, match="returned an awaitable, which nothing here runs; await it there, or"):
        check_result(WHAT, wait())


def test_any_other_result_will_do() -> None:
    assert check_result(WHAT, object()) is None
    assert check_result(WHAT, Skipped("somebody")) == Skipped("somebody")


# -- async ----------------------------------------------------------------------------------------------------------


async def resize_async(job: Job) -> Any:
    await asyncio.sleep(0)
    return job.args


async def go_on_async(job: Job, call_next: Callable[..., Awaitable[Any]]) -> Any:
    return await call_next()


def go_on(job: Job, call_next: Next) -> Any:
    return call_next()


def in_a_task(job: Job, call_next: Next) -> Any:
    return asyncio.ensure_future(call_next())


async def with_another(job: Job, call_next: Callable[..., Awaitable[Any]]) -> Any:
    return await call_next(Job("resize", [2]))


@pytest.mark.parametrize("function", [resize, resize_async])
@pytest.mark.parametrize("around", [[], [go_on], [go_on_async], [go_on, go_on_async], [go_on_async, in_a_task]])
def test_async_and_plain_middleware_go_on(around: list[Any], function: Any) -> None:
    call = compose_async(around, function, WHAT)
    if around:
        assert asyncio.run(call(JOB)) == [1]
        assert asyncio.run(compose_async([*around, with_another], function, WHAT)(JOB)) == [2]


def forgets_to_return(job: Job, call_next: Next) -> None:
    call_next()


async def forgets_to_await(job: Job, call_next: Next) -> None:
    call_next()


async def returns_unawaited(job: Job, call_next: Next) -> Any:
    return call_next()


async def leaves_it_to_a_task(job: Job, call_next: Next) -> None:
    task = asyncio.ensure_future(call_next())
    await asyncio.sleep(0)
    task.add_done_callback(lambda _: None)


@pytest.mark.parametrize("around", [forgets_to_return, forgets_to_await, returns_unawaited, leaves_it_to_a_task])
def test_what_call_next_gave_must_have_been_awaited(around: Any) -> None:
    called: list[Job] = []

    async def slow(job: Job) -> None:
        await asyncio.sleep(0.01)
        called.append(job)

    with pytest.raises(ConfigurationError, match=r"did not await what call_next\(\) gave it") as caught:
        asyncio.run(compose_async([go_on, around, go_on_async], slow, WHAT)(JOB))
    assert place_of(around) in str(caught.value)
    assert called == []


def test_async_middleware_may_skip_a_job_or_fail_it() -> None:
    async def skip(job: Job, call_next: Next) -> None: ...

    assert asyncio.run(compose_async([go_on_async, skip], resize_async, WHAT)(JOB)) == Skipped(place_of(skip))

    async def fail(job: Job, call_next: Next) -> None:
        call_next()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(compose_async([go_on_async, fail], resize_async, WHAT)(JOB))


async def lazily_async(*_: Any) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("bad", [lambda job: lazily_async(), lambda job: lazily(), wait])
def test_what_an_async_function_returns_must_have_run(bad: Any) -> None:
    async def function(job: Job) -> Any:
        return bad(job)

    with pytest.raises(ConfigurationError, match=r"^the handler of 'resize' returned a"):
        asyncio.run(compose_async([go_on_async], function, WHAT)(JOB))

    async def around(job: Job, call_next: Next) -> Any:
        await call_next()
        return bad(job)

    with pytest.raises(ConfigurationError, match=r"^the middleware .* returned a"):
        asyncio.run(compose_async([around], resize_async, WHAT)(JOB))


# -- an async function that its decorator hides ---------------------------------------------------------------------


def hidden(job: Job) -> Any:
    return resize_async(job)


async def run(call: Any) -> Any:
    result = call(JOB)
    assert isinstance(result, Waiting)
    return await result


@pytest.mark.parametrize("around", [[go_on], [go_on, in_a_task]])
def test_what_a_hidden_async_function_returns_can_be_awaited(around: list[Any]) -> None:
    assert asyncio.run(run(compose(around, hidden, WHAT, may_wait=True))) == [1]
    assert compose(around[:1], resize, WHAT, may_wait=True)(JOB) == [1]

    async def lazy(job: Job) -> Any:
        return lazily()

    with pytest.raises(ConfigurationError, match=r"^the handler of 'resize' returned a generator"):
        asyncio.run(run(compose(around, lambda job: lazy(job), WHAT, may_wait=True)))


def test_middleware_must_return_what_a_hidden_async_function_returned() -> None:
    with pytest.raises(ConfigurationError, match=r"forgets_to_return .* did not await what call_next\(\) gave it"):
        compose([go_on, forgets_to_return], hidden, WHAT, may_wait=True)(JOB)

    def swap(job: Job, call_next: Next) -> Any:
        call_next().close()
        return asyncio.sleep(0)

    with pytest.raises(ConfigurationError, match=r"did not wait for call_next\(\)"):
        asyncio.run(run(compose([swap], hidden, WHAT, may_wait=True)))
    compose([go_on], hidden, WHAT, may_wait=True)(JOB).close()  # without a warning of a coroutine never awaited
