from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from faktory.cli import main

from .raw_client import RawClient


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


def test_an_open_address_is_refused_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--bind", "0.0.0.0:0"]) == 1
    assert "set a password" in capsys.readouterr().err


def test_wrong_calls_explain_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["nonsense"]) == 2
    assert main(["--help"]) == 0
    assert "server" in capsys.readouterr().out
    assert main(["server", "--help"]) == 0
    assert "--enterprise" in capsys.readouterr().out
