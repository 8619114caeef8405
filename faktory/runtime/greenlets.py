"""Whether gevent or eventlet has put its own in the place of threads and sockets. Pure: imports neither.

A `Client` works with them: it waits by `select.poll` and `threading` locks, which they replace, and its time limits
hold. A worker does not: its time limits are raised in threads of the operating system, of which greenlets have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError


def patched_by(modules: Mapping[str, Any]) -> str | None:
    """Return which library has patched the standard one, given `sys.modules`; None when none has."""
    for library, module, question in (
        ("gevent", "gevent.monkey", "is_module_patched"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched"),
    ):
        is_patched = getattr(modules.get(module), question, None)
        if is_patched is not None and any(map(is_patched, ("thread", "socket", "select", "time"))):
            return library
    return None


def refuse_greenlets(modules: Mapping[str, Any]) -> None:
    """Refuse to be a worker among greenlets. Raises `ConfigurationError`."""
    library = patched_by(modules)
    if library is not None:
        raise ConfigurationError(
            f"{library} has patched threads or sockets in this process, where the time limits of jobs, the heartbeat "
            f"and an orderly shutdown would not work; run the worker in a process that does not let {library} patch "
            "anything (a Client that pushes works with it)"
        )
