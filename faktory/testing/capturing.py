"""Jobs that are not sent: kept in a list, or run as they are pushed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..commands import Command, Push, PushBulk, TrackSet
from ..errors import ConfigurationError
from ..job import Job
from ..override import Runner
from ..protocol.address import Address
from ..typed import foreground
from .force import Ending, Kept, in_force
from .jobs import Jobs, listed
from .limits import at_most
from .performing import performed

if TYPE_CHECKING:
    from ..server import Clock

T = TypeVar("T")

MOST_JOBS = 1_000
"""Jobs that a drain runs before they are taken for an endless chain."""


class Captured(Jobs):
    """The jobs that were pushed and have not run.

    >>> with capture() as jobs:
    ...     resize.enqueue("cat.png")
    >>> assert jobs.of(resize).one().args == ["cat.png"]
    """

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept
        self._runners: dict[str, Runner] = {}
        self._clock: Clock | None = None

    @property
    def clock(self) -> Clock:
        """The time by which jobs are due, which `clock.advance(seconds)` moves."""
        if self._clock is None:
            from ..server import Clock

            self._clock = Clock()
        return self._clock

    def drain(self, limit: int = MOST_JOBS, timeout: float = 10.0) -> int:
        """Run the jobs that are due, those that they push, too, each as it was pushed; return how many ran.

        They run in this thread, one after another, as a worker runs them. A job's exception reaches the caller, and
        the rest stays; so do jobs of later, until `clock` is there. Raises `AssertionError` when more than `limit` jobs
        run, or after `timeout` seconds, for a job that waits for ever, too.
        """
        count = 0

        def overrun() -> str:
            return f"drain did not end within {timeout:g} s, {count} jobs were begun{listed(self)}"

        with at_most(timeout, overrun):
            while (job := self._take_due()) is not None:
                if count >= limit:
                    self.insert(0, job)
                    raise AssertionError(f"drain ran {limit} jobs, and there are more{listed(self)}")
                count += 1
                self._run(job)
        return count

    def _add(self, job: Job, runner: Runner | None) -> None:
        if runner is not None:
            self._runners[job.jid] = runner
        self.append(job)

    def _is_due(self, job: Job) -> bool:
        return job.at is None or job.at.timestamp() <= self._time()

    def _take_due(self) -> Job | None:
        for index, job in enumerate(self):
            if self._is_due(job):
                return self.pop(index)
        return None

    def _run(self, job: Job) -> None:
        runner = self._runners.get(job.jid)
        if runner is None:
            raise ConfigurationError(
                f"the job {job.jobtype!a} was pushed by a Client, and only those of an App can be run here; test it "
                "with faktory_server and faktory_worker(builder)"
            )
        self._kept.of(runner, lambda: Ending(runner.end_values))
        performed(runner.perform, job)

    def _time(self) -> float:
        return time.time() if self._clock is None else self._clock.now()


class Taking:
    """The override under which nothing is sent."""

    def __init__(self, *, is_inline: bool) -> None:
        self.kept: Kept = Kept()
        self.captured: Captured = Captured(self.kept)
        self.pushed: Jobs = Jobs()
        """All that was pushed, whatever has become of it."""
        self.is_inline = is_inline
        self._pid = os.getpid()

    @property
    def taker(self) -> Taking:
        """This one."""
        return self

    def address(self, told: Address) -> NoReturn:  # noqa: ARG002  # whatever it was
        """Refuse: there is no server."""
        raise ConfigurationError(
            f"there is no server to connect to while jobs are {self._what}; use faktory_server, or serve(), for a "
            "consumer"
        )

    def time(self) -> float:
        """Return the time of the captured jobs."""
        return self.captured._time()

    def take(self, job: Job, runner: Runner | None) -> None:
        """Keep a job, or run it if it is due. What it pushes runs after it, in order, before this returns."""
        if self._pid != os.getpid():
            raise ConfigurationError(
                f"the job {job.jobtype!a} was pushed in a child process, and the test that has jobs {self._what} would "
                "not see it; use faktory_server"
            )
        self.pushed.append(job)
        self.captured._add(job, runner)
        if self.is_inline and self.captured._is_due(job):
            foreground.run(self._run_one, job)

    def _run_one(self, job: Job) -> None:
        if job in self.captured:  # nobody has taken or cleared it meanwhile
            self.captured.remove(job)
            self.captured._run(job)

    def call(self, command: Command[Any]) -> Any:
        """Take what a client pushes; refuse what only a server can answer."""
        if isinstance(command, (Push, PushBulk)):
            verb, _, payload = command.line.partition(b" ")
            documents = json.loads(payload)
            for document in documents if verb == b"PUSHB" else [documents]:
                self.take(Job.from_document(document), None)
            return {} if verb == b"PUSHB" else None
        if isinstance(command, TrackSet):
            return None  # a job tells how far it is
        return self._refuse(command)

    def _refuse(self, command: Command[Any]) -> NoReturn:
        verb = command.line.split(None, 1)[0].decode()
        raise ConfigurationError(
            f"{verb} needs a server, and there is none while jobs are {self._what}; use faktory_server, or serve()"
        )

    def keep(self, owner: object, make: Callable[[], T]) -> T:
        """Return what belongs to this override."""
        return self.kept.of(owner, make)

    def describe(self) -> dict[str, Any] | None:
        """Return nothing: there are no consumers, and so no children of theirs."""
        return None

    @property
    def _what(self) -> str:
        return "run inline" if self.is_inline else "captured"


@contextmanager
def capture() -> Generator[Captured, None, None]:
    """Keep the jobs that are pushed in a block in a list, and send nothing."""
    yield from _taking(is_inline=False)


@contextmanager
def inline() -> Generator[Captured, None, None]:
    """Run the jobs that are pushed in a block at once, in the caller; those of later are kept in a list.

    A job makes the journey through JSON, conversion and middleware. Its exception reaches the caller, unless it is a
    `Discard`, or one that pushes a copy for later, as `Retry` does. What a job pushes runs after it.
    """
    yield from _taking(is_inline=True)


def _taking(*, is_inline: bool) -> Generator[Captured, None, None]:
    taking = Taking(is_inline=is_inline)
    with in_force(taking, taking.kept, {}):
        yield taking.captured
