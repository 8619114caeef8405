"""Datagrams to a service manager, read by a socket in its place."""

from __future__ import annotations

import os
import socket

import pytest

from faktory.observe.notify import Notifier
from tests.observe.manager import heard


def test_each_word_is_a_datagram_and_said_when_it_is_new(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname(), watchdog=10.0)
    for _ in range(2):
        notifier.ready()
        notifier.status("running:\n1 of 4")
        notifier.stopping()
        notifier.alive()
        notifier.extend(2.5)
    notifier.status("ended")
    notifier.close()
    again = ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2500000"]
    assert heard(manager) == ["READY=1", "STATUS=running: 1 of 4", "STOPPING=1", *again, *again, "STATUS=ended"]


def test_it_speaks_to_an_abstract_socket() -> None:
    name = f"faktory-{os.getpid()}-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        try:
            manager.bind(f"\0{name}")
        except OSError:
            pytest.skip("no abstract sockets here")
        notifier = Notifier(f"@{name}")
        notifier.ready()
        notifier.close()
        assert heard(manager) == ["READY=1"]


def test_the_environment_is_read_and_cleared_for_the_children() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7", "HOME": "/root"}
    notifier = Notifier.taken_from(environ, 7)
    assert notifier.is_heard
    assert notifier.watchdog == 20.0
    assert environ == {"HOME": "/root"}
    assert repr(notifier).startswith("<Notifier /run/x in ")


@pytest.mark.parametrize(
    ("variables", "is_heard", "watchdog"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "5"}, False, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "8"}, True, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000"}, True, 5.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, True, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, True, None),
    ],
)
def test_a_watchdog_is_heeded_only_when_it_is_ours(
    variables: dict[str, str], is_heard: bool, watchdog: float | None
) -> None:
    notifier = Notifier.taken_from(variables, 7)
    assert (notifier.is_heard, notifier.watchdog) == (is_heard, watchdog)
    notifier.ready()  # to nobody, and without harm
    notifier.alive()
    notifier.close()


def test_a_manager_that_does_not_read_makes_nobody_wait(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname(), watchdog=1.0)
    for _ in range(5_000):
        notifier.alive()
    notifier.close()
    assert heard(manager)
