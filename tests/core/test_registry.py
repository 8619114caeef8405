"""`faktory.core.registry`: who runs which job, what is refused when registering, and middleware."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faktory.core.managed import Managed
from faktory.core.registry import Backing, Registry, backed, backing_of, unknown_jobtype
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

    def no_arguments(self) -> None: ...

    def nothing_at_all() -> None: ...  # type: ignore[misc]

    def anything(*args: Any) -> Any:
        return args[-1].args

    @classmethod
    def of_class(cls, job: Job) -> Any:
        return job.args

    @staticmethod
    def of_nothing(job: Job) -> Any:
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


def refusal(jobtype: Any, function: Any, timeout: Any = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Registry().register(jobtype, function, timeout)
    return str(refused.value)


# -- registering ----------------------------------------------------------------------------------------------------


def test_a_registered_handler_is_found_by_its_exact_type() -> None:
    """W8: never by a name that merely exists somewhere, as `toString` does in JavaScript's objects."""
    registry = Registry()
    registry.register("resize", resize, 30)
    handlers = registry.build()
    assert set(handlers) == {"resize"}
    handler = handlers["resize"]
    assert (handler.jobtype, handler.function, handler.timeout) == ("resize", resize, 30)
    assert handler.call(JOB) == [1]
    for other in ("Resize", "resize ", "__init__", "build", ""):
        assert other not in handlers


def with_default(job: Job, size: int = 3) -> Any:
    return job.args


def with_keyword(job: Job, *, size: int = 3) -> Any:
    return job.args


def with_everything(*args: Any, **named: Any) -> Any:
    return args[0].args


@pytest.mark.parametrize(
    "function",
    [
        resize,
        with_default,
        with_keyword,
        with_everything,
        lambda job: job.args,
        Handlers().plain,
        Handlers().anything,
        Handlers.of_class,
        Handlers.of_nothing,
        Callable1(),
        functools.partial(with_default, size=2),
        operator.attrgetter("args"),
        MagicMock(side_effect=resize),
    ],
)
def test_whatever_takes_one_argument_can_be_a_handler(function: Any) -> None:
    registry = Registry()
    registry.register("resize", function)
    assert registry.build()["resize"].call(JOB) == [1]


@pytest.mark.parametrize("function", [str, len, functools.partial(divmod, 7)])
def test_a_callable_whose_arguments_cannot_be_seen_is_taken(function: Any) -> None:
    """W9: what it takes shows when it is called."""
    registry = Registry()
    registry.register("resize", function)
    assert registry.build()["resize"].function is function


def two(job: Job, size: int) -> None: ...
def none() -> None: ...
def only_named(*, job: Job) -> None: ...
def needs_named(job: Job, *, size: int) -> None: ...
def only_others(**named: Any) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        two,
        none,
        only_named,
        needs_named,
        only_others,
        Handlers.plain,
        Handlers().no_arguments,
        Handlers().nothing_at_all,  # type: ignore[misc]
    ],
)
def test_a_handler_that_cannot_take_the_job_is_refused(function: Any) -> None:
    """W9, found before the first job."""
    said = refusal("resize", function)
    place = f"{function.__qualname__} ({__file__}:{function.__code__.co_firstlineno})"
    assert said == (
        f"the handler of 'resize' at {place} must take one argument, the job; its arguments are in job.args"
    )


@pytest.mark.parametrize(
    "function",
    [
        resize_lazily,
        resize_lazily_async,
        Handlers().lazily,
        CallableLazily(),
        functools.partial(resize_lazily),
    ],
)
def test_a_generator_function_is_refused(function: Any) -> None:
    """Calling one runs nothing of it: every job would be ACKed undone, as in W8."""
    said = refusal("resize", function)
    assert said.startswith("the handler of 'resize' at ")
    assert said.endswith(" has a yield, so that calling it would run nothing; make it a plain function")


@pytest.mark.parametrize("jobtype", ["", None, 7, b"resize", ["resize"]])
def test_a_job_type_that_is_no_text_is_refused(jobtype: Any) -> None:
    assert refusal(jobtype, resize) == f"a job type must be a non-empty text, got {jobtype!a}"


@pytest.mark.parametrize(("function", "kind"), [(None, "NoneType"), ("resize", "str"), (7, "int")])
def test_a_handler_that_cannot_be_called_is_refused(function: Any, kind: str) -> None:
    assert refusal("resize", function) == f"the handler of 'resize' must be callable, got {kind}"


@pytest.mark.parametrize("timeout", [0, -1, 86_400.1, float("nan"), float("inf"), True, "30", 1j])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    expected = f"the timeout of 'resize' must be seconds, above 0 and at most 86,400, got {timeout!a}"
    assert refusal("resize", resize, timeout) == expected


@pytest.mark.parametrize("timeout", [None, 0.001, 30, 86_400])
def test_the_ends_of_the_range_of_timeouts_are_taken(timeout: float | None) -> None:
    registry = Registry()
    registry.register("resize", resize, timeout)
    assert registry.build()["resize"].timeout == timeout


def test_a_job_type_registered_twice_is_refused_naming_both_places() -> None:
    registry = Registry()
    registry.register("resize", resize)
    with pytest.raises(ConfigurationError) as refused:
        registry.register("resize", print)
    first = f"resize ({__file__}:{resize.__code__.co_firstlineno})"
    assert str(refused.value) == f"the job type 'resize' is registered twice: {first} and print"


