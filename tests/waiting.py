"""Waiting for what has no event."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], patience: float = 10.0) -> None:
    """Wait for something that has no event to wait for; fail when it does not come.

    Never as long as a beat (15 s), which repairs most of what a test should notice.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
