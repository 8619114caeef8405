"""Functions by name: what another process could import, and what not."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

from faktory import ConfigurationError, Job
from faktory.isolation.references import reference_to, resolve
from tests.isolation import jobs


class Handlers:
    @classmethod
    def of_class(cls, job: Job) -> None: ...

    @staticmethod
    def static(job: Job) -> None: ...

    def method(self, job: Job) -> None: ...


def replaced(job: Job) -> None: ...


original = replaced
replaced = print  # type: ignore[assignment]


def gone(job: Job) -> None: ...


lost = gone
del gone


def raw(job: Job) -> None: ...


behind = raw
raw = SimpleNamespace(__faktory_handler__=behind)  # type: ignore[assignment]  # as a typed job does


@pytest.mark.parametrize("function", [jobs.work, Handlers.of_class, Handlers.static, jobs.Value, behind])
def test_a_function_is_found_again(function: Any) -> None:
    assert resolve(reference_to(function, "the handler")) == function


def local() -> Any:
    def inner(job: Job) -> None: ...

    return inner


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (lambda job: None, "is a lambda"),
        (local(), "is defined inside of a function"),
        (functools.partial(jobs.work), "is an object without a name of its own"),
        (SimpleNamespace(), "is an object without a name of its own"),
        (Handlers().method, "is not what the module tests.isolation.test_references calls Handlers.method"),
        (original, "is not what the module tests.isolation.test_references calls replaced"),
        (lost, "is not to be found as gone in the module tests.isolation.test_references"),
    ],
)
def test_what_could_not_be_imported_is_refused_with_the_reason(thing: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        reference_to(thing, "the handler of 'x'")
    assert str(refused.value).startswith("the handler of 'x' ")
    assert f"{reason}, so that a child process could not import it" in str(refused.value)
