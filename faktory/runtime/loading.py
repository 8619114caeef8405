"""Imports that no fork cuts in two.

A process forked while another thread imports a module holds that module's lock for ever: its own import of it hangs,
past every time limit. So what is imported late here goes through `load`, and a fork waits until it is done.
"""

from __future__ import annotations

import os
from _thread import RLock  # what threading.RLock is, without importing threading
from importlib import import_module
from types import ModuleType

_LONGEST_WAIT = 5.0
"""Seconds that a fork waits for an import: far longer than one takes, but not for ever."""

_importing = RLock()
_is_hooked = False


def load(name: str, package: str | None = None) -> ModuleType:
    """Import a module, with its package when the name is relative."""
    with _importing:
        _hook_forks()
        return import_module(name, package)


def _hook_forks() -> None:
    global _is_hooked
    if not _is_hooked and hasattr(os, "register_at_fork"):
        _is_hooked = True
        fork = _Fork()
        os.register_at_fork(before=fork.begin, after_in_parent=fork.end, after_in_child=fork.end)


class _Fork:
    """Holds the lock while the process forks, so that no import is under way and the child finds it free."""

    def __init__(self) -> None:
        self._has_waited = False

    def begin(self) -> None:
        self._has_waited = _importing.acquire(timeout=_LONGEST_WAIT)

    def end(self) -> None:
        if self._has_waited:
            self._has_waited = False
            _importing.release()
