"""The seam, whatever runs the jobs: threads, child processes, asyncio, trio, each with `run`, `run_one` and `drain`."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from faktory import Client, ConfigurationError, ConsumerBuilder, Job
from faktory.observe import Metrics, Observer
from faktory.server import Server
from tests.contract.fronts import AsyncioFront, Front, ThreadFront, TrioFront
from tests.isolation.conftest import Journal
from tests.observe import jobs
from tests.observe.jobs import Hostile, Recorder
from tests.proxy import Proxy
from tests.waiting import until

FRONTS: dict[str, Front] = {"threads": ThreadFront(), "asyncio": AsyncioFront(), "trio": TrioFront()}
WAYS = ["threads", "asyncio", "trio", "threads-children", "asyncio-children"]


class Way:
    """One way of running jobs."""

    def __init__(self, name: str) -> None:
        kind, _, self.children = name.partition("-")
        self.front: Front = FRONTS[kind]

    def builder(self, observer: Observer) -> ConsumerBuilder:
        builder = ConsumerBuilder().middleware(jobs.skip_some).observer(observer)
        for name in ("succeed", "fail", "discard", "retry", "nap"):
            builder.register(name, getattr(jobs, name))
        builder.register("skipped", jobs.succeed)
        return builder.processes(1) if self.children else builder.workers(1)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    journal = Journal(tmp_path / "journal")
    monkeypatch.setenv("TEST_JOURNAL", journal.path)
    return journal


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(fetch_wait=0.01) as server:
        yield server


def push(server: Server, *made: Job) -> None:
    with Client(server.url) as client:
        assert client.push_bulk(made) == {}


@pytest.mark.slow
def test_each_job_is_settled_once_with_its_outcome(way: Way, server: Server, journal: Journal) -> None:
    recorder = Recorder()
    push(server, *(Job(name) for name in ("succeed", "fail", "discard", "retry", "skipped", "unknown")))
    push(server, Job("fail", retry=0))
    way.front.drain(way.builder(recorder), server.url, ["default"])
    assert recorder.settlements == [
        ("succeed", "succeeded"),
        ("fail", "failed"),
        ("discard", "discarded"),
        ("retry", "retried"),
        ("skipped", "discarded"),
        ("unknown", "failed"),
        ("fail", "dead"),
    ]
    for seconds, waited, _ in recorder.details:
        assert 0.0 <= seconds < 5.0
        assert waited is not None
        assert 0.0 <= waited < 20.0
    assert [exc is not None for _, _, exc in recorder.details] == [False, True, False, False, False, True, True]


@pytest.mark.slow
def test_working_goes_around_the_handler_where_it_runs(way: Way, server: Server, journal: Journal) -> None:
    recorder = Recorder()
    push(server, Job("succeed"), Job("fail"), Job("skipped"))
    way.front.drain(way.builder(recorder).wid("0123456789abcdef"), server.url, ["default"])
    lines = [line.split() for line in journal.lines()]
    pids = {int(words[2]) for words in lines if words[0] == "enter"}
    assert (pids == {os.getpid()}) is not bool(way.children)
    assert {words[3] for words in lines if words[0] == "enter"} == {"0123456789abcdef"}
    assert [words[:2] for words in lines if words[0] != "flush"] == [
        *(["enter", "succeed"], ["run", "succeed"], ["leave", "succeed"]),
        *(["enter", "fail"], ["raised", "fail"], ["leave", "fail"]),
        *(["enter", "skipped"], ["leave", "skipped"]),
    ]
    assert {int(words[1]) for words in lines if words[0] == "flush"} == pids | {os.getpid()}


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_working_goes_around_an_async_handler_until_it_has_been_awaited(
    kind: str, server: Server, journal: Journal
) -> None:
    recorder = Recorder()
    push(server, Job("a"))
    builder = ConsumerBuilder().register("a", jobs.succeed_async).observer(recorder)
    FRONTS[kind].drain(builder, server.url, ["default"])
    assert [line.split()[0] for line in journal.lines()] == ["enter", "run", "leave", "flush"]
    assert recorder.settlements == [("a", "succeeded")]


@pytest.mark.slow
def test_run_one_is_observed_too(way: Way, server: Server, journal: Journal) -> None:
    recorder = Recorder()
    push(server, Job("succeed"))
    assert way.front.run_one(way.builder(recorder), server.url, ["default"])
    assert recorder.settlements == [("succeed", "succeeded")]
    assert [line.split()[0] for line in journal.lines()][:3] == ["enter", "run", "leave"]


@pytest.mark.slow
def test_a_job_that_is_cut_off_is_settled_as_such_once(way: Way, server: Server, journal: Journal) -> None:
    recorder = Recorder()
    push(server, Job("nap", [0.4]))
    running = way.front.start(way.builder(recorder).shutdown_timeout(0.0), server.url, ["default"])
    until(lambda: journal.lines("start"))
    running.consumer.terminate()
    running.wait()
    assert recorder.settlements == [("nap", "cut_off")]
    time.sleep(0.5)  # the handler may end late, in a thread that nobody can stop
    assert recorder.settlements == [("nap", "cut_off")]


@pytest.mark.slow
def test_an_observer_that_raises_harms_nothing(way: Way, server: Server, journal: Journal) -> None:
    push(server, Job("succeed"), Job("fail"))
    summary = way.front.drain(way.builder(Hostile()), server.url, ["default"])
    assert (summary.succeeded, summary.failed) == (1, 1)


@pytest.mark.parametrize("children", [False, True])
@pytest.mark.slow
def test_a_typed_job_that_asks_for_it_is_discarded_or_retried(
    children: bool, server: Server, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.app._own_delivery, "_url", None)  # it takes the consumer's
    monkeypatch.setattr(jobs.app._own_delivery, "_made", {})
    recorder = Recorder()
    push(server, *(Job("typed", [kind], queue="typed") for kind in ("plain", "discard", "retry")))
    builder = jobs.app.consumer().observer(recorder)
    if children:
        builder.processes(1)
    with builder.connect(server.url) as consumer:
        consumer.drain()
    jobs.app.close()
    assert [outcome for _, outcome in recorder.settlements] == ["succeeded", "discarded", "retried"]


@pytest.mark.slow
def test_a_child_that_crashes_is_settled_and_counted(server: Server, journal: Journal) -> None:
    recorder = Recorder()
    push(server, Job("crash", retry=0), Job("succeed"), Job("nap", [5.0], retry=0))
    builder = ConsumerBuilder().observer(recorder).processes(1, max_jobs_per_child=1)
    builder.register("crash", jobs.crash).register("succeed", jobs.succeed).register("nap", jobs.nap, timeout=0.1)
    with builder.connect(server.url) as consumer:
        health = consumer.serve_health()
        consumer.drain(["default"])
        with urlopen(f"{health.url}/metrics", timeout=10) as answer:
            page = answer.read().decode()
    assert recorder.settlements == [("crash", "dead"), ("succeed", "succeeded"), ("nap", "dead")]
    for reason in ("crashed", "limit", "timeout"):
        assert f'faktory_worker_children_total{{reason="{reason}"}} 1\n' in page
    assert 'faktory_worker_jobs_total{jobtype="crash",queue="default",outcome="dead"} 1\n' in page


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FRONTS))
def test_connections_are_told_of(kind: str, server: Server, journal: Journal) -> None:
    recorder = Recorder()
    with Proxy(server.port) as proxy:
        running = FRONTS[kind].start(Way(kind).builder(recorder), f"tcp://127.0.0.1:{proxy.port}", ["default"])
        until(lambda: recorder.events)
    with pytest.raises(ConnectionError):
        running.wait()
    assert recorder.events[:2] == ["connected", "lost"]


def test_what_a_child_could_not_make_is_refused_when_building(server: Server) -> None:
    class Local(Observer):
        def working(self, job: Job) -> Any:
            raise NotImplementedError

    builder = ConsumerBuilder().register("succeed", jobs.succeed).observer(Local()).processes(1)
    with pytest.raises(ConfigurationError, match=r"the observer .*Local is made by .*defined inside of a function"):
        builder.connect(server.url)


def test_what_is_no_observer_is_refused() -> None:
    wrong: Any = Recorder
    with pytest.raises(ConfigurationError, match="the class Recorder"):
        ConsumerBuilder().observer(wrong)
    with pytest.raises(ConfigurationError, match="got int"):
        Client(observers=[wrong := 3])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="got object"):
        jobs.app.observe(object())  # type: ignore[arg-type]


def test_two_consumers_of_one_builder_count_apart(server: Server) -> None:
    builder = ConsumerBuilder().register("succeed", jobs.succeed)
    with builder.connect(server.url) as one, builder.connect(server.url) as other:
        assert one._observation.subject().metrics is not other._observation.subject().metrics


def test_a_programs_own_metrics_are_the_ones_that_are_served(server: Server) -> None:
    metrics = Metrics()
    with ConsumerBuilder().register("succeed", jobs.succeed).observer(metrics).connect(server.url) as consumer:
        assert consumer._observation.subject().metrics is metrics


class TestPushing:
    """Pushes, seen by the observers of a client."""

    def test_single_and_bulk_pushes_are_seen_and_carry_what_was_added(self, server: Server) -> None:
        recorder = Recorder()
        with Client(server.url, observers=[recorder]) as client:
            client.push(Job("a"))
            client.push_bulk([Job("a"), Job("b", custom={"x": 1})])
        assert recorder.pushes == [1, 0, 2, 0]
        assert [job.custom for job in server.queue("default")] == [
            {"seen": True},
            {"seen": True},
            {"x": 1, "seen": True},
        ]

    @pytest.mark.parametrize("kind", ["asyncio", "trio"])
    def test_async_clients_are_observed(self, kind: str, server: Server) -> None:
        import faktory.asyncio
        import faktory.trio

        recorder = Recorder()

        async def main() -> None:
            module: Any = faktory.asyncio if kind == "asyncio" else faktory.trio
            async with module.Client(server.url, observers=[recorder]) as client:
                await client.push(Job("a"))
                await client.push_bulk([Job("a"), Job("b")])

        front: Any = FRONTS[kind]
        front.run(main)
        assert recorder.pushes == [1, 0, 2, 0]

    def test_an_apps_pushes_are_observed(self, server: Server) -> None:
        import faktory

        recorder = Recorder()
        app = faktory.App(server.url)
        app.observe(recorder)

        @app.job
        def add() -> None: ...

        add.enqueue()
        add.enqueue_many([(), ()])
        app.close()
        assert recorder.pushes == [1, 0, 2, 0]

    def test_a_push_that_fails_is_counted_as_such(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        metrics = Metrics()
        with Client(f"tcp://127.0.0.1:{port}", observers=[metrics]) as client, pytest.raises(ConnectionError):
            client.push(Job("a"))
        assert 'faktory_client_pushed_total{jobtype="a",queue="default",result="failed"} 1' in metrics.text()
