"""What the child of a fork makes of the servers, clocks and faults it has inherited.

The threads of the parent are not there, and a lock that one of them held is held for ever. So each object is told, in
the child and before anything else happens there: it closes its copies of the sockets, which would keep ports and
connections of the parent open, and refuses what it can only do in the parent.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from ..errors import FaktoryError


class Inherited(Protocol):
    """What a child may inherit."""

    def after_fork(self) -> None:
        """Let go of what is the parent's."""


_remembered: weakref.WeakSet[Inherited] = weakref.WeakSet()
_is_hook_set = False


def remember(each: Inherited) -> None:
    """Tell `each` in the child of every fork from now on."""
    global _is_hook_set
    if not _is_hook_set and hasattr(os, "register_at_fork"):
        _is_hook_set = True
        os.register_at_fork(after_in_child=_tell_all)
    _remembered.add(each)


def _tell_all() -> None:
    for each in list(_remembered):
        each.after_fork()


def elsewhere(what: str) -> FaktoryError:
    """Return the error for what was asked of an inherited object."""
    return FaktoryError(
        f"{what} lives in the process that forked this one; talk to it by a client of server.url, or ask it there"
    )
