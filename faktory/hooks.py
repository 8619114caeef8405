"""The user's callbacks around jobs and the consumer's life. One that raises is logged and harms nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .job import Job

log: logging.Logger = logging.getLogger("faktory.hooks")

Hook = Callable[[], Any]
FailureHook = Callable[[Job, BaseException], Any]


@dataclass(slots=True)
class Hooks:
    """Callbacks in the order they were added."""

    startup: list[Hook] = field(default_factory=list)
    quiet: list[Hook] = field(default_factory=list)
    shutdown: list[Hook] = field(default_factory=list)
    failure: list[FailureHook] = field(default_factory=list)
    death: list[FailureHook] = field(default_factory=list)
    stop_when: list[Callable[[], Any]] = field(default_factory=list)

    def all(self) -> list[Callable[..., Any]]:
        """Return every callback."""
        return [*self.startup, *self.quiet, *self.shutdown, *self.failure, *self.death, *self.stop_when]

    def failed(self, job: Job, exc: BaseException) -> None:
        """Tell of a failed job, and of its death when no retry is left."""
        if self.failure:
            run(self.failure, job, exc)
        if self.death and job.is_last_attempt:
            run(self.death, job, exc)

    def wants_stop(self) -> bool:
        """Ask the `stop_when` predicates; one that raises does not count."""
        for predicate in self.stop_when:
            try:
                if predicate():
                    return True
            except BaseException:
                log.exception("stop_when: %a raised", predicate)
        return False


def run(callbacks: list[Any], *args: object) -> None:
    """Call each callback, whatever the ones before did."""
    for callback in callbacks:
        try:
            callback(*args)
        except BaseException:  # also SystemExit: a hook must not end the worker
            log.exception("the hook %a raised", callback)
