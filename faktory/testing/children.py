"""What the child processes of a test's consumers know of the test: its server, its clock, and where failures go.

A child writes each exception to a file in a folder that the test has made for itself; the test reads it there.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .. import override
from ..errors import FaktoryError
from ..job import Job
from ..protocol.address import Address
from .force import Kept

T = TypeVar("T")


class ChildFailed(FaktoryError):
    """Stands for the exception of a job in a child process that could not be brought here."""


class Failures:
    """What the jobs of a test have raised, in its own threads and in children."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._found: list[tuple[Job, BaseException]] = []
        self._read: set[str] = set()

    def add(self, job: Job, exc: BaseException) -> None:
        """Note one of this process."""
        self._found.append((job, exc))

    def all(self) -> list[tuple[Job, BaseException]]:
        """Return them as they came, those of children after those of threads noted at the same time."""
        if self.folder is not None:
            for path in sorted(self.folder.glob("*.failed")):
                if path.name not in self._read:
                    self._read.add(path.name)
                    job, exc = pickle.loads(path.read_bytes())  # noqa: S301  # written by a child of this process
                    self._found.append((Job.from_document(job), exc))
        return list(self._found)


class Adopted:
    """The override in a child process."""

    taker: None = None

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._address = Address.parse(url)
        self._kept = Kept()

    def address(self, told: Address) -> Address:  # noqa: ARG002  # whatever it was
        """Return the test's server."""
        return self._address

    def time(self) -> float:
        """Return the server's time, as the test last moved it."""
        told: dict[str, float] = {}
        with suppress(OSError):  # a real server has no clock to be moved
            told = json.loads((self.folder / "clock").read_text())
        return told["now"] if "now" in told else time.time() + told.get("ahead", 0.0)

    def keep(self, owner: object, make: Any) -> Any:
        """Return what belongs to this override."""
        return self._kept.of(owner, make)

    def describe(self) -> dict[str, Any] | None:
        """Return nothing: children have no consumers."""
        return None

    def write(self, job: Job, exc: BaseException) -> None:
        """Leave an exception for the test."""
        try:
            data = pickle.dumps((job._received, exc))
            pickle.loads(data)  # noqa: S301  # our own: some exceptions can be written and not read
        except Exception:
            data = pickle.dumps((job._received, ChildFailed(f"{type(exc).__name__}: {exc}")))
        name = f"{time.time_ns():020}-{os.getpid()}.failed"
        (self.folder / f"{name}.new").write_bytes(data)
        (self.folder / f"{name}.new").replace(self.folder / name)


def adopt(description: dict[str, Any]) -> None:
    """Put the test's override in force, in a child process, for good."""
    override.push(Adopted(description["url"], Path(description["folder"])))


def note_failure(job: Job, exc: BaseException) -> None:
    """Note what a job raised: the `on_failure` hook of a test's consumer, in this process and in its children."""
    active = override.active()
    if isinstance(active, Adopted):
        active.write(job, exc)
    else:
        failures = getattr(active, "failures", None)
        if isinstance(failures, Failures):
            failures.add(job, exc)
