"""The way to a server: every address is tried, none holds up the others, and every failure is ours."""

from __future__ import annotations

import _thread
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from faktory import Client, ConnectFailed, ConsumerBuilder, Job
from faktory.blocking.connection import Connection
from faktory.blocking.dialling import dial
from faktory.commands import Info
from faktory.network.names import ATTEMPT_DELAY, in_turn, is_ip, resolve
from faktory.network.sockets import tune
from faktory.protocol.address import Address
from faktory.server import Server
from tests.places import black_hole, closed_port, targets


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What names resolve to."""
    known: dict[str, list[Any]] = {}
    original = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        return known[host] if host in known else original(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


# -- every address ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_first_address_that_swallows_everything_costs_little(server: Server, names: dict[str, list[Any]]) -> None:
    """N2, N3: it does not eat the time for connecting, neither a client's nor a consumer's."""
    with black_hole() as hole:
        names["both.invalid"] = targets(hole, ("127.0.0.1", server.port))
        started = time.monotonic()
        with Client("tcp://both.invalid", connect_timeout=2) as client:
            client.push(Job("work"))
        assert ATTEMPT_DELAY <= time.monotonic() - started < 1
        started = time.monotonic()
        with ConsumerBuilder().register("work", print).connect("tcp://both.invalid"):
            assert ATTEMPT_DELAY <= time.monotonic() - started < 1


def test_a_first_address_that_refuses_costs_nothing(server: Server, names: dict[str, list[Any]]) -> None:
    """N1, N2."""
    names["both.invalid"] = targets(closed_port(), closed_port(), ("127.0.0.1", server.port))
    started = time.monotonic()
    with Connection("tcp://both.invalid") as connection:
        connection.call(Info())
    assert time.monotonic() - started < ATTEMPT_DELAY


@pytest.mark.slow
def test_a_refusal_calls_for_the_next_address_while_another_is_waited_for(
    server: Server, names: dict[str, list[Any]]
) -> None:
    with black_hole() as hole:
        names["three.invalid"] = targets(hole, closed_port(), ("127.0.0.1", server.port))
        started = time.monotonic()
        Connection("tcp://three.invalid").close()
        assert time.monotonic() - started < 2 * ATTEMPT_DELAY


@pytest.mark.slow
def test_addresses_that_swallow_everything_are_given_up_in_time(names: dict[str, list[Any]]) -> None:
    """N3."""
    with black_hole() as hole:
        names["two.invalid"] = targets(hole, hole)
        started = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"cannot connect to tcp://two\.invalid:7419: timed out"):
            Connection("tcp://two.invalid", connect_timeout=0.4)
        assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "number", [errno.EAFNOSUPPORT, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EACCES, errno.EPERM]
)
@pytest.mark.parametrize("front", ["connection", "client", "consumer"])
def test_a_socket_that_cannot_be_made_is_a_failure_of_ours(
    server: Server, monkeypatch: pytest.MonkeyPatch, number: int, front: str
) -> None:
    """N1: whatever the number."""

    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(ConnectFailed, match=os.strerror(number)) as caught:
        if front == "connection":
            Connection(server.url)
        elif front == "client":
            with Client(server.url) as client:
                client.push(Job("work"))
        else:
            ConsumerBuilder().register("work", print).connect(server.url)
    assert ("ulimit -n" in str(caught.value)) == (number in (errno.EMFILE, errno.ENFILE))


def test_a_family_that_is_switched_off_is_passed_over(
    server: Server, names: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """N2: IPv6 is off, and localhost is ::1 first."""
    original = socket.socket

    def make(family: int, *args: Any, **options: Any) -> Any:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return original(family, *args, **options)

    names["localhost"] = targets(("::1", server.port), ("127.0.0.1", server.port))
    monkeypatch.setattr(socket, "socket", make)
    Connection(f"tcp://localhost:{server.port}").close()


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES])
@pytest.mark.parametrize("when", ["at once", "later", "in tuning", "in the call"])
def test_a_connection_that_cannot_be_made_is_a_failure_of_ours(
    server: Server, monkeypatch: pytest.MonkeyPatch, number: int, when: str
) -> None:
    class Socket(socket.socket):
        def connect_ex(self, place: Any) -> int:
            if when == "in the call":
                raise OSError(number, os.strerror(number))
            return number if when == "at once" else super().connect_ex(place)

        def getsockopt(self, *args: Any) -> Any:
            return number if when == "later" else super().getsockopt(*args)

        def setsockopt(self, *args: Any) -> None:
            if when == "in tuning":
                raise OSError(number, os.strerror(number))
            super().setsockopt(*args)

    monkeypatch.setattr(socket, "socket", Socket)
    with pytest.raises(ConnectFailed, match=os.strerror(number)):
        Connection(server.url)


def test_families_take_turns() -> None:
    """RFC 8305, section 4."""
    found = targets(("::1", 1), ("::2", 1), ("::3", 1), ("127.0.0.1", 1))
    assert [target[4][0] for target in in_turn(found)] == ["::1", "127.0.0.1", "::2", "::3"]
    assert in_turn([]) == []


def test_a_name_without_addresses_is_a_failure(names: dict[str, list[Any]]) -> None:
    names["none.invalid"] = []
    with pytest.raises(ConnectFailed, match="cannot connect"):
        Connection("tcp://none.invalid")


def test_a_deadline_that_has_passed_is_a_failure(server: Server) -> None:
    for tls in (False, True):
        with pytest.raises(ConnectFailed, match="timed out"):
            dial(Address("127.0.0.1", server.port, tls=tls), None, time.monotonic() - 1)


# -- names ------------------------------------------------------------------------------------------------------------


def test_without_threads_names_are_looked_up_all_the_same(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """P19: at the end of the interpreter, or in a process out of threads."""

    def fail(*args: Any) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", fail)
        Connection(f"tcp://localhost:{server.port}").close()
        with pytest.raises(ConnectFailed, match="cannot resolve"):
            Connection("tcp://" + "a" * 70 + ".example")
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    Connection(f"tcp://localhost:{server.port}").close()


def test_a_look_up_that_hangs_is_left_at_once_when_the_deadline_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: go_on.wait(20))
    started = time.monotonic()
    with pytest.raises(ConnectFailed, match="in time"):
        resolve(Address("name.invalid"), started - 1)
    assert time.monotonic() - started < 0.8
    go_on.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_the_look_up_under_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library holds a lock meanwhile, which the child would find taken for ever."""
    begun, go_on = threading.Event(), threading.Event()

    def look_up(*args: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return targets(("127.0.0.1", server.port))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    asking = threading.Thread(target=resolve, args=(Address("name.invalid"), time.monotonic() + 20))
    asking.start()
    assert begun.wait(10)
    later = threading.Timer(0.1, go_on.set)
    later.start()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if go_on.is_set() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    asking.join()
    later.join()


def test_a_connection_is_tuned() -> None:
    """N16: no delay of small writes, and a peer that has vanished is noticed within half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            idle, interval, count = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
            assert [sock.getsockopt(socket.IPPROTO_TCP, each) for each in (idle, interval, count)] == [15, 5, 3]
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000


def test_a_socket_is_closed_when_tls_cannot_even_begin(server: Server) -> None:
    taken: list[socket.socket] = []

    class Context:
        def wrap_socket(self, sock: socket.socket, **options: object) -> None:
            taken.append(sock)
            raise MemoryError

    address = Address("127.0.0.1", server.port, tls=True)
    with pytest.raises(MemoryError):
        dial(address, Context(), time.monotonic() + 5)  # type: ignore[arg-type]
    assert [sock.fileno() for sock in taken] == [-1]


def test_an_error_in_a_look_up_that_is_none_of_the_networks_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that forbid network access in tests raise errors of their own."""

    def forbid(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", forbid)
    for host in ("name.invalid", "127.0.0.1"):
        with pytest.raises(RuntimeError, match="no network in tests"):
            resolve(Address(host), time.monotonic() + 5)


def test_addresses_are_told_from_names() -> None:
    assert is_ip("127.0.0.1")
    assert is_ip("::1")
    assert not is_ip("localhost")
    assert not is_ip("\0")


# -- the end of the interpreter ---------------------------------------------------------------------------------------

AT_THE_END = """
import atexit, concurrent.futures, sys, threading
from faktory import Client, Job
url, way = sys.argv[1:]
client = Client(url)
def push():
    print(client.push(Job("work")), flush=True)
if way == "atexit":
    atexit.register(push)
elif way == "thread":
    def later():
        threading.main_thread().join()
        push()
    threading.Thread(target=later).start()
else:
    pool = concurrent.futures.ThreadPoolExecutor()
    started = threading.Event()
    def slow():
        started.set()
        threading.main_thread().join(0.2)
        push()
    pool.submit(slow)
    started.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["atexit", "thread", "executor"])
def test_a_push_at_the_end_of_the_interpreter_is_stored(server: Server, way: str) -> None:
    """P19: on Python 3.12 no thread can be started then."""
    url = f"tcp://localhost:{server.port}"
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, url, way], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert server.queue("default").jids == done.stdout.split()
    assert len(server.queue("default")) == 1
