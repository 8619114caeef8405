"""The seam by which a test takes over where jobs go, without the kit that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from faktory import App, Client, ConfigurationError, Job, override
from faktory.protocol.address import Address
from faktory.server import Server
from tests.recording import Recording


class Stand:
    """An override, as small as can be."""

    def __init__(self, address: Address | None = None, time: float = 0.0) -> None:
        self.taken: list[Job] = []
        self.calls: list[Any] = []
        self.kept: dict[int, Any] = {}
        self._address = address
        self._time = time

    @property
    def taker(self) -> override.Taker | None:
        return self if self._address is None else None

    def address(self, told: Address) -> Address:
        if self._address is None:
            raise ConfigurationError("no server here")
        return self._address

    def time(self) -> float:
        return self._time

    def take(self, job: Any, runner: override.Runner) -> None:
        self.taken.append(job)

    def call(self, command: Any) -> Any:
        self.calls.append(command)
        return {}

    def keep(self, owner: object, make: Callable[[], Any]) -> Any:
        return self.kept.setdefault(id(owner), make())

    def describe(self) -> dict[str, Any] | None:
        return None


@contextmanager
def in_force(stand: Stand) -> Iterator[Stand]:
    override.push(stand)
    try:
        yield stand
    finally:
        override.pop(stand)
        for kept in stand.kept.values():
            kept.close()


def test_nothing_is_overridden_by_itself() -> None:
    told = Address("example.com")
    assert (override.active(), override.taker(), override.place(told)) == (None, None, told)
    assert abs(override.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_latest_one_is_in_force_whatever_ends_first() -> None:
    first, second = Stand(Address("first"), time=86_400.0), Stand()
    override.push(first)
    override.push(second)
    assert override.active() is second
    assert override.taker() is second
    override.pop(first)
    assert override.active() is second
    override.pop(second)
    with in_force(first):
        assert override.taker() is None
        assert override.place(Address()).host == "first"
        assert override.now() == datetime(1970, 1, 2, tzinfo=UTC)
    assert override.active() is None


def test_a_client_made_before_goes_where_the_override_says_and_back() -> None:
    with Server() as one, Server() as other, Client(one.url) as client:
        client.push(Job("a"))
        with in_force(Stand(Address.parse(other.url))):
            client.push(Job("b"))
        client.push(Job("c"))
        assert [job.jobtype for job in one.queue("default")] == ["a", "c"]
        assert [job.jobtype for job in other.queue("default")] == ["b"]


def test_a_closed_client_stays_closed() -> None:
    with Server() as server:
        client = Client("tcp://localhost:1")
        client.close()
        with in_force(Stand(Address.parse(server.url))), pytest.raises(ConfigurationError, match="closed"):
            client.push(Job("a"))


def test_under_one_that_takes_jobs_nothing_is_sent(server: Server) -> None:
    with Recording(server.port) as recording:
        app, client = App(recording.url), Client(recording.url)

        @app.job
        def work(number: int) -> None: ...

        with in_force(Stand()) as stand:
            work.enqueue(1)
            work.enqueue_many([(2,), (3,)])
            client.push(Job("plain"))
            with pytest.raises(ConfigurationError, match="no server"):
                app.consumer().connect()
        assert [job.args for job in stand.taken] == [[1], [2], [3]]
        assert [command.line[:5] for command in stand.calls] == [b"PUSHB"]
        assert not recording.connections()
        client.close()


def test_an_apps_client_of_meanwhile_is_not_its_client_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    with Server() as server, Server() as later:
        with in_force(Stand(Address.parse(server.url))):
            during = app.client
            assert app.client is during
        monkeypatch.setenv("FAKTORY_URL", later.url)
        assert app.client is not during
        assert app.client.address.port == later.port
        app.close()


def test_relative_times_count_from_the_overrides_time() -> None:
    with in_force(Stand(time=1_000.0)):
        assert Job("a", at=60).at == datetime.fromtimestamp(1_060, UTC)
        assert Job("a", at=timedelta(minutes=2)).at == datetime.fromtimestamp(1_120, UTC)


# -- one place for producer and consumer ------------------------------------------------------------------------------


def test_an_app_that_was_told_nothing_pushes_where_its_consumer_connects(server: Server) -> None:
    app = App()

    @app.job
    def work() -> None: ...

    with app.consumer().connect(server.url) as consumer:
        work.enqueue()
        assert consumer.run_one(["default"])
    app.close()


def test_an_app_has_one_server_whatever_the_environment_says_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKTORY_URL", server.url)
    app = App()

    @app.job
    def work() -> None: ...

    work.enqueue()
    monkeypatch.setenv("FAKTORY_URL", "tcp://localhost:1")
    with app.consumer().connect() as consumer:
        assert consumer.run_one(["default"])
    app.close()


@pytest.mark.parametrize("is_client", [False, True])
def test_a_consumer_that_is_told_another_server_is_refused(server: Server, is_client: bool) -> None:
    with Client("tcp://localhost:1") as client:
        app = App(client=client) if is_client else App("tcp://localhost:1")

        @app.job
        def work() -> None: ...

        with pytest.raises(ConfigurationError, match=r"pushed to tcp://localhost:1, .* connect to tcp://127"):
            app.consumer().connect(server.url)


def test_a_consumer_may_be_told_the_same_server(server: Server) -> None:
    app = App(f"tcp://localhost:{server.port}")

    @app.job
    def work() -> None: ...

    app.consumer().connect(server.url).close()


def test_under_an_override_a_consumer_is_told_nothing_for_later() -> None:
    app = App()

    @app.job
    def work() -> None: ...

    with Server() as server, in_force(Stand(Address.parse(server.url))):
        app.consumer().connect("tcp://localhost:1").close()
        work.enqueue()
        assert len(server.queue("default")) == 1
    assert app._delivery._url is None


def test_the_mode_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    app = App(server.url)
    ran: list[int] = []

    @app.job
    def work(number: int) -> None:
        ran.append(number)

    work.enqueue(1)
    monkeypatch.setenv("FAKTORY_MODE", "foreground")
    work.enqueue(2)
    assert (ran, app.mode, len(server.queue("default"))) == ([2], "foreground", 1)
    with in_force(Stand(Address.parse(server.url))):
        assert app.mode == "queue"
    app.close()
