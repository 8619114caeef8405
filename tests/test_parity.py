"""The async twins have the names, parameters, defaults and annotations of their originals, but for what is listed."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import faktory
import faktory.aio.client
import faktory.aio.connection
import faktory.aio.consumer
import faktory.asyncio
import faktory.blocking.connection
import faktory.trio

CLIENTS = [(faktory.Client, faktory.asyncio.Client), (faktory.Client, faktory.trio.Client)]
BATCHES = [(faktory.Batch, faktory.asyncio.Batch), (faktory.Batch, faktory.trio.Batch)]
CONSUMERS = [(faktory.Consumer, faktory.asyncio.Consumer), (faktory.Consumer, faktory.trio.Consumer)]
CONNECTIONS = [
    (faktory.blocking.connection.Connection, faktory.asyncio.Connection),
    (faktory.blocking.connection.Connection, faktory.trio.Connection),
]
TWINS: list[tuple[type[Any], type[Any]]] = [*CLIENTS, *BATCHES, *CONSUMERS, *CONNECTIONS]

DIFFERENCES = {
    ("Connection", "interrupt"): "a task is cancelled instead of its exchange being interrupted by another thread",
    ("Connection", "open"): "a constructor cannot await: `await Connection.open(...)` connects",
    ("Consumer", "connect"): "what the builder calls, which cannot await a constructor",
}
"""Public names that only one of the twins has, and why."""

AT_ONCE = {
    ("Connection", "abort"),
    ("Connection", "is_usable"),
    ("Consumer", "get"),
    ("Consumer", "health"),
    ("Consumer", "serve_health"),
    ("Consumer", "quiet"),  # what these two return may be awaited
    ("Consumer", "terminate"),
}
"""Methods that need no waiting, so that the twin's are plain, too."""


def public(kind: type[Any]) -> dict[str, Any]:
    return {
        name: value
        for base in reversed(kind.__mro__[:-1])
        for name, value in vars(base).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, (property, classmethod)))
    }


def names(twins: tuple[type[Any], type[Any]]) -> str:
    return f"{twins[1].__module__}.{twins[1].__name__}"


@pytest.mark.parametrize("twins", TWINS, ids=names)
def test_twins_have_the_same_names(twins: tuple[type[Any], type[Any]]) -> None:
    blocking, twin = twins
    odd = public(blocking).keys() ^ public(twin).keys()
    assert odd == {name for kind, name in DIFFERENCES if kind == blocking.__name__}


def shape(function: Any) -> list[tuple[str, Any, Any, str]]:
    signature = inspect.signature(function)
    return [(p.name, p.kind, p.default, str(p.annotation)) for p in signature.parameters.values() if p.name != "self"]


@pytest.mark.parametrize("twins", TWINS, ids=names)
def test_twins_take_and_return_the_same(twins: tuple[type[Any], type[Any]]) -> None:
    blocking, twin = twins
    kind = blocking.__name__
    theirs = public(twin)
    for name, mine in public(blocking).items():
        if (kind, name) in DIFFERENCES:
            continue
        if isinstance(mine, property):
            assert isinstance(theirs[name], property)
            mine_get, theirs_get = (inspect.getattr_static(each, name).fget for each in twins)
            assert inspect.signature(mine_get).return_annotation == inspect.signature(theirs_get).return_annotation
            continue
        assert shape(mine) == shape(theirs[name]), name
        assert inspect.iscoroutinefunction(theirs[name]) == ((kind, name) not in AT_ONCE), name
        returned = inspect.signature(theirs[name]).return_annotation
        if returned != "Done":
            assert returned == inspect.signature(mine).return_annotation, name


def test_twins_are_made_with_the_same_parameters() -> None:
    for blocking, twin in [*CLIENTS, *BATCHES]:
        assert shape(inspect.getattr_static(blocking, "__init__")) == shape(inspect.getattr_static(twin, "__init__"))
    for blocking, twin in CONNECTIONS:
        assert shape(inspect.getattr_static(blocking, "__init__")) == shape(twin.open)


@pytest.mark.parametrize("twins", TWINS, ids=names)
def test_a_twin_is_a_context_manager(twins: tuple[type[Any], type[Any]]) -> None:
    blocking, twin = twins
    assert hasattr(blocking, "__enter__")
    assert hasattr(twin, "__aenter__")
    assert inspect.iscoroutinefunction(twin.__aexit__)


def test_the_doors_are_alike() -> None:
    door = shape(faktory.ConsumerBuilder.connect)
    assert shape(faktory.ConsumerBuilder.connect_asyncio) == door
    assert shape(faktory.ConsumerBuilder.connect_trio) == door
