"""Fixtures that every test may use."""

from __future__ import annotations

import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import trustme

from faktory import Client
from faktory.server import Server


def pytest_configure() -> None:
    """Hear Ctrl-C, also where the suite was started with it ignored (nohup, a shell's background)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def server() -> Iterator[Server]:
    """An embedded server of the test's own."""
    with Server(seed=7) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A producer connected to `server`."""
    with Client(server.url) as client:
        yield client


@dataclass(frozen=True)
class Certificates:
    """An authority that the client trusts, and contexts made from it."""

    authority: trustme.CA

    def server_context(self, *names: str, authority: trustme.CA | None = None, **options: object) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = (authority or self.authority).issue_cert(*names, **options)  # type: ignore[arg-type]
        certificate.configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return Certificates(trustme.CA())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves one of our threads behind."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread.name.startswith("faktory-") and thread not in before]
    for thread in left:
        thread.join(5)
    assert not [thread.name for thread in left if thread.is_alive()]


def until(condition: Callable[[], object], patience: float = 10.0) -> None:
    """Wait for something that has no event to wait for; fail when it does not come.

    Never as long as a beat (15 s), which repairs most of what a test should notice.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
