"""The examples work as they are printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faktory.server import Server

ROOT = Path(__file__).parent.parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_example("quickstart", *arguments, **environment)


def run_example(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FAKTORY")}
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *arguments],
        cwd=ROOT,
        env=clean | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.slow
def test_the_quickstart_needs_nothing() -> None:
    result = run()
    assert result.returncode == 0, result.stderr
    assert "running an in-memory server" in result.stdout
    assert "consumer.py" in result.stdout
    assert "FileNotFoundError" in result.stdout
    assert " 1 failed" in result.stdout
    assert result.stderr == ""


@pytest.mark.slow
def test_the_quickstart_uses_a_server_that_is_there_and_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a file.txt").write_text("hello")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.bin")).write_bytes(b"its name is no text")
    result = run(str(tmp_path), FAKTORY_URL=server.url)
    assert result.returncode == 0, result.stderr
    assert "2cf24dba5fb0a30e" in result.stdout  # sha256 of hello
    assert "1 succeeded, 1 failed" in result.stdout
    assert (len(server.retries), len(server.working), server.queues) == (0, 0, {})


def test_the_quickstart_says_what_it_wants() -> None:
    result = run("/no/such/folder")
    assert result.returncode != 0
    assert "expected a folder to read" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("asyncio_worker", "201 jobs succeeded, 0 failed"),
        ("trio_worker", "20 jobs done, the consumer is terminated"),
        ("asgi_push", 'POST /welcome: 202 {"jid":'),
    ],
)
def test_the_async_examples_work_by_themselves_and_with_a_server(name: str, printed: str, server: Server) -> None:
    for environment in ({}, {"FAKTORY_URL": server.url}):
        result = run_example(name, **environment)
        assert (result.returncode, result.stderr) == (0, "")
        assert printed in result.stdout
    assert (len(server.retries), len(server.working)) == (0, 0)
