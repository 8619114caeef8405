"""The process that forks children, with a consumer that the test plays itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faktory import ChildStartFailed, Client, ConsumerBuilder, Job
from faktory.core.hooks import Hooks
from faktory.core.registry import Registry
from faktory.isolation.frames import DONE, NEWS, ORDER, Answer, News, Order
from faktory.isolation.program import describe
from faktory.options import ChildLimits
from faktory.server import Server
from tests.isolation import jobs
from tests.isolation.conftest import is_alive
from tests.waiting import until


class Started:
    """A fork server, and the consumer's end of its control socket."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(20)
        with theirs:
            program = f"from faktory.isolation.fork_server import main; main({theirs.fileno()})"
            self.process = subprocess.Popen(
                [sys.executable, "-c", program], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE
            )

    def introduce(self, document: dict[str, Any]) -> Any:
        """Say what to import; returns the answer."""
        with self.control.makefile("rwb") as stream:
            stream.write(json.dumps(document).encode() + b"\n")
            stream.flush()
            return json.loads(stream.readline())

    def end(self) -> tuple[int, bytes]:
        """Wait until it has ended; returns its exit code, and what it wrote to stderr."""
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def started() -> Iterator[Started]:
    started = Started()
    yield started
    started.control.close()
    if started.process.poll() is None:
        started.process.kill()
        started.end()


def document() -> dict[str, Any]:
    """What a consumer says that has one job."""
    registry = Registry()
    registry.register("work", jobs.work, None)
    return describe(registry, Hooks(), {}, (), (), ChildLimits()) | {"levels": {}}


def test_a_consumer_that_is_gone_before_it_says_what_to_import_is_no_error(started: Started) -> None:
    started.control.close()
    assert started.end() == (1, b"")


def test_an_import_that_fails_is_told_and_ends_it(started: Started) -> None:
    wrong = document()
    wrong["handlers"] = [("work", "tests.isolation.nowhere:work", None)]
    assert "ModuleNotFoundError: No module named 'tests.isolation.nowhere'" in started.introduce(wrong)
    assert started.end() == (1, b"")


def test_a_consumer_that_has_not_read_what_it_was_told_takes_its_children_along(started: Started) -> None:
    """The end of its socket is an error then."""
    assert started.introduce(document()) is None
    job, theirs = socket.socketpair()
    pipes = [os.pipe() for _ in range(3)]
    with job:
        with theirs:
            descriptors = [theirs.fileno(), *(writing for _, writing in pipes)]
            socket.send_fds(started.control, [ORDER.pack(Order.FORK, 1, 0)], descriptors)
        news, number, pid = NEWS.unpack(started.control.recv(NEWS.size, socket.MSG_PEEK))
        assert (news, number) == (News.FORKED, 1)
        job.settimeout(20)
        assert DONE.unpack(job.recv(DONE.size))[0] == Answer.READY
        started.control.close()
        assert started.end() == (0, b"")
        until(lambda: not is_alive(pid))
    for end in sum(pipes, ()):
        os.close(end)


FORKLESS = """
import os
from faktory.isolation import threads

def fork():
    raise BlockingIOError(11, "Resource temporarily unavailable")

if threads.is_child:
    os.fork = fork

def work(job): ...
"""


@pytest.mark.usefixtures("hasty")
def test_a_child_that_cannot_be_forked_says_why_and_costs_no_job(
    server: Server, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forkless_jobs.py").write_text(FORKLESS)
    monkeypatch.syspath_prepend(tmp_path)
    from forkless_jobs import work  # type: ignore[import-not-found]

    client.push(Job("work"))
    with (
        ConsumerBuilder().register("work", work).processes(1).connect(server.url) as consumer,
        pytest.raises(ChildStartFailed, match=r"it said last: cannot fork: .*Resource temporarily unavailable"),
    ):
        consumer.drain(["default"])
    assert len(server.queue("default")) == 1
