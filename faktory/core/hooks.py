"""The user's callbacks around jobs and the consumer's life.

`on_startup` that raises ends the start. Any other hook that raises is logged with its name and place, and harms
nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from ..errors import ConfigurationError
from ..job import Job
from ..runtime.forks import end_copy
from .callables import can_take, check_runs, place_of
from .chain import check_ran

log: logging.Logger = logging.getLogger("faktory.hooks")

F = TypeVar("F", bound=Callable[..., Any])

Hook = Callable[[], Any]
FailureHook = Callable[[Job, BaseException], Any]


class Watcher(Protocol):
    """Who is told what becomes of jobs and connections: `observe.Watch`."""

    def ended(self, job: Job, seconds: float, error: BaseException | None, *, settled_as: str | None = None) -> None:
        """Note the end of a job that ran for so many seconds."""
        ...

    def connection(self, event: Literal["connected", "lost"]) -> None:
        """Note that a connection was made, or lost."""
        ...


@dataclass(slots=True)
class Hooks:
    """Callbacks in the order they were added."""

    startup: list[Hook] = field(default_factory=list)
    quiet: list[Hook] = field(default_factory=list)
    shutdown: list[Hook] = field(default_factory=list)
    failure: list[FailureHook] = field(default_factory=list)
    death: list[FailureHook] = field(default_factory=list)
    stop_when: list[Callable[[], Any]] = field(default_factory=list)
    watch: Watcher | None = None
    """All observers; None when there are none, which costs nothing."""

    def watched_by(self, watch: Watcher) -> None:
        """Have this one told, from now on, what becomes of jobs and connections."""
        self.watch = watch

    def all(self) -> list[Callable[..., Any]]:
        """Return every callback."""
        return [*self.startup, *self.quiet, *self.shutdown, *self.failure, *self.death, *self.stop_when]

    def failed(self, job: Job, exc: BaseException) -> None:
        """Tell of a failed job, and of its death when no retry is left."""
        if self.failure:
            run("on_failure", self.failure, job, exc)
        if self.death and job.is_last_attempt:
            run("on_death", self.death, job, exc)

    def wants_stop(self) -> bool:
        """Ask the `stop_when` predicates; one that raises does not count."""
        for predicate in self.stop_when:
            try:
                answer = predicate()
                check_ran(named("stop_when", predicate), answer)
                if answer:
                    return True
            except BaseException:
                log_raised("stop_when", predicate)
        return False


def start(callbacks: list[Hook]) -> None:
    """Call the `on_startup` hooks; the first that raises ends it, and its exception is raised."""
    for callback in callbacks:
        check_ran(named("on_startup", callback), callback())


def run(what: str, callbacks: list[Any], *args: object) -> None:
    """Call each callback of a kind, whatever the ones before did."""
    pid = os.getpid()
    for callback in callbacks:
        try:
            result = callback(*args)
            if os.getpid() != pid:
                end_copy()
            check_ran(named(what, callback), result)
        except BaseException as exc:  # also SystemExit: a hook must not end the worker
            if os.getpid() != pid:
                end_copy(exc)
            log_raised(what, callback)


def log_raised(what: str, callback: object) -> None:
    """Say which hook has just raised, with the traceback."""
    try:
        log.exception("%s raised", named(what, callback))
    except BaseException:  # what the exception's own methods do, or a handler of logging
        log.error("%s raised what cannot be told", named(what, callback))


def named(what: str, callback: object) -> str:
    """Return what messages call a hook: its kind, name and place."""
    return f"the {what} hook {place_of(callback)}"


def checked(fn: F, arguments: int) -> F:
    """Refuse a hook that could not be called with so many arguments, or would run nothing."""
    if not callable(fn):
        raise ConfigurationError(f"a hook must be callable, got {type(fn).__name__}")
    if not can_take(fn, arguments):
        wanted = "the job and the exception" if arguments else "no arguments"
        raise ConfigurationError(f"the hook {place_of(fn)} must take {wanted}")
    check_runs(fn, "the hook", "make it a plain function")
    return fn
