"""The clocks that deadlines and waits are measured on, in seconds.

`monotonic` is that of `time.monotonic()`: waits, beats, time limits of handlers and replies. `boottime` goes on while
the machine sleeps, as the server's does: reservations, and with them the outcomes that are worth nothing later.

What freezes time for a test (freezegun) replaces `time.monotonic` in every module that has it, jumping by decades: each
deadline would be long past, and no wait would ever end. This one it does not find, even where it is imported meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

# What time.monotonic reads: on macOS the time that the machine was awake.
_CLOCK: Final[int | None] = getattr(time, "CLOCK_UPTIME_RAW", getattr(time, "CLOCK_MONOTONIC", None))

monotonic: Final[Callable[[], float]] = (
    partial(time.clock_gettime, _CLOCK) if _CLOCK is not None else partial(time.monotonic)
)

_SLEEPLESS: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", _CLOCK)

boottime: Final[Callable[[], float]] = partial(time.clock_gettime, _SLEEPLESS) if _SLEEPLESS is not None else monotonic
