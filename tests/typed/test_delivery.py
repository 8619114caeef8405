"""`faktory.typed.delivery`: one client and one mode, whoever asks first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faktory import Client, Job
from faktory.core.managed import Managed
from faktory.protocol.address import Address
from faktory.server import Server
from faktory.typed.delivery import Delivery
from tests.program import ROOT


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
    try:
        client.info()
    except faktory.ConfigurationError as error:
        print(error)
app.close()
app.jobs["work"].enqueue()  # registered after `look`, and so called before it
client = app.client
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("the client is closed; make a new one\n", "")


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
