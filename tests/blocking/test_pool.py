"""The pool: one caller a connection, bounded, and fresh when it matters."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from faktory import Client, ConfigurationError, ConnectFailed, ConnectionLost, Job, JobTimeout
from faktory.blocking import pool as module
from faktory.blocking.connection import Connection
from faktory.blocking.pool import Pool
from faktory.commands import Info
from faktory.isolation import interrupt_thread
from faktory.server import Server
from tests.waiting import until


class Counted:
    """A pool of connections to a server, and how many were opened."""

    def __init__(self, server: Server, size: int) -> None:
        self.opened = 0
        self._server = server
        self.pool = Pool(self.connect, size)

    def connect(self) -> Connection:
        self.opened += 1
        return Connection(self._server.url)


@pytest.fixture
def counted(server: Server) -> Iterator[Counted]:
    counted = Counted(server, 2)
    yield counted
    counted.pool.close()


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "5", 1001])
def test_a_size_that_is_none_is_refused(server: Server, size: object) -> None:
    with pytest.raises(ConfigurationError, match="pool_size must be an integer from 1 to 1,000"):
        Pool(lambda: Connection(server.url), size)  # type: ignore[arg-type]


def test_a_connection_is_used_again(counted: Counted) -> None:
    with counted.pool.lend() as first:
        first.call(Info())
    with counted.pool.lend() as second:
        assert second is first
    assert counted.opened == 1


def test_two_callers_get_two_connections(counted: Counted) -> None:
    """P9."""
    with counted.pool.lend() as first, counted.pool.lend() as second:
        assert first is not second


def test_a_broken_connection_does_not_come_back(counted: Counted) -> None:
    with pytest.raises(ConnectionLost), counted.pool.lend() as first:
        first.abort()
        first.call(Info())
    with counted.pool.lend() as second:
        assert second is not first
        second.call(Info())


def test_a_stale_connection_is_replaced_before_use(server: Server, counted: Counted) -> None:
    """N14."""
    with counted.pool.lend() as first:
        first.call(Info())
    server.disconnect_all()
    until(lambda: not first.is_usable())
    with counted.pool.lend() as second:
        second.call(Info())
        assert second is not first
    assert counted.opened == 2


def test_a_caller_waits_for_a_connection_of_a_busy_pool(counted: Counted) -> None:
    got = threading.Event()

    def borrow() -> None:
        with counted.pool.lend() as connection:
            connection.call(Info())
            got.set()

    with counted.pool.lend():
        with counted.pool.lend():
            thread = threading.Thread(target=borrow)
            thread.start()
            assert not got.wait(0.05)
        assert got.wait(5)
        thread.join()
    assert counted.opened == 2


@contextmanager
def held(counted: Counted, places: int = 2) -> Iterator[threading.Event]:
    """Have another thread hold places of the pool, until the event is set or the block ends."""
    has_them, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for _ in range(places):
                stack.enter_context(counted.pool.lend())
            has_them.set()
            go_on.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert has_them.wait(5)
    yield go_on
    go_on.set()
    thread.join()


def check_that_two_are_lent(counted: Counted) -> None:
    """See the pool lend its two connections, and no third."""
    with held(counted), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POOL_TIMEOUT", 0.05)
        with pytest.raises(ConnectFailed, match="all 2 are in use"), counted.pool.lend():
            pass


def test_a_caller_gives_up_when_none_comes_free(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_TIMEOUT", 0.05)
    with held(counted):
        for _ in range(2):
            with pytest.raises(ConnectFailed, match="all 2 are in use, raise pool_size"), counted.pool.lend():
                pass
    with counted.pool.lend() as connection:
        connection.call(Info())


def test_who_waits_is_served_in_turn(server: Server) -> None:
    """T13: who gives a connection back, and wants one at once, comes behind those who wait."""
    served: list[str] = []
    go_on = threading.Event()

    def use(name: str) -> None:
        with pool.lend():
            served.append(name)
            go_on.wait(20)

    def line_up(name: str, waiting: int) -> threading.Thread:
        thread = threading.Thread(target=use, args=[name])
        thread.start()
        until(lambda: len(pool._queue) == waiting)
        return thread

    pool = Counted(server, 1).pool
    with pool.lend():
        threads = [line_up(name, waiting) for waiting, name in enumerate(("first", "second", "third"), 1)]
    until(lambda: len(pool._queue) == 2)
    assert not pool._idle, "the place was handed over"
    threads.append(line_up("again", 3))
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert served == ["first", "second", "third", "again"]
    pool.close()


def test_a_thread_that_would_wait_for_itself_is_told_at_once(counted: Counted) -> None:
    """P22: a finalizer or a signal handler that pushes while its thread pushes."""

    def use(depth: int) -> None:
        with counted.pool.lend() as connection:
            connection.call(Info())
            if depth:
                use(depth - 1)

    use(1)
    with pytest.raises(ConnectFailed, match="this very thread"):
        use(2)
    use(1)
    with held(counted, places=1) as go_on:  # now there is somebody to wait for
        thread = threading.Timer(0.02, go_on.set)
        thread.start()
        use(1)
        thread.join()


def test_a_place_whose_holder_was_struck_down_is_taken_back(counted: Counted) -> None:
    """An exception on the way out, from a signal handler, whose traceback somebody keeps."""
    kept = [counted.pool.lend(), counted.pool.lend()]
    connections = [place.__enter__() for place in kept]
    with counted.pool.lend() as connection:
        connection.call(Info())
    assert not any(each.is_open for each in connections)
    for place in kept:
        place.__exit__(None)
    check_that_two_are_lent(counted)
    assert counted.opened == 4  # one came back, and the places of the other two are free


def test_an_interrupted_waiter_passes_its_place_on(counted: Counted) -> None:
    """By a signal handler, for instance, at the moment at which it is served."""

    class Struck(Exception):
        pass

    class Lock:
        def __init__(self, go_on: threading.Event) -> None:
            self.go_on = go_on

        def acquire(self, timeout: float) -> None:
            self.go_on.set()
            until(lambda: not counted.pool._queue)
            raise Struck

        def release(self) -> None:
            pass

    with held(counted) as go_on, pytest.MonkeyPatch.context() as patch:
        original = module._Turn.__init__

        def init(turn: module._Turn) -> None:
            original(turn)
            turn.comes = Lock(go_on)  # type: ignore[assignment]

        patch.setattr(module._Turn, "__init__", init)
        with pytest.raises(Struck), counted.pool.lend():
            pass
    check_that_two_are_lent(counted)
    assert counted.opened == 2


def test_an_exchange_that_was_broken_off_leaves_no_connection_to_lend(counted: Counted) -> None:
    """P18: an exception between the command and its reply, before which nothing is there to be read."""
    with pytest.raises(KeyboardInterrupt), counted.pool.lend() as first:
        first.send(Info().line)
        raise KeyboardInterrupt
    assert not first.is_usable()
    with counted.pool.lend() as second:
        assert "faktory" in second.call(Info())
    assert second is not first


def test_a_failed_attempt_gives_its_place_back(server: Server) -> None:
    attempts = 0

    def connect() -> Connection:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectFailed("not yet")
        return Connection(server.url)

    pool = Pool(connect, 1)
    for _ in range(2):
        with pytest.raises(ConnectFailed, match="not yet"), pool.lend():
            pass
    with pool.lend() as connection:
        connection.call(Info())
    pool.close()


def test_a_closed_pool_lends_nothing_and_closes_what_comes_back(counted: Counted) -> None:
    with counted.pool.lend() as connection:
        counted.pool.close()
        connection.call(Info())
    assert not connection.is_open
    with pytest.raises(ConfigurationError, match="the client is closed"), counted.pool.lend():
        pass


def test_closing_wakes_those_who_wait(counted: Counted) -> None:
    refused = threading.Event()

    def borrow() -> None:
        try:
            with counted.pool.lend():
                pass
        except ConfigurationError:
            refused.set()

    with counted.pool.lend(), counted.pool.lend():
        thread = threading.Thread(target=borrow)
        thread.start()
        time.sleep(0.02)
        counted.pool.close()
        assert refused.wait(5)
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_pool_even_from_within_a_loan(counted: Counted) -> None:
    """W7, P8: also when another thread held the pool's lock at the fork."""
    with counted.pool.lend() as lent:
        with counted.pool._lock:
            pid = os.fork()
            if pid == 0:
                os._exit(child(counted, lent))
        assert os.waitpid(pid, 0)[1] == 0
        lent.call(Info())
    assert counted.opened == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_threads_that_are_not_there(counted: Counted) -> None:
    """W7, P8: of all places lent, and of the pool's lock held by another thread."""
    has_lock, go_on = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with counted.pool._lock:
            has_lock.set()
            go_on.wait(20)

    with held(counted):
        thread = threading.Thread(target=hold_lock)
        thread.start()
        assert has_lock.wait(5)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            os._exit(child(counted, None))
        status = os.waitpid(pid, 0)[1]
        go_on.set()
        thread.join()
    assert status == 0


