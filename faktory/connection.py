"""One connection to a server: `Connection`, whose `call` takes any command of `faktory.commands`."""

from __future__ import annotations

from .blocking.connection import Connection

__all__ = ["Connection"]
