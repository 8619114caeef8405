"""The clock of deadlines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from faktory import Client, Job
from faktory.runtime import ticking
from faktory.runtime.ticking import boottime, monotonic
from faktory.server import Server


def test_it_is_the_clock_of_time_monotonic() -> None:
    before = time.monotonic()
    now = monotonic()
    assert before <= now <= time.monotonic()


def test_the_clock_of_reservations_goes_on_while_the_machine_sleeps() -> None:
    wanted = getattr(time, "CLOCK_BOOTTIME", None)
    if wanted is not None:
        assert time.clock_gettime(wanted) - boottime() == pytest.approx(0.0, abs=1.0)
    first = boottime()
    assert first <= boottime()
    assert boottime() >= monotonic() - 1.0


def test_nobody_else_reads_a_clock_that_could_be_frozen() -> None:
    package = Path(ticking.__file__).parents[1]
    readers = [
        str(path.relative_to(package))
        for path in sorted(package.rglob("*.py"))
        if "time.monotonic()" in path.read_text().replace("`time.monotonic()`", "")
        or "from time import monotonic" in path.read_text()
    ]
    assert readers == ["server/clock.py"]  # where there is no other


def test_a_frozen_clock_does_not_stop_it() -> None:
    freezegun = pytest.importorskip("freezegun")
    before = monotonic()
    with freezegun.freeze_time("2100-01-01"):
        assert 0 <= monotonic() - before < 60
        assert 0 <= ticking.monotonic() - before < 60


@pytest.mark.parametrize("tick", [False, True])
def test_a_client_outlives_that_time_is_frozen_and_goes_on(tick: bool) -> None:
    freezegun = pytest.importorskip("freezegun")
    with Server(fetch_wait=0.01) as server, Client(server.url, pool_size=1) as client:
        client.push(Job("before"))
        with freezegun.freeze_time("2100-01-01", tick=tick):
            client.push(Job("meanwhile"))
        client.push(Job("after"))
        assert len(server.queue("default")) == 3
