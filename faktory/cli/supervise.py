"""`faktoryctl worker -p N`: several worker processes under one supervisor, which never imports the app."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Final

from ..runtime.ticking import monotonic
from .course import Course, Policy, Then
from .offspring import Supervisor, worker_words
from .output import FAILED, MISUSED, NO_SERVER, OK, Output

_ENDED_AS_TOLD: Final = (OK, 143, -15)
"""Exit statuses of children that were told to end, perhaps before they were ready."""
SHUTDOWN_TIMEOUT: Final = 25.0


def supervise(arguments: argparse.Namespace, output: Output, environ: Mapping[str, str]) -> int:
    """Run so many workers until told to end. Returns the exit status: the worst of theirs."""
    count: int = arguments.workers
    policy = policy_for(is_burst=bool(arguments.burst))
    now = monotonic()
    timeout = SHUTDOWN_TIMEOUT if arguments.shutdown_timeout is None else arguments.shutdown_timeout
    supervisor = Supervisor(
        [Course(policy, now) for _ in range(count)], worker_words(arguments, output), output, environ, timeout
    )
    output.tell(f"supervising {count} worker processes, pid {os.getpid()}")
    supervisor.run()
    return 128 + supervisor.forced_by if supervisor.forced_by else status_of(supervisor.codes)


def policy_for(*, is_burst: bool) -> Policy:
    """Return what follows when a worker has ended by itself."""

    def policy(code: int, starts: int) -> Then:
        if code in (MISUSED, NO_SERVER) and starts == 1:
            return Then.GIVE_UP  # the next one would end as soon, and nobody would see why
        if code == OK:
            return Then.STOP if is_burst else Then.AT_ONCE
        return Then.LATER

    return policy


def status_of(codes: list[int]) -> int:
    """Return the exit status for those of the workers."""
    for code in (MISUSED, NO_SERVER):
        if code in codes:
            return code
    return OK if all(code in _ENDED_AS_TOLD for code in codes) else FAILED