def test_a_place_without_a_name_is_told_by_its_type() -> None:
    registry = Registry()
    registry.register("resize", Callable1())
    with pytest.raises(ConfigurationError, match=r"registered twice: Callable1 \(.*\) and partial of resize \(.*\)$"):
        registry.register("resize", functools.partial(resize))


# -- middleware -----------------------------------------------------------------------------------------------------


def traced(name: str, calls: list[str]) -> Callable[[Job, Callable[..., Any]], Any]:
    def middleware(job: Job, call_next: Callable[..., Any]) -> Any:
        calls.append(f"{name} before")
        result = call_next()
        calls.append(f"{name} after")
        return result

    return middleware


def test_the_first_middleware_is_the_outermost() -> None:
    calls: list[str] = []
    registry = Registry()
    registry.use(traced("outer", calls))
    registry.use(traced("inner", calls))
    registry.register("resize", lambda job: calls.append("handler"))
    registry.build()["resize"].call(JOB)
    assert calls == ["outer before", "inner before", "handler", "inner after", "outer after"]


def test_middleware_added_after_the_handler_counts_too() -> None:
    calls: list[str] = []
    registry = Registry()
    registry.register("resize", resize)
    registry.use(traced("late", calls))
    assert registry.build()["resize"].call(JOB) == [1]
    assert calls == ["late before", "late after"]


@pytest.mark.parametrize(("middleware", "kind"), [(None, "NoneType"), ("log", "str")])
def test_middleware_that_cannot_be_called_is_refused(middleware: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Registry().use(middleware)
    assert str(refused.value) == f"middleware must be callable, got {kind}"


# -- unknown types --------------------------------------------------------------------------------------------------


def test_an_unknown_type_is_told_with_the_names_that_come_near() -> None:
    """W8."""
    said = unknown_jobtype("risize", ["resize", "resize2", "mail"])
    assert said == "no handler is registered for the job type 'risize'; did you mean 'resize', 'resize2'?"


def test_at_most_three_names_are_hinted_at() -> None:
    assert unknown_jobtype("resize", [f"resize{number}" for number in range(9)]).count("'resize") == 1 + 3


def test_an_unknown_type_like_no_other_gets_no_hint() -> None:
    assert unknown_jobtype("mail", ["resize"]) == "no handler is registered for the job type 'mail'"
    assert unknown_jobtype("mail", []) == "no handler is registered for the job type 'mail'"


def test_an_unknown_type_cannot_break_the_line_of_a_log() -> None:
    assert unknown_jobtype("a\r\nb\x1b\ud800", []).endswith(r"'a\r\nb\x1b\ud800'")


def test_an_unknown_type_of_megabytes_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for near names goes through every character of it, slowly."""
    import difflib

    compared: list[int] = []
    original = difflib.get_close_matches

    def watched(word: str, *args: Any, **named: Any) -> list[str]:
        compared.append(len(word))
        return original(word, *args, **named)

    monkeypatch.setattr(difflib, "get_close_matches", watched)
    said = unknown_jobtype("r" * 10_000_000, ["resize", "r" * 50])
    assert len(said) < 300
    assert compared == [200]


@given(st.text(), st.lists(st.text(min_size=1), max_size=4))
def test_the_message_for_an_unknown_type_is_one_printable_line(jobtype: str, known: list[str]) -> None:
    said = unknown_jobtype(jobtype, known)
    assert said.isprintable()
    assert said.startswith("no handler is registered for the job type '") or '"' in said


def test_middleware_that_could_not_be_called_is_refused() -> None:
    registry = Registry()
    with pytest.raises(ConfigurationError, match="must take two arguments: job, call_next"):
        registry.use(lambda job: None)  # type: ignore[arg-type,misc]


def test_entries_are_the_functions_without_their_middleware() -> None:
    registry = Registry()
    registry.register("plain", resize, 3.0)
    registry.use(lambda job, call_next: call_next())
    assert list(registry.entries()) == [("plain", resize, 3.0)]
    assert len(registry.middleware) == 1


def test_a_class_is_no_middleware() -> None:
    class Around:
        def __call__(self, job: Job, call_next: Callable[..., Any]) -> Any:
            return call_next()

    registry = Registry()
    with pytest.raises(ConfigurationError, match=r"Around is a class.*; give an object whose __call__ takes \(job"):
        registry.use(Around)  # type: ignore[arg-type]
    registry.use(Around())


def test_middleware_with_a_yield_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"has a yield.*; call call_next"):
        Registry().use(resize_lazily)  # type: ignore[arg-type]


# -- what stands behind a typed job --------------------------------------------------------------------------------


def test_only_what_was_backed_by_us_has_a_backing() -> None:
    def plain(job: Job) -> None: ...

    for name in ("managed", "needs", "settle", "seen", "take_server", "__faktory_backing__"):
        setattr(plain, name, "of the user")
    assert backing_of(plain) is None
    assert backing_of(object()) is None

    def settle(job: Job, exc: BaseException) -> bool:
        return True

    backing = Backing(Managed(), (int,), settle, dict, lambda address: None)

    def typed(job: Job) -> None: ...

    assert backing_of(backed(typed, backing)) is backing
    registry = Registry()
    registry.register("plain", plain)
    registry.register("typed", typed)
    handlers = registry.build()
    assert (handlers["plain"].settle, handlers["plain"].backing) == (None, None)
    assert (handlers["typed"].settle, handlers["typed"].backing) == (settle, backing)
