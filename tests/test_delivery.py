"""`faktory.delivery`: one client and one mode, whoever asks first; what is pushed again."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from faktory import Client, Job
from faktory.address import Address
from faktory.delivery import Delivery, copy_for_later
from faktory.managed import Managed
from faktory.server import Server
from tests.programs import ROOT


def delivery(url: str | None = None, client: Client | None = None) -> Delivery:
    def find(jobtype: str) -> None:
        raise AssertionError(jobtype)

    return Delivery(url, client, None, Managed(), find)  # type: ignore[arg-type]


def test_the_mode_is_what_the_environment_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKTORY_MODE", "background")
    found = delivery()
    assert found.mode == "background"
    monkeypatch.delenv("FAKTORY_MODE")
    assert str(found.mode) == "queue"


def test_the_address_is_what_the_app_was_told(client: Client) -> None:
    assert delivery().locate(None) == Address.resolve()
    assert delivery("tcp://a:1").locate(None) == Address("a", 1)
    assert delivery(client=client).locate(None) == client.address


def test_the_client_comes_from_the_environment_and_is_made_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKTORY_URL", server.url)
    monkeypatch.delenv("FAKTORY_PROVIDER", raising=False)
    monkeypatch.delenv("FAKTORY_MODE", raising=False)
    found = delivery()
    found.push(Job("work"))
    assert found.client() is found.client()
    first = found.client()
    found.close()
    found.close()
    assert found.client() is not first
    found.close()
    assert len(server.queue("default")) == 1


def test_the_own_client_is_closed_at_exit(server: Server) -> None:
    program = f"""
import faktory
app = faktory.App({server.url!r})
app.job(name="work")(lambda: None).enqueue()
client = app.client
import atexit
@atexit.register
def look() -> None:
    print("closed", client._pool._closed)
app.close()
app.jobs["work"].enqueue()  # registered after `look`, and so called before it
client = app.client
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("closed True\n", "")


def test_a_copy_for_later_keeps_what_matters() -> None:
    job = Job("work", [1], queue="low", reserve_for=90, backtrace=3, custom={"unique_for": 5, "a": 1})
    again = copy_for_later(job, 60, 4)
    assert again.jid != job.jid
    assert (again.args, again.queue, again.retry, again.reserve_for, again.backtrace) == ([1], "low", 4, 90, 3)
    assert again.custom == {"a": 1, "retried": {"jid": job.jid, "runs": 1}}
    once_more = copy_for_later(Job.from_document(json.loads(json.dumps(again.to_document()))), None, 4)
    assert (once_more.custom or {})["retried"] == {"jid": job.jid, "runs": 2}
    assert once_more.at is not None
    assert 25 < (once_more.at - datetime.now(UTC)).total_seconds() <= 2**4 + 15


def test_a_copy_of_a_job_with_a_strange_mark_starts_anew() -> None:
    for mark in ("text", {"runs": "many"}, {"runs": -1}, {}):
        job = Job("work", custom={"retried": mark})
        assert (copy_for_later(job, 1, 0).custom or {})["retried"] == {"jid": job.jid, "runs": 1}


def test_values_made_by_jobs_in_the_foreground_are_closed_at_the_end_of_the_process() -> None:
    program = (
        "import faktory\n"
        "class Value:\n"
        "    def close(self): print('closed')\n"
        "app = faktory.App(mode='foreground')\n"
        "app.manage(Value, Value)\n"
        "@app.job\n"
        "def work(ctx: faktory.JobContext) -> None: ctx.get(Value)\n"
        "work.enqueue()\n"
        "print('end')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "end\nclosed\n"
