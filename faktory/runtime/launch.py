"""Starting the threads of a worker: one that cannot be started is an error of ours, and nothing is fetched then."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import ThreadStartFailed


def launch(name: str, run: Callable[[], object]) -> threading.Thread:
    """Start a daemon thread. Raises `ThreadStartFailed`."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as exc:
        raise ThreadStartFailed(
            f"the thread {name} could not be started ({exc}): expected room for all of the worker's threads; use "
            f"fewer workers, or allow more threads or memory (ulimit -u, ulimit -v, a container's limits)"
        ) from exc
    return thread
