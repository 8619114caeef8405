"""Starts the process that forks children: checks first, and leaves nothing behind when it cannot be used."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any

from ..errors import ConfigurationError
from ..options import CHILD_START_LIMIT
from ..runtime.interpreter import own_flags
from ..runtime.package import PARENT


def spawn(document: dict[str, Any]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a fork server and wait until it has imported the application. Returns it, and the socket to it.

    Raises `ConfigurationError` when the application cannot be imported there; then the process is gone.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = _start(theirs)
        try:
            error = _introduce(ours, document)
            if error is not None:
                raise ConfigurationError(f"a child process could not import the application:\n{error}".rstrip())
        except BaseException:
            process.kill()
            process.wait()
            raise
    except BaseException:
        ours.close()
        raise
    return process, ours


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    descriptor = fcntl(theirs.fileno(), F_DUPFD_CLOEXEC, 3)  # above those of stdin, stdout and stderr
    try:
        program = (
            f"import sys; sys.path.insert(0, {PARENT!r}); "
            f"from faktory.isolation.fork_server import main; main({descriptor})"
        )
        flags = own_flags()
        return subprocess.Popen(  # noqa: S603  # this Python
            [sys.executable, *flags, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=None if _is_inherited(1) else subprocess.DEVNULL,
            stderr=None if _is_inherited(2) else subprocess.DEVNULL,
            pass_fds=[descriptor],
        )
    finally:
        os.close(descriptor)


def _is_inherited(descriptor: int) -> bool:
    """Tell whether this process was started with it: closed, its number may be that of a socket by now."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def _introduce(ours: socket.socket, document: dict[str, Any]) -> str | None:
    """Tell the fork server what to import. Returns why it could not."""
    try:
        ours.settimeout(CHILD_START_LIMIT)
        with ours.makefile("rwb") as stream:
            stream.write(json.dumps(document).encode() + b"\n")
            stream.flush()
            answer = stream.readline()
        ours.settimeout(None)
    except TimeoutError:
        return f"it took longer than {CHILD_START_LIMIT:g} s"
    except OSError as exc:
        return str(exc)
    error: str | None = json.loads(answer) if answer else "the process ended without a word"
    return error
