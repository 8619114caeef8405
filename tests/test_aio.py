"""The async shell, on asyncio and on trio: what it does beyond the contract that it shares with threads."""

from __future__ import annotations

import contextvars
import json
import os
import random
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faktory import (
    Client,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConsumerBuilder,
    Job,
    JobTimeout,
    PushOutcomeUnknown,
    ServerError,
    current_job,
)
from faktory.blocking.connection import Connection
from faktory.commands import Fetch, Info
from faktory.core.queues import order_of
from faktory.core.session import Session
from faktory.protocol.handshake import Identity
from faktory.server import Server
from tests.certificates import Certificates
from tests.loops import LOOPS, Loop
from tests.places import black_hole, closed_port, sockets, targets
from tests.proxy import Proxy
from tests.scripted import Firewall, Peer, ScriptedServer


@pytest.fixture(params=LOOPS, ids=lambda loop: loop.name)
def loop(request: pytest.FixtureRequest) -> Loop:
    return request.param  # type: ignore[no-any-return]


# -- producing -------------------------------------------------------------------------------------------------------


def test_a_client_pushes_and_administers(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with loop.Client(server.url) as client:
            jid = await client.push(Job("work", [1]))
            assert await client.push_bulk(Job("work", [n]) for n in range(2_500)) == {}
            info = await client.info()
            assert info["faktory"]["total_enqueued"] == 2_501
            assert await client.queue_latency("default") != {}
            async with await loop.Connection.open(server.url) as connection:
                assert (await connection.call(Info()))["faktory"]["total_enqueued"] == 2_501
            assert server.queue("default")[0].jid == jid
            assert repr(client) == f"<Client {server.url}>"

    loop.run(main)


def test_batches_commit_at_the_end_of_their_block(loop: Loop) -> None:
    async def main(server: Server) -> None:
        async with loop.Client(server.url) as client:
            async with await client.batch(success=Job("done")) as batch:
                await batch.push(Job("work"))
                async with await batch.batch(complete=Job("inner")) as inner:
                    await inner.push_bulk([Job("work")])
            assert (await client.batch_status(batch.bid))["total"] == 1
            with pytest.raises(RuntimeError, match="no"):
                async with await client.batch(success=Job("done")) as batch:
                    raise RuntimeError("no")

    with Server(enterprise=True) as server:
        loop.run(lambda: main(server))


def test_a_full_pool_makes_others_wait_and_a_closed_one_refuses(loop: Loop, server: Server) -> None:
    async def main() -> None:
        client = loop.Client(server.url, pool_size=2)
        await loop.all(*[lambda n=n: client.push(Job("work", [n])) for n in range(50)])
        assert len(server.queue("default")) == 50
        assert server.info["server"]["connections"] == 2
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await client.push(Job("work"))

    loop.run(main)


def test_a_dead_pooled_connection_is_replaced_before_use(loop: Loop) -> None:
    async def main() -> None:
        with Server() as server:
            async with loop.Client(server.url) as client:
                await client.push(Job("work"))
                server.stop()
                server.start()
                await client.push(Job("work"))

    loop.run(main)


@pytest.mark.slow
def test_connections_that_died_silently_cost_one_push(loop: Loop) -> None:
    """N14: twin of the test in test_client.py."""
    firewall = Firewall(together=5)

    async def main(server: ScriptedServer) -> None:
        async with loop.Client(server.url, timeout=0.3) as client:
            await loop.all(*[lambda: client.push(Job("work")) for _ in range(5)])
            assert (server.connections, firewall.pushes) == (5, 5)
            firewall.restart()
            with pytest.raises(PushOutcomeUnknown, match=r"no reply from .* within 0.3 s"):
                await client.push(Job("work"))
            for _ in range(5):
                await client.push(Job("work"))
            assert (server.connections, firewall.pushes) == (6, 5 + 1 + 5)

    with ScriptedServer(firewall) as server:
        loop.run(lambda: main(server))


def test_a_lost_reply_followed_by_a_refusal_is_an_unknown_outcome(loop: Loop) -> None:
    """D10: twin of the test in test_client.py."""
    connections = 0

    def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        peer.greet()
        peer.line()
        if connections == 2:
            peer.say(b"-ERR OOM command not allowed\r\n")

    async def main(server: ScriptedServer) -> None:
        async with loop.Client(server.url, push_retries=1) as client:
            with pytest.raises(PushOutcomeUnknown, match="stored or not"):
                await client.push(Job("work"))

    with ScriptedServer(script) as server:
        loop.run(lambda: main(server))


def test_a_server_without_patience_is_an_unknown_outcome(loop: Loop) -> None:
    """PROTOCOL 45: twin of the test in test_client.py."""

    def script(peer: Peer) -> None:
        peer.greet()
        for text in ("context deadline exceeded", "no more room"):
            (job,) = json.loads(peer.line().removeprefix(b"PUSHB "))
            body = json.dumps({job["jid"]: text}).encode()
            peer.say(b"$%d\r\n%b\r\n" % (len(body), body))

    async def main(server: ScriptedServer) -> None:
        async with loop.Client(server.url) as client:
            job = Job("work")
            with pytest.raises(PushOutcomeUnknown) as caught:
                await client.push(job)
            assert caught.value.jids == (job.jid,)
            with pytest.raises(ServerError, match="no more room"):
                await client.push(job)

    with ScriptedServer(script) as server:
        loop.run(lambda: main(server))


@pytest.mark.slow
def test_a_first_address_that_swallows_everything_costs_little(
    loop: Loop, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N2, N3: twin of the test in test_dialling.py; a refusal costs nothing."""

    async def main() -> None:
        started = time.monotonic()
        async with loop.Client(f"tcp://both.invalid:{server.port}", connect_timeout=2) as client:
            await client.push(Job("work"))
        assert time.monotonic() - started < 1

    with black_hole(("127.0.0.2", server.port)):
        for hosts in (["127.0.0.2", "127.0.0.1"], ["127.0.0.3", "127.0.0.2", "127.0.0.1"]):
            places = [(host, server.port) for host in hosts]
            monkeypatch.setattr("faktory.aio.connection.resolve", lambda address, limit, at=places: targets(*at))
            loop.run(main)
    assert len(server.queue("default")) == 2


def test_addresses_of_which_none_answers_are_all_told_of(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(ConnectFailed, match="Connection refused"):
            await loop.Connection.open(f"tcp://none.invalid:{port}", connect_timeout=2)
        with pytest.raises(ConnectFailed, match="timed out"):
            await loop.Connection.open(f"tcp://none.invalid:{hole[1]}", connect_timeout=0.4)

    port = closed_port()[1]
    places = [("127.0.0.2", 1), ("127.0.0.3", 1)]
    monkeypatch.setattr("faktory.aio.connection.resolve", lambda address, limit: targets(*places))
    with black_hole(("127.0.0.2", 0)) as hole:
        loop.run(main)


def test_without_threads_names_are_looked_up_all_the_same(
    loop: Loop, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P19: twin of the test in test_dialling.py."""

    def fail(*args: Any) -> Any:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        monkeypatch.setattr(threading.Thread, "start", fail)
        monkeypatch.setattr("_thread.start_new_thread", fail)
        async with loop.Client(f"tcp://localhost:{server.port}") as client:
            await client.push(Job("work"))

    loop.run(main)
    assert len(server.queue("default")) == 1


@pytest.mark.slow
def test_a_large_reply_goes_on_as_long_as_it_flows(loop: Loop, server: Server) -> None:
    """N15: twin of the test in test_network.py."""

    async def main(proxy: Proxy) -> None:
        identity = Identity("box", 1, "wid-12345678")
        async with await loop.Connection.open(proxy.url, identity=identity, timeout=0.8) as connection:
            job = await connection.call(Fetch(["default"]))
            assert job is not None
            assert len(job.args[0]) == 800_000

    with Client(server.url) as client:
        client.push(Job("work", ["x" * 800_000]))
    with Proxy(server.port) as proxy:
        proxy.bandwidth = 400_000
        loop.run(lambda: main(proxy))


def test_clients_and_consumers_speak_tls(loop: Loop, certificates: Certificates) -> None:
    seen: list[Any] = []

    async def work(job: Job) -> None:
        seen.append(job.args[0])

    async def main() -> None:
        theirs = certificates.server_context("localhost")
        with Server(ssl_context=theirs, password="hunter2", fetch_wait=0.1) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            context = certificates.client_context()
            async with loop.Client(url, ssl_context=context) as client:
                await client.push_bulk(Job("work", [n]) for n in range(20))
            builder = ConsumerBuilder().register("work", work).workers(3)
            connect = builder.connect_asyncio if loop.name == "asyncio" else builder.connect_trio
            async with await connect(url, ssl_context=context) as consumer:
                assert (await consumer.drain(["default"])).succeeded == 20

    loop.run(main)
    assert sorted(seen) == list(range(20))


def test_what_goes_wrong_is_called_what_it_is_called_in_threads(loop: Loop, certificates: Certificates) -> None:
    """N1, N6, N7, N8, N9, N10."""
    trusted = certificates.client_context()
    context = certificates.server_context("localhost")
    with (
        Server(password="hunter2") as plain,
        Server(ssl_context=context) as secure,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        with Server() as gone:
            nobody = gone.url
        secure_url = secure.url.replace("127.0.0.1", "localhost")
        cases: list[tuple[str, dict[str, Any]]] = [
            (nobody, {}),
            (f"tcp://127.0.0.1:{plain.port}", {}),
            (f"tcp://:secret@127.0.0.1:{plain.port}", {}),
            (f"tcp+tls://127.0.0.1:{plain.port}", {"ssl_context": trusted}),
            (f"tcp://127.0.0.1:{secure.port}", {}),
            (secure_url, {}),
            (secure.url, {"ssl_context": trusted}),
            (f"tcp://127.0.0.1:{silent.getsockname()[1]}", {}),
            ("tcp://no-such-host.invalid", {}),
        ]
        if os.environ.get("FAKTORY_TEST_LOOP") == "uvloop":
            del cases[3]  # of an answer that is no TLS it tells no more than that the connection was reset
        for url, options in cases:
            with pytest.raises(Exception) as theirs:
                Connection(url, connect_timeout=0.3, **options)
            with pytest.raises(type(theirs.value)) as ours:
                loop.run(partial(loop.Connection.open, url, connect_timeout=0.3, **options))
            assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("fetch_wait", [2], ids=["long"])
def test_few_fetches_wait_on_empty_queues(loop: Loop, server: Server, client: Client) -> None:
    async def work(job: Job) -> None:
        await loop.sleep(0.001)

    async def main(workers: int) -> None:
        client.push_bulk(Job("work") for _ in range(200))
        consumer = await loop.connect(ConsumerBuilder().register("work", work).workers(workers), server.url)

        async def watch() -> None:
            await loop.until(lambda: not server.queue("default") and not server.working and server.waiting)
            server.clock.advance(2.1)  # those that were sent under load end
            await loop.sleep(0.1)
            most.append(server.waiting)
            consumer.terminate()
            server.clock.advance(2.1)

        await loop.all(lambda: consumer.run(["default"]), watch)

    most: list[int] = []
    loop.run(lambda: main(50))
    loop.run(lambda: main(500))
    assert most == [1, 2]


def test_a_storm_of_cancellations_shifts_no_reply(loop: Loop, server: Server) -> None:
    """P10, T14."""
    chance = random.Random(4)
    before = sockets()

    async def main() -> None:
        client = loop.Client(server.url, pool_size=8)
        stored: list[str] = []

        async def push(n: int) -> None:
            queue = f"queue-{n % 7}"
            stored.append(await client.push(Job("work", [n], queue=queue)))

        async def cancelled(n: int) -> None:
            await loop.cancelling(lambda: push(n), lambda: loop.sleep(chance.random() ** 2 * longest))

        started = time.monotonic()
        await loop.all(*[lambda n=n: push(n) for n in range(25)])
        longest = max(0.04, 2 * (time.monotonic() - started))  # so that some get through, on a busy machine too
        for start in range(0, 500, 25):
            await loop.all(*[lambda n=n: cancelled(n) for n in range(start, start + 25)])
        assert 25 < len(stored) < 525

        async def ask(name: str) -> None:  # each answers what it is asked, and not what was asked before
            assert (await client.queue_latency(name)).keys() == {name}

        await loop.all(*[lambda n=n: ask(f"queue-{n % 9}") for n in range(64)])
        known = {job.jid for n in range(7) for job in server.queue(f"queue-{n}")}
        assert set(stored) <= known
        await client.close()
        await loop.sleep(0.05)

    loop.run(main)
    deadline = time.monotonic() + 5
    while sockets() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sockets() <= before


# -- consuming -------------------------------------------------------------------------------------------------------


def failure_message(server: Server) -> tuple[str, str]:
    (job,) = server.retries
    assert job.failure is not None
    return job.failure.errtype, job.failure.message


def test_handlers_see_their_job_and_contextvars_of_their_own(loop: Loop, server: Server, client: Client) -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")
    seen: list[tuple[str, bool]] = []

    async def work(job: Job) -> None:
        seen.append((mark.get(), current_job() is job))
        mark.set("dirty")
        await loop.sleep(0)
        assert current_job() is job

    def plain(job: Job) -> None:
        seen.append((mark.get(), current_job() is job))
        mark.set("dirty")

    client.push_bulk(Job(name) for name in ("work", "plain") * 5)

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work).register("plain", plain).workers(2)
        async with await loop.connect(builder, server.url) as consumer:
            assert (await consumer.drain(["default"])).succeeded == 10
        assert current_job() is None

    loop.run(main)
    assert seen == [("clean", True)] * 10


def test_an_async_handler_past_its_limit_is_cancelled(loop: Loop, server: Server, client: Client) -> None:
    cleaned: list[str] = []

    async def work(job: Job) -> None:
        try:
            await loop.sleep(30)
        finally:
            cleaned.append(job.jid)

    jid = client.push(Job("work", retry=3))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work, timeout=0.1)
        async with await loop.connect(builder, server.url) as consumer:
            assert await consumer.run_one(["default"])

    loop.run(main)
    assert cleaned == [jid]
    assert failure_message(server) == ("JobTimeout", "the job ran past its time limit of 0.1 s")
    (job,) = server.retries
    assert job.failure is not None
    assert any("in work" in line for line in job.failure.backtrace or [])


def test_a_handler_that_swallows_its_cancellation_is_failed_and_logged(
    loop: Loop, server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(job: Job) -> None:
        try:
            await loop.sleep(30)
        except loop.Cancelled:
            return

    client.push(Job("work", retry=3))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work, timeout=0.1)
        async with await loop.connect(builder, server.url) as consumer:
            assert await consumer.run_one(["default"])

    loop.run(main)
    assert failure_message(server) == ("JobTimeout", "the job ran past its time limit of 0.1 s")
    assert "swallowed its cancellation" in caplog.text


def test_cancelling_run_drains_then_fails_the_rest_and_is_raised(loop: Loop, server: Server, client: Client) -> None:
    events: list[str] = []

    async def short(job: Job) -> None:
        events.append("short started")
        await loop.sleep(0.15)
        events.append("short done")

    async def long(job: Job) -> None:
        events.append("long started")
        try:
            await loop.sleep(30)
        finally:
            events.append("long ended")

    client.push(Job("short"))
    client.push(Job("long", retry=4))

    async def main() -> None:
        builder = ConsumerBuilder().register("short", short).register("long", long).workers(2).shutdown_timeout(0.3)
        consumer = await loop.connect(builder.on_shutdown(lambda: events.append("shutdown")), server.url)
        was_raised = await loop.cancelling(
            lambda: consumer.run(["default"]), lambda: loop.until(lambda: len(events) == 2)
        )
        assert was_raised
        assert consumer.state == "terminated"

    loop.run(main)
    assert events[2:] == ["short done", "long ended", "shutdown"]
    errtype, message = failure_message(server)
    assert (errtype, message) == ("JobCancelled", "the worker had to stop before the job was done")
    assert len(server.working) == 0


def test_async_middleware_and_hooks_go_around_plain_and_async_handlers(
    loop: Loop, server: Server, client: Client
) -> None:
    seen: list[str] = []

    async def wrap(job: Job, call_next: Any) -> Any:
        seen.append("in")
        await loop.sleep(0)
        result = await call_next()
        seen.append("out")
        return result

    def plain_wrap(job: Job, call_next: Any) -> Any:
        seen.append("plain")
        return call_next()

    async def work(job: Job) -> None:
        seen.append("async")

    def plain(job: Job) -> None:
        assert threading.current_thread().name.startswith("faktory-worker-")
        seen.append("thread")
        raise ValueError("no good")

    async def on_failure(job: Job, exc: BaseException) -> None:
        await loop.sleep(0)
        seen.append(f"failure {exc}")

    async def hook() -> None:
        seen.append("hook")

    async def enough() -> bool:
        return "failure no good" in seen and "async" in seen

    client.push(Job("work"))
    client.push(Job("plain", retry=2))

    async def main() -> None:
        builder = (
            ConsumerBuilder()
            .register("work", work)
            .register("plain", plain)
            .middleware(wrap)
            .middleware(plain_wrap)
            .on_startup(hook)
            .on_failure(on_failure)
            .on_shutdown(hook)
            .stop_when(enough)
        )
        consumer = await loop.connect(builder, server.url)
        assert await consumer.run(["default"]) == 0

    loop.run(main)
    assert seen == ["hook", "in", "plain", "async", "out", "in", "plain", "thread", "failure no good", "hook"]


def test_what_a_plain_function_returns_is_awaited(loop: Loop, server: Server, client: Client) -> None:
    seen: list[str] = []

    async def work(job: Job) -> None:
        seen.append(threading.current_thread().name)

    client.push(Job("work"))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", lambda job: work(job))
        async with await loop.connect(builder, server.url) as consumer:
            assert await consumer.run_one(["default"])

    loop.run(main)
    assert seen == [threading.current_thread().name]


def test_plain_functions_share_no_more_threads_than_workers(loop: Loop, server: Server, client: Client) -> None:
    names: set[str] = set()
    most = 0
    running = 0
    lock = threading.Lock()

    def work(job: Job) -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
        time.sleep(0.002)
        with lock:
            running -= 1

    client.push_bulk(Job("work") for _ in range(100))

    async def main() -> None:
        async with await loop.connect(ConsumerBuilder().register("work", work).workers(3), server.url) as consumer:
            assert (await consumer.drain(["default"])).succeeded == 100

    loop.run(main)
    assert most <= 3
    assert names <= {"faktory-worker-1", "faktory-worker-2", "faktory-worker-3"}


def test_a_lost_server_ends_run_and_the_next_one_reports_without_running_again(loop: Loop) -> None:
    """J3."""
    runs: list[str] = []

    async def main() -> None:
        with Server(fetch_wait=0.1) as server, Client(server.url) as client:
            gone = False

            async def work(job: Job) -> None:
                runs.append(job.jid)
                await loop.until(lambda: gone)

            client.push(Job("work"))
            consumer = await loop.connect(ConsumerBuilder().register("work", work).workers(2), server.url)

            async def interrupt() -> None:
                nonlocal gone
                await loop.until(lambda: runs)
                server.stop()
                gone = True

            async def run() -> None:
                with pytest.raises(ConnectionLost):
                    await consumer.run(["default"])

            await loop.all(run, interrupt)
            assert consumer.health().unreported == 1
            server.start()
            await consumer.reconnect()
            assert len(server.working) == 1
            assert (await consumer.drain(["default"])).total == 0
            assert len(server.working) == 0
            await consumer.close()

    loop.run(main)
    assert len(runs) == 1


def test_a_handler_that_blocks_the_loop_does_not_stop_the_heart(loop: Loop, server: Server, client: Client) -> None:
    """W10."""
    beats: list[bool] = []

    async def work(job: Job) -> None:
        first = server.workers[0].last_beat
        limit = time.monotonic() + 5
        while server.workers[0].last_beat == first and time.monotonic() < limit:
            time.sleep(0.005)  # on purpose
        beats.append(server.workers[0].last_beat > first)

    client.push(Job("work"))

    async def main() -> None:
        builder = ConsumerBuilder().register("work", work).heartbeat_interval(0.05)
        async with await loop.connect(builder, server.url) as consumer:
            assert await consumer.run_one(["default"])

    loop.run(main)
    assert beats == [True]


def test_managed_values_may_close_asynchronously(loop: Loop, server: Server) -> None:
    closed: list[str] = []

    class Session:
        async def close(self) -> None:
            await loop.sleep(0)
            closed.append("session")

    async def main() -> None:
        builder = ConsumerBuilder().register("work", print).manage(Session, Session)
        async with await loop.connect(builder, server.url) as consumer:
            assert consumer.get(Session) is consumer.get(Session)

    loop.run(main)
    assert closed == ["session"]


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.slow
def test_a_thousand_jobs_at_a_time_need_ten_connections(loop: Loop, server: Server, client: Client) -> None:
    begun = ended = most = 0
    all_run: Any = None

    async def work(job: Job) -> None:
        nonlocal begun, ended, most
        begun += 1
        if begun % 50 == 0:
            most = max(most, server.workers[0].connections)
        if begun == 1_000:
            all_run.set()
        await all_run.wait()
        ended += 1

    client.push_bulk(Job("work", [n]) for n in range(1_000))
    before = resident_mb()
    deadline = time.monotonic() + 30

    async def main() -> None:
        nonlocal all_run
        all_run = loop.event()
        builder = ConsumerBuilder().register("work", work).workers(1_000)
        builder.stop_when(lambda: ended >= 1_000 or time.monotonic() > deadline)
        consumer = await loop.connect(builder, server.url)
        assert await consumer.run(["default"]) == 0

    loop.run(main)
    assert (ended, len(server.working)) == (1_000, 0)
    assert most <= 10
    assert resident_mb() - before < 60


def test_a_consumer_tells_how_it_is(loop: Loop, server: Server, client: Client) -> None:
    healths: list[Any] = []

    async def main() -> None:
        async def work(job: Job) -> None:
            healths.append(consumer.health())

        client.push(Job("work"))
        builder = ConsumerBuilder().register("work", work).wid("wid-of-mine").stop_when(lambda: healths)
        consumer = await loop.connect(builder, server.url)
        assert repr(consumer) == "<Consumer wid='wid-of-mine' running>"
        await consumer.run(["default"])

    loop.run(main)
    (health,) = healths
    assert (health.is_ready, health.busy, health.workers, health.unreported) == (True, 1, 1, 0)


def test_a_plain_handler_past_its_limit_gets_the_exception_raised(loop: Loop, server: Server, client: Client) -> None:
    seen: list[str] = []

    def work(job: Job) -> None:
        try:
            while True:
                time.sleep(0.001)
        except JobTimeout:
            seen.append("limit")
            raise

    client.push(Job("work", retry=2))

    async def main() -> None:
        async with await loop.connect(ConsumerBuilder().register("work", work, timeout=0.1), server.url) as consumer:
            assert await consumer.run_one(["default"])

    loop.run(main)
    assert seen == ["limit"]
    assert failure_message(server)[0] == "JobTimeout"


def test_fetchers_stop_waiting_when_the_heartbeat_has_reached_the_server(loop: Loop, server: Server) -> None:
    """N1: what one knows of the server all know."""
    done: list[str] = []
    seconds: list[float] = []

    async def work(job: Job) -> None:
        done.append(job.jid)

    async def main() -> None:
        consumer = await loop.connect(ConsumerBuilder().register("work", work).workers(2), server.url)
        state = consumer._state
        session = Session(order_of(["default"]), is_persistent=True, until_empty=False)

        async def break_and_mend() -> None:
            await loop.until(lambda: server.waiting == 1)
            server.kill()
            state.outage._backoff._attempt = 8  # waits of 2.6 to 26 s
            await loop.until(lambda: state.outage.is_down and state.outage.not_before > time.monotonic())
            state.outage.not_before = time.monotonic() + 600
            server.start()
            started = time.monotonic()
            state.lifecycle.beat_at_once(started)
            state.heartbeat_wake.set()
            with Client(server.url) as client:
                client.push(Job("work"))
            await loop.until(lambda: done)
            seconds.append(time.monotonic() - started)
            consumer.terminate()
            server.clock.advance(2.1)

        await loop.all(lambda: consumer._work(session), break_and_mend)
        await consumer.close()

    loop.run(main)
    assert seconds[0] < 5
