"""The addresses of a server's name, and in which turn they are tried."""

from __future__ import annotations

import _thread
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import Any, Final

from ..errors import ConnectFailed
from ..protocol.address import Address
from ..protocol.diagnosis import reason
from ..runtime.signalled import was_signalled
from ..runtime.ticking import monotonic

Target = tuple[Any, ...]
"""What `getaddrinfo` returns for one address."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds after which an address that has not answered gets company by the next one (RFC 8305, section 5)."""


def resolve(address: Address, limit: float) -> list[Target]:
    """Return the addresses of the host. Raises `ConnectFailed` when there are none, or not in time.

    A look-up has no time limit of its own, so it runs in a thread that we can leave. Where none can be started, at the
    end of the interpreter or in a process out of threads, it runs in this one: late is better than never.
    """
    # Bytes for an address: its way through the idna codec would change what a signal handler raises there.
    host: str | bytes = address.host.encode() if is_ip(address.host) else address.host
    found: list[list[Target]] = []
    failed: list[BaseException] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM))
        except BaseException as exc:
            failed.append(exc)

    if isinstance(host, bytes) or not _ran_in_thread(look_up, limit):
        look_up()
    if found:
        return found[0]
    if not failed:
        raise ConnectFailed(f"cannot resolve the host name of {address} in time")
    error = failed[0]
    if was_signalled(error) or not isinstance(error, (OSError, UnicodeError)):
        raise error
    why = reason(error) if isinstance(error, OSError) else f"bad host name: {error}"
    raise ConnectFailed(f"cannot resolve the host name of {address}: {why}") from error


def _ran_in_thread(look_up: Callable[[], None], limit: float) -> bool:
    """Run a look-up in a thread and wait for it until the deadline; return False when there can be no thread."""
    if sys.is_finalizing():
        return False  # it could be started, but would not run
    has_ended = threading.Lock()
    has_ended.acquire()

    def run() -> None:
        with _lookups.under_way():
            look_up()
        has_ended.release()

    _hook_forks()
    try:
        # Not a threading.Thread: what a signal handler raises within its start() comes out as a KeyError.
        _thread.start_new_thread(run, ())
    except RuntimeError as exc:
        if was_signalled(exc):
            raise
        return False
    has_ended.acquire(timeout=max(0.0, limit - monotonic()))
    return True


class _Lookups:
    """The look-ups that are under way in threads: a fork waits for them.

    The C library holds a lock meanwhile, which the child would find taken for ever: no look-up of its own would end.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._is_held = False

    @contextmanager
    def under_way(self) -> Generator[None, None, None]:
        """Count one."""
        with self._changed:
            self._number += 1
        try:
            yield
        finally:
            with self._changed:
                self._number -= 1
                self._changed.notify_all()

    def await_end(self) -> None:
        """Wait for them, but not for ever, and let none begin."""
        self._is_held = self._changed.acquire(timeout=_LONGEST_WAIT)
        if self._is_held:
            self._changed.wait_for(lambda: not self._number, _LONGEST_WAIT)

    def go_on(self) -> None:
        """Let others begin."""
        if self._is_held:
            self._is_held = False
            self._changed.release()


_LONGEST_WAIT: Final = 5.0
"""Seconds that a fork waits for look-ups: they take milliseconds, and a name server that is gone must not hold it."""
_lookups = _Lookups()
_is_hooked = False


def _hook_forks() -> None:
    global _is_hooked
    if not _is_hooked and hasattr(os, "register_at_fork"):
        _is_hooked = True
        os.register_at_fork(
            before=lambda: _lookups.await_end(), after_in_parent=lambda: _lookups.go_on(), after_in_child=_forget
        )


def _forget() -> None:
    """In the child of a fork: the threads that looked up are not there."""
    global _lookups
    _lookups = _Lookups()


def is_ip(host: str) -> bool:
    """Tell whether a host is an address and not a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError) as exc:
            if was_signalled(exc):
                raise
            continue
        return True
    return False


def in_turn(targets: list[Target]) -> list[Target]:
    """Return targets so that their families take turns: where one family leads nowhere, the other is tried soon."""
    families: dict[Any, list[Target]] = {}
    for target in targets:
        families.setdefault(target[0], []).append(target)
    return [target for target in chain.from_iterable(zip_longest(*families.values())) if target is not None]


def local_hostname() -> str:
    """Return this machine's name, as shown in the server's Web UI."""
    return socket.gethostname() or "localhost"
