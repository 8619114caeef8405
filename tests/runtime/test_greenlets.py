"""gevent and eventlet: workers refuse them, clients work with them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faktory import ConfigurationError, ConsumerBuilder
from faktory.runtime.greenlets import patched_by, refuse_greenlets
from faktory.server import Server

ROOT = Path(__file__).parents[2]


def gevent(*patched: str) -> dict[str, Any]:
    return {"gevent.monkey": SimpleNamespace(is_module_patched=lambda name: name in patched)}


def eventlet(*patched: str) -> dict[str, Any]:
    return {"eventlet.patcher": SimpleNamespace(is_monkey_patched=lambda name: name in patched)}


def test_a_library_that_is_not_there_or_has_patched_nothing_is_no_matter() -> None:
    for modules in ({}, gevent(), eventlet(), {"gevent.monkey": SimpleNamespace()}):
        assert patched_by(modules) is None
        refuse_greenlets(modules)


@pytest.mark.parametrize("part", ["thread", "socket", "select", "time"])
def test_any_part_that_is_patched_is_refused(part: str) -> None:
    for library, modules in (("gevent", gevent(part)), ("eventlet", eventlet(part))):
        assert patched_by(modules) == library
        with pytest.raises(ConfigurationError, match=f"^{library} has patched"):
            refuse_greenlets(modules)


def test_no_worker_connects_among_greenlets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """P21: no silent loss of time limits."""
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent("thread")["gevent.monkey"])
    builder = ConsumerBuilder().register("work", print)
    with pytest.raises(ConfigurationError, match="gevent has patched"):
        builder.connect(server.url)
    with pytest.raises(ConfigurationError, match="gevent has patched"):
        builder.processes(1).connect(server.url)
    with pytest.raises(ConfigurationError, match="gevent has patched"):
        asyncio.run(ConsumerBuilder().register("work", print).connect_asyncio(server.url))


PUSHING = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from faktory import Client, Job, PushOutcomeUnknown
from faktory.server import Server
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.01)
gevent.spawn(tick)
with Client(sys.argv[1], pool_size=2) as client:
    jobs = [gevent.spawn(lambda: [client.push(Job("work")) for _ in range(10)]) for _ in range(10)]
    gevent.joinall(jobs, raise_error=True)
with Client(sys.argv[2], timeout=0.5) as client:
    ticks, started = 0, time.monotonic()
    try:
        client.push(Job("work"))
    except PushOutcomeUnknown as exc:
        print("late" if "within 0.5 s" in str(exc) else exc)
    print(0.4 < time.monotonic() - started < 3, ticks > 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
def test_a_client_among_greenlets_keeps_its_time_limits_and_lets_others_run(server: Server) -> None:
    """P21, N16."""
    with Server() as hung:
        hung.faults.delay("PUSHB", seconds=2)
        done = subprocess.run(
            [sys.executable, "-c", PUSHING, server.url.replace("127.0.0.1", "localhost"), hung.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stdout == "late\nTrue True\n", done.stderr
    assert len(server.queue("default")) == 100
