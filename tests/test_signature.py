"""`faktory.signature`: calls become args, and args become calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from faktory.errors import ConfigurationError, InvalidJob
from faktory.signature import Signature

if TYPE_CHECKING:
    from faktory.context import JobContext


class Context:
    pass


class Unknown:
    pass


def of(function: Callable[..., Any], names: dict[str, Any] | None = None) -> Signature:
    return Signature("work", function, Context, names)


def plain(a: int, b: str = "x", c: float = 1.5) -> None: ...


def rest(a: int, /, *others: str) -> None: ...


def bare(a, b=2):  # type: ignore[no-untyped-def]
    ...


def test_a_call_is_sent_by_position() -> None:
    signature = of(plain)
    assert signature.dump((1,), {}) == [1]
    assert signature.dump((1, "y"), {}) == [1, "y"]
    assert signature.dump((1,), {"b": "y"}) == [1, "y"]
    assert signature.dump((), {"b": "y", "a": 1}) == [1, "y"]
    assert signature.dump((1,), {"c": 2.5}) == [1, "x", 2.5]  # what lies between is filled in
    assert of(rest).dump((1, "a", "b"), {}) == [1, "a", "b"]
    assert of(bare).dump(([1], None), {}) == [[1], None]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        (plain, (), {}, "misses the argument 'a'"),
        (plain, (), {"b": "y"}, "misses the argument 'a'"),
        (plain, (1, "x", 1.5, 2), {}, "takes at most 3 arguments, got 4"),
        (plain, (1,), {"a": 2}, "got two values for the argument 'a'"),
        (plain, (1,), {"d": 2}, "takes no argument named 'd'"),
        (rest, (), {"a": 1}, "misses the argument 'a'"),
    ],
)
def test_a_wrong_call_is_a_type_error(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        of(function).dump(args, kwargs)


def test_args_are_loaded_where_they_need_it() -> None:
    signature = of(plain)
    assert signature.load([1]) == [1]
    assert signature.load([1, "a", 2]) == [1, "a", 2.0]
    assert of(rest).load([1, "a", "b"]) == [1, "a", "b"]
    args = [1, "a"]
    assert of(lambda a, b: None).load(args) == args


def test_args_that_need_nothing_are_taken_as_they_are() -> None:
    def two(a: int, b: str) -> None: ...

    args = [1, "a"]
    assert of(two).load(args) is args


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (plain, [], "takes 1 to 3 args, got 0"),
        (plain, [1, "a", 1.5, 2], "takes 1 to 3 args, got 4"),
        (rest, [], "takes at least 1 args, got 0"),
        (lambda a: None, [], "takes 1 args, got 0"),
        (plain, ["x"], "args[0] must be int, got str; it is the argument 'a' of 'work'"),
        (rest, [1, "a", 2], "args[2] must be str, got int; it is the argument 'others' of 'work'"),
    ],
)
def test_args_that_do_not_fit_are_refused(function: Callable[..., Any], args: list[Any], message: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        of(function).load(args)
    assert message in str(caught.value)


def test_a_bad_argument_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidJob, match=r"args\[1\] must be str, got int; it is the argument 'b' of 'work'"):
        of(plain).dump((1, 2), {})


def test_a_value_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidJob, match=r"args\[0\] is nested deeper than the stack has room"):
        of(bare).dump((endless,), {})


def test_what_a_class_refuses_keeps_its_cause() -> None:
    @dataclass
    class Even:
        n: int

        def __post_init__(self) -> None:
            if self.n % 2:
                raise ValueError("odd")

    def work(even: Even) -> None: ...

    with pytest.raises(InvalidJob, match="got ValueError: odd") as caught:
        of(work, locals()).load([{"n": 1}])
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda *, a: None, "has the keyword-only parameter a, but a job's arguments travel by position; move it"),
        (lambda **options: None, "has the keyword-only parameter \\*\\*options"),
    ],
)
def test_what_cannot_be_sent_by_position_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        of(function)


def test_a_type_that_cannot_travel_is_refused_by_the_parameters_name() -> None:
    def work(a: int, thing: Unknown) -> None: ...

    with pytest.raises(ConfigurationError, match="the parameter 'thing' of the job 'work' has Unknown, which cannot"):
        of(work)


def test_a_name_may_come_later() -> None:
    def work(a: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    signature = of(work)
    with pytest.raises(ConfigurationError, match="an annotation of the job 'work' cannot be read: name 'Later'"):
        signature.check()
    globals()["Later"] = int
    try:
        assert signature.load([1]) == [1]
        assert signature.check() is signature.check()
    finally:
        del globals()["Later"]


def test_a_leading_context_is_no_argument() -> None:
    def work(ctx: Context, a: int) -> None: ...

    signature = of(work)
    assert signature.takes_context
    assert signature.dump((1,), {}) == [1]
    assert not of(plain).takes_context


def test_a_context_may_be_imported_for_type_checkers_only() -> None:
    def work(ctx: JobContext, a: int) -> None: ...

    kind = type("JobContext", (), {})
    assert Signature("work", work, kind).takes_context
    assert not Signature("work", lambda a: None, kind).takes_context


def test_a_qualifier_that_no_parameter_has_is_told() -> None:
    def work(a: Final[int]) -> None: ...  # type: ignore[valid-type]

    with pytest.raises(ConfigurationError, match=r"the parameter 'a' of the job 'work' has Final\[int\], which cannot"):
        Signature("work", work, Context)


class Sender:
    def __call__(self, ctx: Context, n: int) -> None: ...


def send(ctx: Context, a: int, b: str = "") -> None: ...


def test_objects_and_partials_have_the_parameters_that_are_left() -> None:
    for function, args in (
        (Sender(), [5]),
        (functools.partial(functools.partial(send), b="x"), [5]),
        (Sender().__call__, [5]),
    ):
        signature = Signature("work", function, Context)
        assert signature.takes_context
        assert signature.load(args) == args
        with pytest.raises(InvalidJob):
            signature.load([None])


def test_a_context_without_an_annotation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="parameter of the job 'work' is called ctx and not annotated"):
        Signature("work", lambda ctx, a: None, Context)
