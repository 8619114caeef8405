"""What is known of a server's edition: an open-source one ignores some settings. Pure but for the log.

`unique_for`, `expires_at` and the like travel in `custom`, which an open-source server stores and does not read: both
copies would run, and the expired job, too. The edition is asked for once, when it first matters, by a command that
changes nothing; INFO, which tells it as well, can crash a server.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from ..commands import TrackGet
from ..errors import EnterpriseRequired, ServerError
from ..job import Job
from .again import RETRIED

log: logging.Logger = logging.getLogger("faktory.client")

QUESTION: Final = TrackGet("faktory-sdk-edition")
"""Is answered with an error by an open-source server, and changes nothing on the other."""

_SETTINGS: Final = ("unique_for", "unique_until", "expires_at", "expires_in")


class Edition:
    """The edition of one server, as far as one client knows it."""

    __slots__ = ("_told", "has_enterprise")

    def __init__(self) -> None:
        self.has_enterprise: bool | None = None
        """None before it mattered."""
        self._told: set[str] = set()

    def learn(self, answer: ServerError | None) -> None:
        """Note how the question, or another command of Enterprise, was answered; None for no error."""
        if answer is None:
            self.has_enterprise = True
        elif isinstance(answer, EnterpriseRequired) or "unknown command" in answer.text.lower():
            self.has_enterprise = False

    def check(self, jobs: Iterable[Job]) -> None:
        """Raise `EnterpriseRequired` for jobs with settings that the server ignores.

        The copy that a job's `Retry` pushes goes all the same, with a warning once: its job was taken already.
        """
        if self.has_enterprise is not False:
            return
        for job in jobs:
            found = " and ".join(settings_of(job))
            if RETRIED in (job.custom or {}):
                self.warn(f"the setting {found} of jobs {job.jobtype!a}")
            else:
                raise EnterpriseRequired(
                    "ERR",
                    f"the job {job.jobtype!a} has the setting {found}, which only Faktory Enterprise knows, and this "
                    "server is open source: it would ignore it; leave it out (in tests, use Server(enterprise=True))",
                )

    def warn(self, what: str) -> None:
        """Say once what this server ignores."""
        if what not in self._told:
            self._told.add(what)
            log.warning("%s: this server is open source and ignores it, it needs Faktory Enterprise", what)


def settings_of(job: Job) -> list[str]:
    """Return the settings of a job that need Faktory Enterprise."""
    custom = job.custom
    return [] if not custom else [name for name in _SETTINGS if name in custom]


def demanding(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs that have such settings."""
    return [job for job in jobs if job.custom and settings_of(job)]
