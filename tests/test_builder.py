"""The builder: what it passes on, and what it refuses before it connects."""

from __future__ import annotations

import functools
import inspect
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from faktory import Client, ConfigurationError, Consumer, ConsumerBuilder, Job
from faktory.server import Server
from tests.certificates import Certificates


def handle(job: Job) -> None:
    pass


async def handle_async(job: Job) -> None:
    pass


def test_every_call_returns_the_builder() -> None:
    builder = ConsumerBuilder()
    calls: list[Callable[[], Any]] = [
        lambda: builder.register("work", handle),
        lambda: builder.hostname("box"),
        lambda: builder.wid("wid-1234"),
        lambda: builder.labels("a"),
        lambda: builder.add_labels("b"),
        lambda: builder.workers(2),
        lambda: builder.shutdown_timeout(1),
        lambda: builder.heartbeat_interval(1),
        lambda: builder.middleware(lambda job, call_next: call_next()),
        lambda: builder.on_startup(lambda: None),
        lambda: builder.on_quiet(lambda: None),
        lambda: builder.on_shutdown(lambda: None),
        lambda: builder.on_failure(lambda job, exc: None),
        lambda: builder.on_death(lambda job, exc: None),
        lambda: builder.stop_when(lambda: False),
        lambda: builder.manage(int, lambda: 5),
    ]
    for call in calls:
        assert call() is builder


def test_the_help_shows_no_address() -> None:
    assert "handler: 'HandlerFunction' = ..., *" in str(inspect.signature(ConsumerBuilder.register))


def test_register_is_a_decorator_too(server: Server, client: Client) -> None:
    builder = ConsumerBuilder()
    seen: list[Job] = []

    @builder.register("work", timeout=5)
    def work(job: Job) -> None:
        seen.append(job)

    assert work.__name__ == "work"
    client.push(Job("work"))
    with builder.connect(server.url) as consumer:
        assert consumer.run_one(["default"])
    assert len(seen) == 1


def test_the_server_sees_who_we_are(server: Server) -> None:
    builder = (
        ConsumerBuilder().register("work", handle).hostname("box").wid("wid-builder-1").labels("a", "b").add_labels("c")
    )
    with builder.connect(server.url):
        (worker,) = server.workers
        assert (worker.hostname, worker.wid, worker.labels) == ("box", "wid-builder-1", ("a", "b", "c"))


def test_two_consumers_of_one_builder_are_two_workers(server: Server) -> None:
    builder = ConsumerBuilder().register("work", handle)
    with builder.connect(server.url) as one, builder.connect(server.url) as two:
        assert one.wid != two.wid
        assert len(server.workers) == 2
        assert server.workers[0].labels == ("python",)


def test_a_consumer_needs_a_handler(server: Server) -> None:
    with pytest.raises(ConfigurationError, match="at least one handler"):
        ConsumerBuilder().connect(server.url)


class AsyncCallable:
    async def __call__(self, job: Job) -> None:
        pass


@pytest.mark.parametrize("handler", [handle_async, functools.partial(handle_async), AsyncCallable()])
def test_async_handlers_are_refused_by_threads(server: Server, handler: Any) -> None:
    with pytest.raises(ConfigurationError, match="'work' is async"):
        ConsumerBuilder().register("work", handler).connect(server.url)


