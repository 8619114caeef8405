"""What parent, nursery and child say to one another: fixed heads, and JSON where there is more to tell. Pure."""

from __future__ import annotations

import signal
from enum import IntEnum
from struct import Struct
from typing import Final

JOB: Final = Struct("!dI")
"""Parent to child: the job's time limit in seconds, and the length of the JSON that follows."""

DONE: Final = Struct("!BBI")
"""Child to parent: an `Answer`, whether the child ends now, and the length of the JSON that follows."""

ORDER: Final = Struct("!BQi")
"""Parent to nursery: an `Order`, a child's number, and a signal; FORK comes with the child's four descriptors."""

NEWS: Final = Struct("!BQi")
"""Nursery to parent: a `News`, a child's number, and its pid, or its exit code (negative: the signal's number)."""


GROUP_SIGNALS: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
"""What a terminal or a supervisor sends to a whole group of processes: the consumer's business alone."""

SOFT_LIMIT: Final = signal.SIGXCPU
"""Has `JobTimeout` raised in the running handler, also out of a call that waits."""

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


class News(IntEnum):
    FORKED = 1
    EXITED = 2
