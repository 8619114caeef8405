from __future__ import annotations

import asyncio
import errno
import gc
import selectors
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from faktory.errors import ConfigurationError, FaktoryError
from faktory.server import Clock, Server, peer
from tests.server.raw_client import RawClient
from tests.waiting import until

Connect = Callable[..., RawClient]


# -- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "192.0.2.1:7419", "[::]:0", "example.com:1"])
def test_an_open_address_without_a_password_is_refused(bind: str) -> None:
    with pytest.raises(ConfigurationError, match="set a password"):
        Server(bind=bind)
    assert Server(bind=bind, force=True)
    assert Server(bind=bind, password="p")


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":", "127.0.0.1:-1"])
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        Server(bind=bind)


def test_the_url_carries_the_password_and_the_repr_does_not() -> None:
    with Server(password="p@ss/ä") as server:
        assert server.url == f"tcp://:p%40ss%2F%C3%A4@127.0.0.1:{server.port}"
        assert repr(server) == f"<Server tcp://127.0.0.1:{server.port} running>"
    assert repr(server).endswith("stopped>")


def test_loopback_of_both_kinds_can_be_bound() -> None:
    assert Server(bind="localhost:7").url == "tcp://localhost:7"
    assert Server(bind=":7").url == "tcp://127.0.0.1:7"
    server = Server(bind="[::1]:0")
    assert server.url == "tcp://[::1]:0"
    try:
        server.start()
    except OSError:
        pytest.skip("no IPv6 here")
    server.stop()


def test_a_taken_port_is_an_os_error(server: Server) -> None:
    other = Server(bind=f"127.0.0.1:{server.port}")
    with pytest.raises(OSError, match="in use"):
        other.start()
    other.stop()


