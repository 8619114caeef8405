"""Starting the process that forks children, in a thread: it may take a while, and its starter may be gone by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .backend import Backend
from .thread_pool import run_in_thread

if TYPE_CHECKING:
    from ..isolation.fork_client import ForkServer
    from ..isolation.shared import Children


async def start_children(backend: Backend, start_fork_server: Callable[[], ForkServer]) -> Children:
    """Start the fork server, and return the children of it. Cancelled meanwhile, it is closed again."""
    from ..isolation.shared import Children  # what runs children is slow to import, and not always needed

    started: list[ForkServer] = []

    def start() -> None:
        started.append(start_fork_server())

    try:
        await backend.shielded(lambda: run_in_thread(backend, start), on_cancel=lambda: None)
    except BaseException:
        for fork_server in started:  # not before: cancelled, it may still be starting
            fork_server.close()
        raise
    return Children(started[0])
