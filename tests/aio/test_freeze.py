"""A process that stood still: what has come meanwhile is read before anything is given up."""

from __future__ import annotations

import os
import signal
import time

import pytest

from faktory import Client, Job
from faktory.aio.backend import more_time
from faktory.server import Server
from tests.program import Program
from tests.waiting import until

LIMIT = 0.4
FREEZES = int(os.environ.get("FAKTORY_TEST_FREEZES", "2"))


@pytest.mark.slow
@pytest.mark.parametrize("library", ["asyncio", "uvloop", "trio"])
def test_a_freeze_loses_no_job(library: str) -> None:
    """A3: The job lies in the socket while the limit of its FETCH passes."""
    if library == "uvloop":
        pytest.importorskip("uvloop")
    with (
        Server(fetch_wait=0.2) as server,
        Client(server.url) as client,
        Program("tests.programs.frozen_worker", library, server.url, LIMIT) as worker,
    ):
        for count in range(1, FREEZES + 1):
            until(lambda: server.waiting)
            worker.signal(signal.SIGSTOP)
            jid = client.push(Job("work"))
            until(lambda: not server.queue("default"))
            time.sleep(LIMIT + 0.2)
            worker.signal(signal.SIGCONT)
            worker.expect("done", count)
            until(lambda: not server.working)
            assert worker.lines[-1] == f"done {jid}"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert "no reply" not in worker.errors


def test_a_limit_that_comes_late_gives_more_time() -> None:
    assert more_time(0.0) < 0.01
    assert more_time(5.0) == 1.0