def child(counted: Counted, lent: Connection | None) -> int:
    before = counted.opened
    try:
        assert lent is None or not lent.is_open
        with counted.pool.lend() as own:
            own.call(Info())
        assert counted.opened == before + 1
    except BaseException:
        return 1
    return 0


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
    "ignore::ResourceWarning",
)
def test_time_limits_that_strike_inside_of_pushes_neither_keep_the_lock_nor_lose_a_place(server: Server) -> None:
    """Handlers push follow-up jobs, and a time limit can be raised between any two bytecodes of that."""
    struck = 0
    stop = threading.Event()

    def push() -> None:
        nonlocal struck
        while not stop.is_set():
            try:
                while not stop.is_set():
                    client.push(Job("work"))
            except JobTimeout:
                struck += 1

    def run() -> None:
        while not stop.is_set():
            with suppress(JobTimeout):  # one that strikes outside of a push
                push()

    with Client(server.url, pool_size=2) as client:
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: all(thread.ident for thread in threads))
        deadline = time.monotonic() + 20
        while struck < 100 and time.monotonic() < deadline:
            for thread in threads:
                interrupt_thread(thread.ident or 0, JobTimeout)
            time.sleep(0.004)
        stop.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "stuck after a time limit"
        gc.collect()
        assert client.queue_latency("a") == {"a": 0}
        assert len(client._pool._places) == len(client._pool._idle)
    assert struck >= 100
