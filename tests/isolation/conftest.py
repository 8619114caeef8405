"""A journal for what children do, and a check that none is left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faktory.core.backoff import Backoff
from faktory.isolation import starts
from tests.waiting import until


class Journal:
    """Lines that handlers in other processes have written."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        path.touch()

    def lines(self, start: str = "") -> list[str]:
        return [line for line in Path(self.path).read_text().splitlines() if line.startswith(start)]

    def words(self, start: str) -> list[list[str]]:
        return [line.split()[1:] for line in self.lines(start)]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    journal = Journal(tmp_path / "journal")
    monkeypatch.setenv("TEST_JOURNAL", journal.path)
    return journal


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have children started again soon."""
    monkeypatch.setattr(starts, "Backoff", lambda first: Backoff(first=0.01, limit=0.05))


def is_alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants() -> set[int]:
    """Return this process's children and theirs, zombies too."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(") ")[2].split()[1])
    found: set[int] = set()
    grown = {os.getpid()}
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves a process, a zombie or a descriptor behind."""
    processes, descriptors = descendants(), open_descriptors()
    yield
    until(lambda: descendants() <= processes, 5)
    until(lambda: open_descriptors() <= descriptors, 5)
