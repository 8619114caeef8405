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

# Called by its slot, as a thing of its own: as quick as itself, where clock_gettime() takes ten times its instructions.
monotonic: Final[Callable[[], float]] = time.monotonic.__call__  # type: ignore[operator]  # it has one, mypy

_SLEEPLESS: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)

boottime: Final[Callable[[], float]] = partial(time.clock_gettime, _SLEEPLESS) if _SLEEPLESS is not None else monotonic
