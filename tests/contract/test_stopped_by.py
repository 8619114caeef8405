"""`stopped_by`: who has asked for the end of a consumer, in every front end, against every server."""

from __future__ import annotations

import signal

import pytest

from faktory import ConnectionLost, ConsumerBuilder
from faktory.blocking.connection import Connection
from faktory.commands import Beat
from faktory.server import Server
from tests.contract.conftest import Backend
from tests.contract.fronts import Front
from tests.program import Program
from tests.waiting import until


def builder() -> ConsumerBuilder:
    return ConsumerBuilder().register("work", lambda job: None)


def test_a_method(front: Front, backend: Backend) -> None:
    run = front.start(builder(), backend.url, [backend.queue])
    assert run.consumer.stopped_by is None
    run.consumer.quiet()
    assert run.consumer.stopped_by is None
    run.consumer.terminate()
    backend.hurry()
    run.wait()
    assert run.consumer.stopped_by == "method"


def test_the_server(front: Front, backend: Backend) -> None:
    described = builder().wid("wid-stopped-by").heartbeat_interval(0.05)
    run = front.start(described, backend.url, [backend.queue])
    with Connection(backend.url) as connection:
        connection.call(Beat("wid-stopped-by", current_state="terminate"))
    until(lambda: run.consumer.stopped_by is not None)
    run.consumer.terminate()  # comes too late
    backend.hurry()
    run.wait()
    assert run.consumer.stopped_by == "server"


def test_a_predicate(front: Front, backend: Backend) -> None:
    seen: list[object] = []
    described = builder().stop_when(lambda: True).on_shutdown(lambda: seen.append(run.consumer.stopped_by))
    backend.push("work")
    run = front.start(described, backend.url, [backend.queue])
    run.wait()
    assert run.consumer.stopped_by == "predicate"
    assert seen == ["predicate"]


def test_an_error_until_it_goes_on(front: Front) -> None:
    with Server() as server:
        run = front.start(builder(), server.url, ["default"])
        until(lambda: server.waiting)
    with pytest.raises(ConnectionLost):
        run.wait()
    assert run.consumer.stopped_by == "error"


def test_a_start_that_fails(front: Front, backend: Backend) -> None:
    def fail() -> None:
        raise ValueError("no database")

    run = front.start(builder().on_startup(fail), backend.url, [backend.queue])
    with pytest.raises(ValueError, match="no database"):
        run.wait()
    assert run.consumer.stopped_by == "error"


def test_nobody_while_the_queues_were_drained(backend: Backend) -> None:
    backend.push("work")
    with builder().connect(backend.url) as consumer:
        if backend.embedded is not None:
            backend.embedded.clock.advance(2.1)
        assert consumer.drain([backend.queue]).succeeded == 1
        assert consumer.stopped_by is None
    assert consumer.stopped_by == "method"


@pytest.mark.parametrize("library", ["threads", "asyncio", "trio"])
def test_a_signal(library: str) -> None:
    with Server(fetch_wait=0.1) as server, Program("tests.programs.stopped_by", library, server.url) as worker:
        worker.expect("ready")
        until(lambda: server.waiting)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.errors
        assert worker.lines[-1] == "signal"
