"""`faktory.typed.signature`: calls become args, and args become calls."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from faktory.errors import ConfigurationError, InvalidJob
from faktory.typed.signature import Signature, silent_changes

if TYPE_CHECKING:
    from faktory.typed.context import JobContext


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


# -- old jobs, new code ---------------------------------------------------------------------------------------------


def pay(user: int, amount: int) -> Any: ...
def renamed(customer: int, amount: int) -> Any: ...
def appended(user: int, amount: int, note: str = "none") -> Any: ...
def removed(user: int) -> Any: ...
def retyped(user: int, amount: list[int]) -> Any: ...
def needing(user: int, amount: int, currency: str) -> Any: ...
def swapped(amount: int, user: int) -> Any: ...
def inserted(user: int, currency: int = 978, amount: int = 0) -> Any: ...


OLD = (7, 25)

# By position and by name: what the new code gets, None for a failure that is told.
CHANGES: dict[str, tuple[Any, Any, Any]] = {
    "nothing": (pay, {"user": 7, "amount": 25}, {"user": 7, "amount": 25}),
    "rename": (renamed, {"customer": 7, "amount": 25}, None),
    "append with a default": (
        appended,
        {"user": 7, "amount": 25, "note": "none"},
        {"user": 7, "amount": 25, "note": "none"},
    ),
    "remove": (removed, None, None),
    "another type": (retyped, None, None),
    "append without a default": (needing, None, None),
    "swap": (swapped, {"amount": 7, "user": 25}, {"amount": 25, "user": 7}),
    "insert with a default": (
        inserted,
        {"user": 7, "currency": 25, "amount": 0},
        {"user": 7, "currency": 978, "amount": 25},
    ),
}
SILENT = ("swap", "insert with a default")


def outcome(args: list[Any], function: Any, *, by_name: bool) -> Any:
    try:
        found = Signature("pay", function, Context, by_name=by_name).load(args)
    except InvalidJob:
        return None
    bound = inspect.signature(function).bind(*found)
    bound.apply_defaults()
    return bound.arguments


@pytest.mark.parametrize("change", CHANGES)
def test_what_old_jobs_become_under_new_code(change: str) -> None:
    """27.5: README says which are safe, loud and silent."""
    function, by_place, by_name = CHANGES[change]
    args = Signature("pay", pay, Context).dump(OLD, {})
    assert outcome(args, function, by_name=False) == by_place
    named = Signature("pay", pay, Context, by_name=True)
    assert outcome(named.dump(OLD, {}), function, by_name=True) == by_name
    assert outcome(args, function, by_name=True) == by_place  # a job from before the switch

    def snapshot(of: Any, *, by_name: bool = False) -> dict[str, Any]:
        signature = Signature("pay", of, Context, by_name=by_name)
        return {"pay": {"by_name": signature.by_name, "parameters": signature.parameters}}

    told = silent_changes(snapshot(pay), snapshot(function))
    assert bool(told) is (change in SILENT)
    assert all("'pay' was number" in text for text in told)
    assert silent_changes(snapshot(pay, by_name=True), snapshot(function, by_name=True)) == []
    assert silent_changes(snapshot(pay), {}) == []


def test_by_name_arguments_travel_as_one_object() -> None:
    signature = Signature("pay", appended, Context, by_name=True)
    assert signature.dump([7], {"amount": 25}) == [{"user": 7, "amount": 25}]
    assert signature.dump([7, 25, "x"], {}) == [{"user": 7, "amount": 25, "note": "x"}]
    assert signature.load([{"amount": 25, "user": 7}]) == [7, 25, "none"]
    for args, words in (
        ([{"user": 7}], "misses the argument 'amount'"),
        ([{"user": 7, "amount": 1, "tip": 2}], "takes no argument named 'tip'"),
        ([{"user": 7, "amount": "x"}], r"args\[0\].amount must be int, got str; it is the argument 'amount' of 'pay'"),
    ):
        with pytest.raises(InvalidJob, match=words):
            signature.load(args)
    with pytest.raises(InvalidJob, match=r"args\[0\].amount must be int"):
        signature.dump([7, "x"], {})
    with pytest.raises(TypeError, match="misses the argument 'amount'"):
        signature.dump([7], {})


def test_an_object_pushed_by_position_is_not_taken_for_names() -> None:
    def store(document: dict[str, int]) -> None: ...

    signature = Signature("store", store, Context, by_name=True)
    assert signature.load([{"a": 1}]) == [{"a": 1}]
    assert signature.load([{"document": {"a": 1}}]) == [{"a": 1}]


def test_what_has_no_name_cannot_travel_by_it() -> None:
    def many(*names: str) -> None: ...
    def unnamed(a: int, /) -> None: ...

    for function in (many, unnamed):
        with pytest.raises(ConfigurationError, match="whose argument has no name to travel by"):
            Signature("work", function, Context, by_name=True)


class Store:
    pass


@dataclass
class Wanted:
    name: str


def test_what_a_worker_has_is_no_parameter() -> None:
    def undeclared(ctx: Context, store: Store) -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"cannot travel as JSON.*app\.manage\(Type, factory\), and ctx\.get\(Type\)"
    ):
        Signature("work", undeclared, Context)


def test_a_parameter_of_a_managed_type_is_refused_with_what_to_write() -> None:
    def work(ctx: Context, amount: int, when: Wanted) -> None: ...

    signature = Signature("work", work, Context)
    assert len(signature.check([Store])) == 2
    with pytest.raises(ConfigurationError, match=r"parameter 'when'.*is managed.*when = ctx\.get\(Wanted\)"):
        signature.check([Store, Wanted])


def test_parameters_without_a_default_are_required() -> None:
    def work(a: int, b: str = "x", c: int = 1) -> None: ...

    assert Signature("work", work, Context).required == ["a"]
