"""`faktory.runtime.launch`: a worker whose threads cannot all be started fetches nothing, and says why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from faktory import Client, ConsumerBuilder, Job, ThreadStartFailed
from faktory.runtime.launch import launch
from faktory.server import Server
from tests.waiting import until


@pytest.fixture
def out_of_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let no thread of a name be started, as a system does that has no more."""
    start = threading.Thread.start

    def refuse(name: str) -> None:
        def maybe_start(self: threading.Thread) -> None:
            if self.name == name:
                raise RuntimeError("can't start new thread")
            start(self)

        monkeypatch.setattr(threading.Thread, "start", maybe_start)

    return refuse


def test_a_thread_that_is_started_runs() -> None:
    ran = threading.Event()
    thread = launch("faktory-test", ran.set)
    thread.join(10)
    assert ran.is_set()
    assert (thread.name, thread.daemon) == ("faktory-test", True)


def test_no_room_for_a_thread_is_an_error_of_ours(out_of_threads: Callable[[str], None]) -> None:
    out_of_threads("faktory-test")
    with pytest.raises(ThreadStartFailed, match=r"faktory-test could not be started"):
        launch("faktory-test", print)


@pytest.mark.parametrize("name", ["faktory-heartbeat", "faktory-worker-1", "faktory-worker-8"])
@pytest.mark.parametrize("method", ["run", "drain"])
def test_a_worker_without_room_for_its_threads_fetches_nothing(
    server: Server, client: Client, out_of_threads: Callable[[str], None], name: str, method: str
) -> None:
    """P16: the first threads had begun jobs, which were abandoned; each restart by a supervisor stranded more."""
    client.push_bulk(Job("work") for _ in range(20))
    consumer = ConsumerBuilder().register("work", lambda job: None).workers(8).connect(server.url)
    out_of_threads(name)
    call: Any = getattr(consumer, method)
    with pytest.raises(ThreadStartFailed, match=name):
        call(["default"])
    assert (len(server.queue("default")), len(server.working)) == (20, 0)
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("faktory-worker")])
    consumer.close()


def test_ctrl_c_while_threads_are_started_fetches_nothing(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P16."""
    client.push(Job("work"))
    consumer = ConsumerBuilder().register("work", lambda job: None).workers(4).connect(server.url)
    start = threading.Thread.start

    def strike(self: threading.Thread) -> None:
        if self.name == "faktory-worker-3":
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(threading.Thread, "start", strike)
    with pytest.raises(KeyboardInterrupt):
        consumer.run(["default"])
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("faktory-worker")])
    assert (len(server.queue("default")), len(server.working)) == (1, 0)
    consumer.close()
