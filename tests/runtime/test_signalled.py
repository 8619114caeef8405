"""What a signal handler raised is told from what a call raised."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

from faktory.runtime.signalled import was_signalled


@pytest.fixture(autouse=True)
def handler_is_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def caught(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


def plain(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def forgetful(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TimeoutError


def busy(number: int, frame: FrameType | None) -> None:
    os.stat("/nowhere/at/all")  # noqa: PTH116


class Methods:
    def method(self, number: int, frame: FrameType | None) -> None:
        del frame
        raise ConnectionResetError

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        raise BlockingIOError


def with_more(name: str, number: int, frame: FrameType | None) -> None:
    del frame
    raise InterruptedError


def throw() -> None:
    raise OSError(errno.EIO, "of the handler")


@pytest.mark.parametrize(
    "handler",
    [plain, forgetful, busy, Methods().method, Methods(), partial(with_more, "x"), lambda *_: throw()],
    ids=lambda handler: getattr(handler, "__name__", type(handler).__name__),
)
def test_whatever_a_handler_raises_is_known(handler: Any) -> None:
    signal.signal(signal.SIGUSR1, handler)
    assert was_signalled(caught(lambda: os.kill(os.getpid(), signal.SIGUSR1)))


def test_a_handler_that_sets_another_one_is_known() -> None:
    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        raise TimeoutError

    signal.signal(signal.SIGUSR1, once)
    assert was_signalled(caught(lambda: os.kill(os.getpid(), signal.SIGUSR1)))


def test_what_a_call_raises_is_not_a_handlers() -> None:
    with socket.socket() as sock:
        assert not was_signalled(caught(sock.getpeername))
        assert not was_signalled(caught(lambda: sock.getpeername()))


def test_what_a_wrapper_around_a_call_raises_is_not_a_handlers() -> None:
    """Tracing and proxy libraries put functions of their own around those of socket."""

    def wrapper(*args: object, **options: object) -> None:
        raise TimeoutError("the proxy did not answer")

    assert not was_signalled(caught(wrapper))
    assert not was_signalled(caught(lambda: wrapper(1, 2)))


def test_what_was_never_raised_is_not_a_handlers() -> None:
    assert not was_signalled(TimeoutError())
