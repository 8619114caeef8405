from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from faktory.cli import main
from faktory.cli.output import Output, PipeClosed
from faktory.server import Server, listener
from faktory.server.broker import Broker
from tests.server.raw_client import RawClient


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_runs_alone_and_ends_at_a_signal(number: signal.Signals) -> None:
    environment = {**os.environ, "FAKTORY_PASSWORD": ""}
    command = [sys.executable, "-m", "faktory", "server", "--bind", "127.0.0.1:0", "--enterprise"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            banner = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"tcp://127\.0\.0\.1:(\d+)", banner)
            assert found
            assert "in memory" in banner
            assert "nothing is stored" in banner
            with RawClient(int(found[1])) as client:
                assert client.push("job-00000") == b"+OK\r\n"
                assert client.json("TRACK GET job-00000")["state"] == "unknown"
        finally:
            process.send_signal(number)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_is_one_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--bind", f"127.0.0.1:{server.port}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"faktoryctl: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"


def test_a_server_that_crashes_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Broker, now: float) -> bool:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Broker, "is_sweep_due", broken)
    monkeypatch.setattr(listener, "_LONGEST_SLEEP", 0.01)
    assert main(["server", "--bind", "127.0.0.1:0", "--json"]) == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["pid"] == os.getpid()
    assert f"the server {told['address']} has crashed: ZeroDivisionError: a mistake of ours" in err


def test_a_banner_that_nobody_reads_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(_: Output, text: str) -> None:
        raise PipeClosed

    monkeypatch.setattr(Output, "result", unread)
    assert main(["server", "--bind", "127.0.0.1:0"]) == 141
