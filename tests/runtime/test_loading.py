"""A fork waits for an import, and a child can import whatever its parent was importing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from faktory.protocol.address import Address
from faktory.runtime.loading import load
from faktory.server import Server

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork here")

FORKS = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
import faktory
import faktory.server
%(before)s
def push(): %(push)s
status = []
for delay in (0, 0.001, 0.003, 0.008, 0.02):
    pid = os.fork()  # each round in a process that has imported nothing yet
    if pid == 0:
        thread = threading.Thread(target=push)
        thread.start()
        time.sleep(delay)
        inner = os.fork()
        if inner == 0:
            push()
            os._exit(0)
        deadline = time.monotonic() + 10
        while True:
            done, code = os.waitpid(inner, os.WNOHANG)
            if done: break
            if time.monotonic() > deadline:
                os.kill(inner, 9)
                os.waitpid(inner, 0)
                code = 1
                break
            time.sleep(0.002)
        thread.join()
        os._exit(1 if code else 0)
    status.append(os.waitpid(pid, 0)[1])
print(status)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "push"),
    [
        ("client = faktory.Client(sys.argv[1])", "client.push(faktory.Job('work'))"),
        ("", "faktory.Client(sys.argv[1]).push(faktory.Job('work'))"),
    ],
    ids=["a client made before", "no name touched before"],
)
def test_a_child_forked_during_another_threads_first_push_can_push(before: str, push: str) -> None:
    """P20: with a password and a host name, whose modules are imported late."""
    program = FORKS % {"before": before, "push": push}
    with Server(password="s3cret") as server:
        url = server.url.replace("127.0.0.1", "localhost")
        done = subprocess.run(
            [sys.executable, "-c", program, url], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.stdout == "[0, 0, 0, 0, 0]\n", done.stderr
        assert len(server.queue("default")) == 10


LOOKS_UP = """
import os, socket, sys, threading, time
from faktory.network import names
from faktory.protocol.address import Address

slow, limit = float(sys.argv[1]), float(sys.argv[2])
names._LONGEST_WAIT = limit
began = threading.Event()

def look_up(*words, **more):
    began.set()
    time.sleep(slow)
    return ["found"]

socket.getaddrinfo = look_up
address = Address("db.example", 7419)
thread = threading.Thread(target=names.resolve, args=(address, names.monotonic() + 30))
thread.start()
began.wait()
at = time.monotonic()
pid = os.fork()
if pid == 0:
    socket.getaddrinfo = lambda *words, **more: ["found in the child"]
    is_right = names.resolve(address, names.monotonic() + 1) == ["found in the child"]
    os._exit(0 if is_right else 1)
waited = time.monotonic() - at
status = os.waitpid(pid, 0)[1]
thread.join()
print(status, names.resolve(address, names.monotonic() + 30), waited)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize(("slow", "limit", "least", "most"), [(0.4, 5.0, 0.3, 3.0), (1.5, 0.2, 0.15, 1.2)])
def test_a_fork_waits_for_names_that_are_looked_up_but_not_for_ever(
    slow: float, limit: float, least: float, most: float
) -> None:
    """P20: the resolver's lock would be taken in the child for ever."""
    command = [sys.executable, "-W", "ignore", "-c", LOOKS_UP, str(slow), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    status, found, waited = done.stdout.split(maxsplit=2)[0], done.stdout, done.stdout.split()[-1]
    assert (status, "['found']" in found) == ("0", True), done.stderr
    assert least <= float(waited) <= most


NOTHING_LATER = """
import sys
from faktory import Client, Job
client = Client(sys.argv[1])
before = set(sys.modules)
client.push(Job("work", [1]))
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_nothing_is_imported_by_a_push(host: str) -> None:
    """P20: what a push needs has been imported when there is a client."""
    with Server(password="s3cret") as server:
        url = server.url.replace("127.0.0.1", host)
        done = subprocess.run(
            [sys.executable, "-c", NOTHING_LATER, url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stdout == "[]\n", done.stderr


def test_a_module_is_loaded_by_its_name() -> None:
    assert load("faktory.protocol.address").Address is Address
    assert load(".protocol.address", "faktory").Address is Address


WORKS = """
import sys
from faktory import ConsumerBuilder
with ConsumerBuilder().register("work", print).connect(sys.argv[1]) as consumer:
    consumer.drain(["default"])
print("faktory.isolation.strike" in sys.modules, "ctypes" in sys.modules)
"""


def test_what_interrupts_is_imported_by_no_worker_whose_jobs_keep_their_limits() -> None:
    with Server(fetch_wait=0.01) as server:
        done = subprocess.run(
            [sys.executable, "-c", WORKS, server.url], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    assert (done.stdout, done.stderr) == ("False False\n", "")