def test_a_handler_that_turns_out_to_be_async_fails_its_job(server: Server, client: Client) -> None:
    client.push(Job("work", retry=2))
    with ConsumerBuilder().register("work", lambda job: handle_async(job)).connect(server.url) as consumer:
        assert consumer.run_one(["default"])
    (job,) = server.retries
    assert job.failure is not None
    assert "awaitable" in job.failure.message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("workers", 0, "workers must be an integer from 1"),
        ("workers", True, "workers must be an integer from 1"),
        ("workers", 2.0, "workers must be an integer from 1"),
        ("shutdown_timeout", -1, "shutdown_timeout must be seconds"),
        ("heartbeat_interval", 0, "heartbeat_interval must be seconds"),
        ("heartbeat_interval", 60, "at most 20"),
        ("wid", "short", "wid must have at least 8"),
        ("wid", "with\r\nbreaks", "wid must be a printable"),
        ("hostname", "", "hostname must be a printable"),
        ("labels", 5, "a label must be a printable"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_connecting(name: str, value: Any, message: str) -> None:
    """D3."""
    builder = ConsumerBuilder().register("work", handle)
    getattr(builder, name)(value)
    with pytest.raises(ConfigurationError, match=message):
        builder.connect("tcp://localhost:1")


def test_hooks_must_be_callable() -> None:
    for name in ("on_startup", "on_quiet", "on_shutdown", "on_failure", "on_death", "stop_when"):
        with pytest.raises(ConfigurationError, match="must be callable"):
            getattr(ConsumerBuilder(), name)("not a function")


def test_the_environment_says_where_the_server_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKTORY_URL", server.url)
    ConsumerBuilder().register("work", handle).connect().close()


def test_consumers_speak_tls(certificates: Certificates) -> None:
    context: ssl.SSLContext = certificates.server_context("localhost")
    with Server(ssl_context=context, password="hunter2", fetch_wait=0.1) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        seen: list[Job] = []
        with Client(url, ssl_context=certificates.client_context()) as client:
            client.push_bulk(Job("work", [n]) for n in range(20))
        builder = ConsumerBuilder().register("work", seen.append).workers(3)
        with builder.connect(url, ssl_context=certificates.client_context()) as consumer:
            assert isinstance(consumer, Consumer)
            assert consumer.drain(["default"]).succeeded == 20
        assert sorted(job.args[0] for job in seen) == list(range(20))


def test_a_decorator_without_its_job_type_is_refused() -> None:
    builder = ConsumerBuilder()
    with pytest.raises(ConfigurationError, match=r'@builder.register\("name"\)'):
        builder.register(handle)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="must be callable, got NoneType"):
        builder.register("work", None)  # type: ignore[call-overload]


def test_hooks_and_middleware_that_could_not_be_called_are_refused() -> None:
    builder = ConsumerBuilder()
    with pytest.raises(ConfigurationError, match="must take two arguments"):
        builder.middleware(lambda job: None)  # type: ignore[arg-type,misc]
    with pytest.raises(ConfigurationError, match="must take the job and the exception"):
        builder.on_failure(lambda: None)  # type: ignore[arg-type,misc]
    with pytest.raises(ConfigurationError, match="must take no arguments"):
        builder.on_startup(lambda job: None)  # type: ignore[arg-type,misc]


def test_async_middleware_and_hooks_are_refused_by_threads(server: Server) -> None:
    async def around(job: Job, call_next: Any) -> Any:
        return await call_next()

    async def hook() -> None: ...

    builder = ConsumerBuilder().register("work", handle)
    with pytest.raises(ConfigurationError, match=r"the hook .*hook .* is async, which threads cannot run"):
        builder.on_startup(hook).connect(server.url)
    builder = ConsumerBuilder().register("work", handle)
    with pytest.raises(ConfigurationError, match=r"the middleware .*around .* is async, which threads cannot run"):
        builder.middleware(around).connect(server.url)


def test_labels_in_a_list_are_refused_with_the_right_spelling() -> None:
    with pytest.raises(ConfigurationError, match="one by one"):
        ConsumerBuilder().labels(["a", "b"])  # type: ignore[arg-type]


def test_a_context_for_tls_without_tls_is_refused(server: Server, certificates: Certificates) -> None:
    """Else everything would travel in clear, against the user's wish."""
    context = certificates.client_context()
    with pytest.raises(ConfigurationError, match=r"without TLS; write tcp\+tls"):
        ConsumerBuilder().register("work", handle).connect(server.url, ssl_context=context)
    with pytest.raises(ConfigurationError, match=r"without TLS; write tcp\+tls"):
        Client(server.url, ssl_context=context)


@pytest.mark.parametrize("n", [None, 0, -1, True, "4", 10_001])
def test_a_number_of_processes_that_is_none_is_refused_at_once(n: object) -> None:
    """A variable that was not set must not silently mean threads."""
    with pytest.raises(ConfigurationError, match=r"processes must be an integer .* leave the call out to run jobs in"):
        ConsumerBuilder().processes(n)  # type: ignore[arg-type]


def test_workers_and_processes_that_contradict_are_refused() -> None:
    builder = ConsumerBuilder().register("x", print).workers(50).processes(2)
    with pytest.raises(ConfigurationError, match=r"workers\(50\) and processes\(2\) contradict"):
        builder.connect("tcp://127.0.0.1:1")
