"""The files that `faktoryctl generate` writes, as texts. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import PurePosixPath
from typing import Final

from ..core.settings import nearest
from ..errors import InvalidJob
from ..job import Job
from .parsing import Usage

APP: Final = '''\
"""Jobs. `faktoryctl dev app` runs them, `faktoryctl push hello you` pushes one."""

from faktory import App

app = App()


@app.job
def hello(name: str) -> None:
    print(f"hello, {name}")
'''
_TYPES: Final = {
    "str": ("", '"text"'),
    "int": ("", "1"),
    "float": ("", "1.5"),
    "bool": ("", "True"),
    "bytes": ("", 'b"bytes"'),
    "date": ("from datetime import date", "date(2026, 11, 26)"),
    "datetime": ("from datetime import UTC, datetime", "datetime(2026, 11, 26, 8, 0, tzinfo=UTC)"),
    "timedelta": ("from datetime import timedelta", "timedelta(minutes=5)"),
    "Decimal": ("from decimal import Decimal", 'Decimal("9.99")'),
    "Path": ("from pathlib import Path", 'Path("a.txt")'),
    "UUID": ("from uuid import UUID", "UUID(int=1)"),
    "list[str]": ("", '["text"]'),
    "list[int]": ("", "[1]"),
    "dict[str, str]": ("", '{"key": "text"}'),
}
"""Types of arguments: what imports each, and a value of it."""
_WIDTH: Final = 88
"""Where ruff breaks lines when it is told nothing else."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A job to write. Made by `planned`."""

    name: str
    arguments: tuple[tuple[str, str], ...]
    """Names and types."""
    queue: str | None
    is_async: bool
    folder: PurePosixPath

    @property
    def module(self) -> str:
        """The dotted name of its module, from the current folder."""
        return ".".join((*self.folder.parts, self.name))

    @property
    def include(self) -> str:
        """The lines that add it to an app."""
        where = ".".join(self.folder.parts)
        start = f"from {where} import {self.name}" if where else f"import {self.name}"
        return f"{start}\napp.include({self.name}.app)"


def planned(name: str, words: Sequence[str], *, queue: str | None, is_async: bool, folder: str) -> Plan:
    """Check what a job is to be. Raises `Usage`."""
    _check_name(name, "NAME")
    if name in sys.stdlib_module_names or name in ("app", "faktory"):
        raise Usage(f"NAME: {name} is the name of a module already, which the file would hide; take another")
    arguments: list[tuple[str, str]] = []
    for word in words:
        argument, colon, kind = word.partition(":")
        _check_name(argument, "ARG")
        kind = {"dict[str,str]": "dict[str, str]", "": "str" if not colon else ""}.get(kind, kind)
        if kind not in _TYPES:
            raise Usage(f"{argument}: expected a type of {', '.join(_TYPES)}, got {kind!a:.40}{nearest(kind, _TYPES)}")
        if argument in dict(arguments):
            raise Usage(f"the argument {argument} comes twice")
        if argument in _TYPES or argument in ("app", "UTC"):
            raise Usage(f"ARG: the module needs the name {argument} for something else; take another")
        arguments.append((argument, kind))
    try:
        Job(name, queue=queue or "default")
    except InvalidJob as exc:
        raise Usage(f"--queue: {exc}") from None
    place = PurePosixPath(folder)
    if place.is_absolute() or not all(part.isidentifier() and not iskeyword(part) for part in place.parts):
        raise Usage(f"--to: expected a folder below this one that can be imported, like shop/jobs, got {folder!a:.60}")
    return Plan(name, tuple(arguments), queue, is_async, place)


def _check_name(name: str, what: str) -> None:
    if not (name.isascii() and name.isidentifier()) or iskeyword(name) or name.startswith("_"):
        raise Usage(f"{what}: expected a name of letters, digits and _, like send_mail, got {name!a:.40}")


def text_of_job(plan: Plan) -> str:
    """Return the module of a job."""
    imports = {_TYPES[kind][0].replace("UTC, ", "") for _, kind in plan.arguments}
    head = ['"""A job of its own app, for another app to include."""', "", *_imported(imports)]
    decorator = "@app.job" if plan.queue is None else f'@app.job(queue="{plan.queue}")'
    start = f"{'async ' if plan.is_async else ''}def {plan.name}"
    lines = [*head, "from faktory import App", "", "app = App()", "", "", decorator]
    lines += _call(start, [f"{name}: {kind}" for name, kind in plan.arguments], " -> None:")
    return "\n".join([*lines, '    """Say what the job does, and do it."""', ""])


def text_of_test(plan: Plan) -> str:
    """Return a test of a job that passes as it is."""
    imports = {_TYPES[kind][0] for _, kind in plan.arguments}
    values = [_TYPES[kind][1] for _, kind in plan.arguments]
    lines = [*_imported(imports), "from faktory.testing import capture, inline", ""]
    lines += [f"from {plan.module} import {plan.name}", "", ""]
    lines += [f"def test_{plan.name}_is_pushed_to_its_queue() -> None:", "    with capture() as jobs:"]
    lines += [f"        {line}" for line in _call(f"jid = {plan.name}.enqueue", values, "", _WIDTH - 8)]
    lines += [f'    assert [(job.jid, job.queue) for job in jobs] == [(jid, "{plan.queue or "default"}")]', "", ""]
    lines += [f"def test_{plan.name}_runs() -> None:", "    with inline():"]
    lines += [f"        {line}" for line in _call(f"{plan.name}.enqueue", values, "", _WIDTH - 8)]
    return "\n".join([*lines, ""])


def _imported(imports: set[str]) -> list[str]:
    """Return the lines of imports of the standard library, those of a module as one."""
    names: dict[str, set[str]] = {}
    for line in imports - {""}:
        _, module, _, found = line.split(" ", 3)
        names.setdefault(module, set()).update(found.split(", "))
    # As ruff sorts them: constants, classes, then the rest.
    lines = [f"from {module} import {', '.join(sorted(found, key=_rank))}" for module, found in sorted(names.items())]
    return [*lines, ""] if lines else []


def _rank(name: str) -> tuple[bool, str]:
    return not name.isupper(), name


def _call(start: str, parts: list[str], end: str, width: int = _WIDTH) -> list[str]:
    """Return a call or a signature, broken as ruff does when it is too long."""
    line = f"{start}({', '.join(parts)}){end}"
    if len(line) <= width:
        return [line]
    inner = f"    {', '.join(parts)}"
    if len(inner) <= width:
        return [f"{start}(", inner, f"){end}"]
    return [f"{start}(", *(f"    {part}," for part in parts), f"){end}"]