@pytest.mark.parametrize("bind", [None, "localhost:0"])
def test_a_machine_with_ipv6_only_is_served(bind: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = peer._listen

    def without_ipv4(host: str, port: int) -> socket.socket:
        if ":" not in host:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return listen(host, port)

    monkeypatch.setattr(peer, "_listen", without_ipv4)
    server = Server(bind=bind)
    try:
        server.start()
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert server.url.startswith("tcp://localhost:" if bind else "tcp://[::1]:")
        socket.create_connection(("::1", server.port)).close()


def test_a_start_that_failed_keeps_no_port(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.port
    server.stop()

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def no_descriptors() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(threading.Thread, "start", no_thread)
        server.start()
    for owner, name in ((selectors, "DefaultSelector"), (socket, "socketpair")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many"):
            patch.setattr(owner, name, no_descriptors)
            server.start()
    assert not server.is_running
    with Server(bind=f"127.0.0.1:{port}"):
        pass
    server.start()


# -- looking at it ---------------------------------------------------------------------------------------------


def test_views_show_jobs_as_they_are_now(server: Server, connect: Connect) -> None:
    client = connect("w1")
    queue = server.queue("default")
    assert list(queue) == []
    client.push("job-00000", args=[1, "a"], retry=-1)
    client.push("job-00001")
    client.push("job-00002", at="2099-01-01T00:00:00Z")
    assert queue.jids == ["job-00000", "job-00001"]
    assert queue[0].args == [1, "a"]
    assert [job.jid for job in queue[1:]] == ["job-00001"]
    assert repr(queue) == "<Jobs 'default' 2>"
    assert queue.texts[0].startswith(b'{"retry":-1,')
    assert server.scheduled.jids == ["job-00002"]
    client.call("FETCH default")
    client.call("FETCH default")
    assert server.working.jids == ["job-00000", "job-00001"]
    client.call('FAIL {"jid":"job-00000"}')
    client.call('FAIL {"jid":"job-00001"}')
    assert (server.dead.jids, server.retries.jids) == (["job-00000"], ["job-00001"])
    failure = server.retries[0].failure
    assert failure is not None
    assert failure.errtype == "unknown"
    client.call("QUEUE PAUSE default")
    assert (server.queues, server.paused) == ({"default": 0}, ("default",))
    assert server.info["faktory"]["sets"] == {"dead": 1, "retries": 1, "scheduled": 1, "working": 0}


def test_workers_and_reservations_are_described(server: Server, connect: Connect) -> None:
    client = connect("w1")
    client.push("job-00000", reserve_for=100)
    client.call("FETCH default")
    client.call('BEAT {"wid":"w1","rss_kb":123}')
    (worker,) = server.workers
    assert (worker.wid, worker.hostname, worker.pid, worker.labels) == ("w1", "h", 7, ("a",))
    assert (worker.state, worker.rss_kb, worker.connections) == ("running", 123, 1)
    assert worker.last_beat >= worker.started_at
    (reservation,) = server.reservations
    assert (reservation.jid, reservation.wid) == ("job-00000", "w1")
    assert reservation.expires_at - reservation.reserved_at == timedelta(seconds=100)


def test_workers_can_be_told_to_rest_and_to_end(server: Server, connect: Connect) -> None:
    client = connect("w1")
    server.quiet("w1")
    assert client.json('BEAT {"wid":"w1"}') == {"state": "quiet"}
    server.terminate("w1")
    server.quiet("w1")
    assert client.json('BEAT {"wid":"w1"}') == {"state": "terminate"}
    with pytest.raises(LookupError, match="no worker 'w2' is connected; there are: 'w1'"):
        server.quiet("w2")


def test_wait_idle_waits_for_the_last_job(server: Server, connect: Connect) -> None:
    assert server.wait_idle(0)
    client = connect()
    client.push("job-00000")
    assert not server.wait_idle(0.01)
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(server.wait_idle(10)))
    thread.start()
    client.call("FETCH default")
    assert not server.wait_idle(0.01)
    client.call('ACK {"jid":"job-00000"}')
    thread.join(10)
    assert waited == [True]


def wait_async(server: Server, runner: str, timeout: float | None) -> bool:
    if runner == "asyncio":
        return asyncio.run(server.await_idle(timeout))
    trio = pytest.importorskip("trio")
    return bool(trio.run(server.await_idle, timeout))


@pytest.mark.parametrize("runner", ["asyncio", "trio"])
def test_tasks_wait_for_the_last_job_too(server: Server, connect: Connect, runner: str) -> None:
    assert wait_async(server, runner, None)
    client = connect()
    client.push("job-00000")
    client.call("FETCH default")
    assert not wait_async(server, runner, 0.01)
    waiting = server._changes._wakers

    def finish() -> None:
        until(lambda: bool(waiting))
        client.push("job-00001")
        client.call("FETCH default")
        client.call('ACK {"jid":"job-00000"}')
        client.call('ACK {"jid":"job-00001"}')

    thread = threading.Thread(target=finish)
    thread.start()
    assert wait_async(server, runner, 10)
    thread.join(10)
    assert not waiting


def test_a_reservation_may_end_after_the_year_9999(connect: Connect) -> None:
    with (
        Server(clock=Clock(datetime(9999, 12, 31, 23, 59, 50, tzinfo=UTC))) as server,
        RawClient(server.port) as client,
    ):
        client.push("job-00000")
        client.call("FETCH default")
        assert server.reservations[0].expires_at.year == 9999
        assert client.json("INFO")["now"].startswith("9999")


# -- the clock -------------------------------------------------------------------------------------------------


def test_advance_makes_everything_due_happen_before_it_returns(server: Server, connect: Connect) -> None:
    client = connect()
    for number, fields in enumerate(({"retry": 1}, {"retry": -1}, {"reserve_for": 60})):
        client.push(f"job-0000{number}", **fields)
        client.call("FETCH default")
        if number < 2:
            client.call(f'FAIL {{"jid":"job-0000{number}"}}')
    client.push("job-00003", at=(server.clock.utcnow() + timedelta(seconds=50)).isoformat())
    server.clock.advance(61)
    assert set(server.queue("default").jids) == {"job-00000", "job-00003"}
    assert server.retries.jids == ["job-00002"]
    server.clock.advance(181 * 86_400)
    assert (len(server.dead), server.retries.jids) == (0, [])


def test_advance_wakes_a_waiting_fetch(server: Server, connect: Connect) -> None:
    worker, client = connect(), connect()
    client.push("job-00000", at=(server.clock.utcnow() + timedelta(hours=1)).isoformat())
    worker.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    server.clock.advance(3_600)
    assert b"job-00000" in worker.read()
    worker.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    server.clock.advance(2)
    assert worker.read() == b"$-1\r\n"


def test_advance_cuts_off_silent_workers_unless_they_beat(server: Server, connect: Connect) -> None:
    client = connect("w1")
    server.clock.advance(3_600, beating=True)
    assert client.call('BEAT {"wid":"w1"}') == b"+OK\r\n"
    server.clock.advance(61)
    assert client.is_closed()
    assert server.workers == []


def test_a_worker_that_is_cut_off_still_gets_the_job_it_waited_for(server: Server, connect: Connect) -> None:
    worker, client = connect("w1"), connect()
    client.push("job-00000", at=(server.clock.utcnow() + timedelta(hours=1)).isoformat())
    worker.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    server.clock.advance(3_601)
    assert b"job-00000" in worker.read()
    assert worker.is_closed()


def test_a_clock_may_stand_still() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with Server(clock=Clock(start)) as server, RawClient(server.port) as client:
        client.push("job-00000")
        assert server.queue("default")[0].enqueued_at == start
        server.clock.advance(10)
        assert server.clock.utcnow() == start + timedelta(seconds=10)
        assert client.json("QUEUE LATENCY default") == {"default": 10}
        assert repr(server.clock) == "<Clock standing 2030-01-01T00:00:10+00:00>"


def test_a_clock_refuses_to_run_backwards_and_naive_starts(server: Server) -> None:
    for seconds in (-1, float("nan")):
        with pytest.raises(ConfigurationError, match="forward"):
            server.clock.advance(seconds)
    with pytest.raises(ConfigurationError, match="time zone"):
        Clock(datetime(2030, 1, 1))  # noqa: DTZ001
    assert repr(Clock()).startswith("<Clock real ")


@pytest.mark.parametrize("seconds", [float("inf"), 1e12, 1e300, timedelta.max])
def test_a_clock_refuses_to_run_beyond_the_year_9999(
    server: Server, connect: Connect, seconds: float | timedelta
) -> None:
    before = server.clock.now()
    with pytest.raises(ConfigurationError, match="within the year 9999"):
        server.clock.advance(seconds)
    assert server.clock.now() - before < 60
    connect().push("job-00000")


def test_a_clock_that_stands_after_all_years_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="year 9999"):
        Clock(datetime.max.replace(tzinfo=UTC))


def test_frozen_time_does_not_stop_the_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As freezegun does it: `time` itself, and every module that has taken a function of it."""
    for function, value in ((time.monotonic, 5.0), (time.time, time.time())):
        frozen = lambda value=value: value  # noqa: E731
        for module in [each for name, each in sys.modules.items() if name == "time" or name.startswith("faktory")]:
            for name in [name for name, found in vars(module).items() if found is function]:
                monkeypatch.setattr(module, name, frozen)
    with Server(fetch_wait=0.02) as server, RawClient(server.port) as client:
        assert client.call("FETCH default") == b"$-1\r\n"
        client.push("job-00000")
        assert not server.wait_idle(0.01)
        server.faults.delay("INFO", seconds=0.01)
        assert client.call("INFO").startswith(b"$")
        client.push("job-00001", at=(server.clock.utcnow() + timedelta(minutes=59)).isoformat())
        server.clock.advance(3_600)
        assert server.queue("default").jids == ["job-00000", "job-00001"]


def test_a_clock_keeps_no_server_alive() -> None:
    clock = Clock()
    gone = []
    for _ in range(3):
        with Server(clock=clock) as server:
            gone.append(weakref.ref(server))
    del server
    gc.collect()
    assert [each() for each in gone] == [None, None, None]
    clock.advance(1)
    with Server(clock=clock):
        assert len(clock._watchers) == 1


def test_a_stopped_server_can_be_advanced_too(server: Server, connect: Connect) -> None:
    connect().push("job-00000", at=(server.clock.utcnow() + timedelta(hours=1)).isoformat())
    server.stop()
    server.clock.advance(3_600)
    assert server.queue("default").jids == ["job-00000"]


# -- stopping --------------------------------------------------------------------------------------------------


def test_stop_tells_the_next_command_and_ends_waiting_fetches(server: Server, connect: Connect) -> None:
    idle, busy, waiting = connect(), connect(), connect("w")
    waiting.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    begin = time.monotonic()
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert server.wait_until(lambda: server._broker.is_stopping, 10)
    assert busy.call("INFO") == b"-ERR shutdown in progress\r\n"
    assert busy.is_closed()
    assert waiting.read() == b"-ERR redis: client is closed\r\n"
    assert waiting.is_closed()
    assert idle.is_closed()
    stopping.join(10)
    assert time.monotonic() - begin < 1.5  # not the 2 s of the FETCH
    with pytest.raises(ConnectionError):
        RawClient(server.port)
    server.stop()


def test_a_restart_keeps_port_and_jobs_and_forgets_workers(server: Server, connect: Connect) -> None:
    client = connect("w")
    client.push("job-00000")
    client.push("job-00001")
    client.call("FETCH default")
    port = server.port
    server.stop()
    server.start()
    assert server.start() is server
    assert server.port == port
    assert server.workers == []
    client = connect()
    assert client.call('ACK {"jid":"job-00000"}') == b"+OK\r\n"
    assert server.queue("default").jids == ["job-00001"]
    assert server.working.jids == []


def test_kill_resets_every_connection(server: Server, connect: Connect) -> None:
    idle, waiting = connect(), connect()
    waiting.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    server.kill()
    for client in (idle, waiting):
        with pytest.raises(ConnectionResetError):
            client.file.read(1)
    assert not server.is_running
    server.start()
    assert server.waiting == 0
    connect()


def test_disconnecting_all_leaves_their_fetches_waiting(server: Server, connect: Connect) -> None:
    waiting = connect("w")
    waiting.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    server.disconnect_all()
    with pytest.raises(ConnectionResetError):
        waiting.file.read(1)
    assert server.wait_until(lambda: not server.workers, 10)
    connect().push("job-00000")
    assert server.working.jids == ["job-00000"]
    other = connect()
    server.disconnect_all(reset=False)
    assert other.is_closed()


def test_servers_leave_no_thread_and_no_socket_behind() -> None:
    before = threading.active_count()
    for _ in range(20):
        with Server() as server:
            socket.create_connection(("127.0.0.1", server.port)).close()
    assert threading.active_count() == before


def test_a_forgotten_server_is_warned_of_and_ends() -> None:
    server = Server().start()
    port, thread = server.port, server._listener._thread
    assert thread is not None
    kept = [server]
    del server
    with pytest.warns(ResourceWarning, match=r"<Server tcp://127.0.0.1:\d+ running> was never stopped"):
        kept.clear()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(ConnectionError):
        RawClient(port)


# -- crashing --------------------------------------------------------------------------------------------------


def crash(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(now: float) -> None:
        raise ZeroDivisionError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(server._broker, "is_sweep_due", broken)
        server._listener.wake()
        with pytest.raises(FaktoryError, match="has crashed: ZeroDivisionError: a mistake of ours"):
            server.join(10)


def test_a_server_that_has_died_says_so_at_once(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    client.push("job-00000")
    waited: list[BaseException] = []

    def wait() -> None:
        try:
            server.wait_idle()
        except FaktoryError as exc:
            waited.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    crash(server, monkeypatch)
    thread.join(10)
    assert len(waited) == 1
    assert not server.is_running
    assert client.is_closed()
    for ask in (
        lambda: server.queues,
        lambda: len(server.queue("default")),
        lambda: server.info,
        lambda: server.wait_idle(0),
        lambda: server.clock.advance(1),
        lambda: server.quiet("w"),
        lambda: asyncio.run(server.await_idle(0)),
        server.disconnect_all,
    ):
        with pytest.raises(FaktoryError, match="has crashed"):
            ask()
    server.stop()
    server.start()
    assert server.queue("default").jids == ["job-00000"]
    assert connect().call("QUEUE LATENCY").startswith(b"$")
