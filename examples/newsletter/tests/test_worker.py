"""The real protocol: a server in this process, a worker, and a clock to turn forward."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from newsletter.app import app
from newsletter.jobs import Subscriber, fetch_headlines, welcome
from newsletter.pictures import app as pictures
from newsletter.pictures import scale
from newsletter.site import confirm, sign_up

from faktory.server import Server
from faktory.testing import Worker

MakeWorker = Callable[..., Worker]
DAY = 86_400


def test_reminders_come_every_day_until_confirmed(faktory_server: Server, faktory_worker: MakeWorker) -> None:
    worker = faktory_worker(app)
    sign_up("ada@example.com", "Ada")
    worker.drain()
    for _ in range(2):
        faktory_server.clock.advance(DAY + 5)
        assert worker.drain().succeeded == 1
    assert [job.jobtype for job in faktory_server.scheduled] == ["remind"]
    confirm("ada@example.com")
    faktory_server.clock.advance(DAY + 5)
    worker.drain()
    assert len(faktory_server.scheduled) == 0


def test_a_job_that_fails_is_tried_again(faktory_server: Server, faktory_worker: MakeWorker) -> None:
    worker = faktory_worker(app)
    welcome.enqueue(Subscriber("nowhere"))
    with pytest.raises(ValueError, match="'nowhere' is no address"):
        worker.drain()
    failed = faktory_server.retries[0]
    assert failed.failure is not None
    assert (failed.failure.errtype, failed.failure.remaining) == ("ValueError", 5)
    for _ in range(5):
        faktory_server.clock.advance(DAY)
        worker.drain(raise_failures=False)
    assert faktory_server.dead.jids == [failed.jid]


def test_an_outage_of_the_server_loses_nothing(faktory_server: Server, faktory_worker: MakeWorker) -> None:
    worker = faktory_worker(app)
    welcome.enqueue(Subscriber("ada@example.com", "Ada"))
    dropped = faktory_server.faults.drop("ACK")
    with pytest.raises(ConnectionError):
        worker.drain(["mail"])
    assert dropped.struck == 1
    faktory_server.wait_idle(5)
    assert len(faktory_server.retries) == 0


def test_async_jobs_run_on_a_loop(faktory_worker: MakeWorker) -> None:
    fetch_headlines.enqueue(["a", "b"])
    assert faktory_worker(app).drain().succeeded == 1


def test_a_job_in_a_child_process(faktory_worker: MakeWorker, tmp_path: Path) -> None:
    sign_up("ada@example.com", "Ada", tmp_path / "ada.png")
    worker = faktory_worker(pictures.consumer().processes(1), ["images"])
    assert worker.drain().succeeded == 1
    told = (tmp_path / "ada.done").read_text()
    assert re.fullmatch(r"120 wide, by process \d+", told)
    assert not told.endswith(f" {os.getpid()}")
    scale.enqueue(tmp_path / "ada.png", 99_999)
    with pytest.raises(ValueError, match="99999 pixels are too many"):  # the child's own exception
        worker.drain()
