"""What parent, fork server and child say to one another: fixed heads, and JSON where there is more to tell. Pure."""

from __future__ import annotations

import signal
from enum import IntEnum
from struct import Struct
from typing import Final

from ..options import SIGNAL_AGAIN

JOB: Final = Struct("!dI")
"""Parent to child: the job's time limit in seconds, and the length of the JSON that follows."""

DONE: Final = Struct("!BBI")
"""Child to parent: an `Answer`, whether the child ends now, and the length of the JSON that follows."""

ORDER: Final = Struct("!BQi")
"""Parent to fork server: an `Order`, a child's number, and what the order needs; FORK comes with four descriptors."""

NEWS: Final = Struct("!BQi")
"""ForkServer to parent: a `News`, a child's number, and its pid, or its exit code (negative: the signal's number)."""


GROUP_SIGNALS: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
"""What a terminal or a supervisor sends to a whole group of processes: the consumer's business alone."""

SOFT_LIMIT: Final = signal.SIGXCPU
"""Has `JobTimeout` raised in the running handler, also out of a call that waits."""

CUT_OFF_SIGNAL: Final = signal.SIGURG
"""Tells a child that its job is cut off: it can be seen at once, and the next `SOFT_LIMIT` means it."""

DUMP: Final = signal.SIGQUIT
"""Has the stacks of all threads written to stderr, whatever the process does."""


class Answer(IntEnum):
    READY = 1
    """The child has started and can take jobs."""
    SUCCEEDED = 2
    FAILED = 3
    """A report follows."""
    SKIPPED = 4
    """Middleware ended the job on purpose; its name follows."""


class Order(IntEnum):
    FORK = 1
    SIGNAL = 2
    """Send a signal, whose number follows."""
    STOPPING = 3
    """The worker is ending; for all children."""
    CUT_OFF = 4
    """Have the job end, first by its own insight, then by `JobCancelled`; kill the child after the milliseconds that
    follow."""


class News(IntEnum):
    FORKED = 1
    EXITED = 2


def pauses(total: float) -> list[float]:
    """Return the seconds to wait after each of several signals, so that they come ever less often within `total`."""
    found: list[float] = []
    pause = SIGNAL_AGAIN
    while total > pause:
        found.append(pause)
        total -= pause
        pause *= 1.3
    return [*found, total]
