"""What `help()` shows of the public names: text of its own for each, and an example for each class."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

DOORS = ("", ".asyncio", ".trio", ".server", ".testing", ".commands", ".connection", ".observe", ".errors", ".app")
"""Modules that users import from."""


def public_classes() -> dict[str, type[Any]]:
    """Return them by the name that they are imported by, each once."""
    found: dict[type[Any], str] = {}
    for door in DOORS:
        module = importlib.import_module(f"faktory{door}")
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", [name for name in own if not name.startswith("_")]):
            value = getattr(module, name)
            if inspect.isclass(value):
                found.setdefault(value, f"faktory{door}.{name}")
    return {name: kind for kind, name in found.items()}


CLASSES = public_classes()


def members(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of a class and of what it has from this package, with their docstrings."""
    yield kind.__name__, vars(kind).get("__doc__") or ""
    for base in kind.__mro__:
        if base.__module__.startswith("faktory"):
            for name, value in vars(base).items():
                found = getattr(value, "fget", getattr(value, "__func__", value))
                if not name.startswith("_") and (inspect.isfunction(found) or isinstance(value, cached_property)):
                    yield f"{kind.__name__}.{name}", found.__doc__ or ""


def examples(doc: str) -> list[str]:
    """Return the code of a docstring: what follows `>>>`, and what is indented after `::`."""
    text = inspect.cleandoc(doc)
    prompts = [example.source for example in doctest.DocTestParser().get_examples(text)]
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", f"{text}\n")
    return ["".join(prompts)] * bool(prompts) + [textwrap.dedent(block) for block in blocks]


def test_the_public_classes_are_found() -> None:
    wanted = {"faktory.Client", "faktory.trio.Client", "faktory.asyncio.Batch", "faktory.commands.Fetch"}
    assert wanted | {"faktory.server.Server", "faktory.testing.Worker", "faktory.connection.Connection"} <= set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_each_public_class_shows_how_it_is_used(name: str) -> None:
    doc = vars(CLASSES[name]).get("__doc__") or ""
    found = examples(doc)
    assert found, f"the docstring of {name} has no example: write one after >>> or, indented, after ::"
    for code in found:
        ast.parse(code)


@pytest.mark.parametrize("name", CLASSES)
def test_each_public_name_has_a_text_of_its_own(name: str) -> None:
    """`help(faktory.asyncio.Client.push)` teaches, without another page beside it."""
    for member, doc in members(CLASSES[name]):
        assert doc, f"{member} has no docstring"
        assert not doc.startswith("Async twin of"), f"{member} says whose twin it is, and not what it does"


@pytest.mark.parametrize("name", CLASSES)
def test_the_examples_of_methods_can_be_read(name: str) -> None:
    for _, doc in members(CLASSES[name]):
        for code in examples(doc):
            ast.parse(code)
