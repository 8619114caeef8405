"""`faktory.core.hooks`: callbacks that are called in order and cannot do harm."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn

import pytest

from faktory.core.callables import place_of
from faktory.core.hooks import Hooks, checked, run, start
from faktory.errors import ConfigurationError
from faktory.job import Job

HARMFUL: list[BaseException] = [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]


class Untellable(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


def raising(exc: BaseException) -> Callable[..., NoReturn]:
    def hook(*_: object) -> NoReturn:
        raise exc

    return hook


def job(*, retry: int = 25, retry_count: int | None = None) -> Job:
    document: dict[str, Any] = {"jid": "job-00001", "jobtype": "x", "args": [], "retry": retry}
    if retry_count is not None:
        document["failure"] = {"retry_count": retry_count}
    return Job.from_document(document)


# -- run ------------------------------------------------------------------------------------------------------------


def test_hooks_are_called_in_the_order_they_were_added() -> None:
    called: list[int] = []
    run("on_quiet", [lambda: called.append(1), lambda: called.append(2), lambda: called.append(3)])
    assert called == [1, 2, 3]


def test_every_hook_gets_the_arguments() -> None:
    called: list[tuple[object, ...]] = []
    run("on_failure", [lambda *args: called.append(args)] * 2, "job", "exc")
    assert called == [("job", "exc")] * 2


@pytest.mark.parametrize("exc", [*HARMFUL, Untellable()])
def test_a_hook_that_raises_is_logged_and_the_next_one_called(
    exc: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """W2: also SystemExit, which must not end the worker."""
    called: list[int] = []
    hook = raising(exc)
    run("on_quiet", [hook, lambda: called.append(2)])
    assert called == [2]
    (record,) = caplog.records
    assert record.name == "faktory.hooks"
    assert record.levelname == "ERROR"
    assert record.getMessage() == f"the on_quiet hook {place_of(hook)} raised"
    assert record.exc_info is not None
    assert record.exc_info[1] is exc


# -- failure and death ----------------------------------------------------------------------------------------------


def told(hooks: Hooks) -> list[tuple[str, Job, BaseException]]:
    calls: list[tuple[str, Job, BaseException]] = []
    hooks.failure.append(lambda job, exc: calls.append(("failure", job, exc)))
    hooks.death.append(lambda job, exc: calls.append(("death", job, exc)))
    return calls


@pytest.mark.parametrize(
    ("retry", "retry_count", "is_dead"),
    [(25, None, False), (1, None, False), (1, 0, True), (3, 1, False), (3, 2, True), (0, None, True), (-1, None, True)],
)
def test_death_is_told_only_when_no_retry_is_left(retry: int, retry_count: int | None, is_dead: bool) -> None:
    """PROTOCOL 2 and 3."""
    hooks, error = Hooks(), ValueError("no")
    calls = told(hooks)
    failed = job(retry=retry, retry_count=retry_count)
    hooks.failed(failed, error)
    expected = ["failure", "death"] if is_dead else ["failure"]
    assert [(name, got, exc) for name, got, exc in calls] == [(name, failed, error) for name in expected]


def test_death_is_told_even_when_a_failure_hook_raises() -> None:
    hooks = Hooks()
    hooks.failure.append(raising(SystemExit(1)))
    calls = told(hooks)
    hooks.failed(job(retry=0), ValueError("no"))
    assert [name for name, _, _ in calls] == ["failure", "death"]


def test_without_hooks_a_failure_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    Hooks().failed(job(retry=0), ValueError("no"))
    assert caplog.records == []


def test_two_consumers_do_not_share_their_hooks() -> None:
    first, second = Hooks(), Hooks()
    for field in dataclasses.fields(Hooks):
        if field.name == "watch":
            continue  # each consumer gets its own
        getattr(first, field.name).append(print)
        assert getattr(second, field.name) == []


def same(answer: Any) -> Any:
    return answer


# -- stop_when ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "wanted"), [([], False), ([False, 0, None], False), ([False, True], True), ([1], True)]
)
def test_one_predicate_that_agrees_is_enough(answers: list[Any], wanted: bool) -> None:
    hooks = Hooks(stop_when=[partial(same, answer) for answer in answers])
    assert hooks.wants_stop() is wanted


def test_predicates_are_not_asked_after_one_has_agreed() -> None:
    asked: list[int] = []

    def ask(number: int) -> bool:
        asked.append(number)
        return number == 2

    hooks = Hooks(stop_when=[partial(ask, number) for number in (1, 2, 3)])
    assert hooks.wants_stop()
    assert asked == [1, 2]


class NoTruth:
    def __bool__(self) -> bool:
        raise SystemExit(4)


@pytest.mark.parametrize("predicate", [*map(raising, HARMFUL), NoTruth])
def test_a_predicate_that_raises_does_not_count(predicate: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks(stop_when=[predicate])
    assert hooks.wants_stop() is False
    assert [record.getMessage() for record in caplog.records] == [f"the stop_when hook {place_of(predicate)} raised"]
    hooks.stop_when.append(lambda: True)
    assert hooks.wants_stop() is True


def test_all_of_them_can_be_looked_at() -> None:
    hooks = Hooks([print], [print], [print], [print], [print], [print])
    assert hooks.all() == [print] * 6


# -- hooks that only seem to run ------------------------------------------------------------------------------------


async def waiting() -> None: ...


def lazily() -> Iterator[bool]:
    yield True


@pytest.mark.parametrize("hidden", [lambda: waiting(), lambda: lazily()])
def test_a_hook_whose_result_has_not_run_has_failed(
    hidden: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    run("on_quiet", [hidden])
    assert Hooks(stop_when=[hidden]).wants_stop() is False
    with pytest.raises(ConfigurationError, match=r"the on_startup hook .*<lambda> \(.*\) returned a"):
        start([hidden])
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    assert "returned a" in str(caplog.records[0].exc_info)


@pytest.mark.parametrize("exc", HARMFUL)
def test_what_on_startup_raises_is_raised_and_nothing_more_is_called(exc: BaseException) -> None:
    called: list[int] = []
    with pytest.raises(type(exc)):
        start([lambda: called.append(1), raising(exc), lambda: called.append(3)])
    assert called == [1]


def test_hooks_at_the_start_are_called_in_order() -> None:
    called: list[int] = []
    start([lambda: called.append(1), lambda: called.append(2)])
    assert called == [1, 2]


def test_a_hook_whose_exception_cannot_be_logged_is_named_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """A handler of logging may raise, too: the next hook is called."""

    class Failing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.exc_info:
                raise OSError("no room on the disk")
            return True

    hook, called, failing = raising(ValueError("no")), [], Failing()
    log = logging.getLogger("faktory.hooks")
    log.addFilter(failing)
    try:
        run("on_quiet", [hook, lambda: called.append(2)])
    finally:
        log.removeFilter(failing)
    assert called == [2]
    assert [record.getMessage() for record in caplog.records] == [
        f"the on_quiet hook {place_of(hook)} raised what cannot be told"
    ]


# -- a hook that forks ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(("error", "code"), [(None, 0), (SystemExit(4), 4), (ValueError("in the copy"), 1)])
def test_the_copy_that_a_hook_has_forked_ends_where_it_comes_back(error: BaseException | None, code: int) -> None:
    copies: list[int] = []
    parent = os.getpid()

    def hook() -> None:
        copies.append(os.fork())
        if copies[0] == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            if error is not None:
                raise error

    def next_hook() -> None:
        if os.getpid() != parent:
            os._exit(99)

    run("on_quiet", [hook, next_hook])
    assert os.waitstatus_to_exitcode(os.waitpid(copies[0], 0)[1]) == code


# -- hooks that are refused -----------------------------------------------------------------------------------------


def test_a_hook_that_can_be_called_is_taken_as_it_is() -> None:
    def handle(job: Job, error: BaseException) -> None: ...

    assert checked(print, 0) is print
    assert checked(handle, 2) is handle


@pytest.mark.parametrize(
    ("hook", "arguments", "words"),
    [
        (7, 0, "a hook must be callable, got int"),
        (same, 0, r"the hook .*same .* must take no arguments"),
        (same, 2, r"the hook .*same .* must take the job and the exception"),
        (lazily, 0, "make it a plain function"),
    ],
)
def test_a_hook_that_could_not_be_called_is_refused(hook: Any, arguments: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        checked(hook, arguments)
