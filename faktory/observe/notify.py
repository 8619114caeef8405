"""What systemd is told: datagrams to the socket that its NOTIFY_SOCKET names (sd_notify(3)).

Nothing here raises or waits: a service manager that does not listen must not harm a worker.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, Self

log: logging.Logger = logging.getLogger("faktory.observe")

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells a service manager of a worker. Without an address it tells nobody."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self.watchdog: float | None = watchdog
        """Seconds within which the manager wants a sign of life; None when it does not watch."""
        self._address = address
        self._socket: socket.socket | None = None
        self._last: dict[str, str] = {}

    @classmethod
    def taken_from(cls, variables: MutableMapping[str, str], pid: int) -> Self:
        """Return what the variables of the process `pid` ask for, and take them out: they are not for children.

        A watchdog that is meant for another process is left alone.
        """
        address, usec, wanted = (variables.pop(name, None) for name in _VARIABLES)
        if not address or address[0] not in "/@":
            return cls()
        is_ours = wanted is None or wanted == str(pid)
        watchdog = int(usec) / 1e6 if usec is not None and usec.isdecimal() and int(usec) > 0 and is_ours else None
        return cls(address, watchdog)

    @property
    def is_heard(self) -> bool:
        """True when there is somebody to tell."""
        return self._address is not None

    def ready(self) -> None:
        """Say that jobs are fetched."""
        self._say_once("READY", "1")

    def status(self, text: str) -> None:
        """Say how it goes, in a few words, when that has changed."""
        self._say_once("STATUS", text.replace("\n", " "))

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._say_once("STOPPING", "1")

    def extend(self, seconds: float) -> None:
        """Ask for so many seconds more, from now on, before the manager loses patience."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> None:
        """Give a sign of life, where one is wanted."""
        if self.watchdog is not None:
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say_once(self, name: str, value: str) -> None:
        if self._last.get(name) != value:
            self._last[name] = value
            self._send(f"{name}={value}")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        with suppress(OSError):  # nobody listens, or too slowly: the next word comes soon
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
                self._socket.setblocking(False)
            address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
            self._socket.sendto(text.encode(), address)

    def __repr__(self) -> str:
        return f"<Notifier {self._address or 'of nobody'} in {os.getpid()}>"
