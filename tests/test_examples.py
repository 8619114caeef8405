"""The examples work as they are printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples import middleware
from faktory import App
from faktory.server import Server
from tests.contract.conftest import Backend, backend, fetch_wait, real_url
from tests.program import Program
from tests.testing.conftest import IS_INSTALLED, with_root
from tests.waiting import until

__all__ = ["backend", "fetch_wait", "real_url"]  # fixtures

ROOT = Path(__file__).parent.parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_example("quickstart", *arguments, **environment)


def clean_environment() -> dict[str, str]:
    # Unbuffered, a line and its end are two writes, between which another process may write.
    ours = ("FAKTORY", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run_example(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *arguments],
        cwd=ROOT,
        env=clean_environment() | environment,
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


@pytest.mark.parametrize("mode", ["foreground", "background"])
def test_the_app_works_without_a_server(mode: str) -> None:
    result = run_example("app", FAKTORY_MODE=mode)
    assert result.returncode == 0, result.stderr
    assert "sold book for 39.80" in result.stdout
    assert "sell took" in result.stdout
    assert result.stderr == ""


@pytest.mark.slow
def test_the_app_works_with_a_server(backend: Backend) -> None:
    result = run_example("app", FAKTORY_URL=backend.url)
    assert result.returncode == 0, result.stderr
    assert "sold book for 39.80" in result.stdout
    assert "receipt took" in result.stdout
    assert "2 jobs done" in result.stdout
    assert result.stderr == ""


def test_the_middleware_carries_a_trace_on_and_logs_times(caplog: pytest.LogCaptureFixture) -> None:
    app = App(mode="foreground")
    app.on_push(middleware.send_trace)
    app.use(middleware.continue_trace)
    app.use(middleware.log_time)
    seen: list[str] = []

    @app.job
    def outer() -> None:
        seen.append(middleware.traceparent.get() or "")
        inner.enqueue()

    @app.job
    def inner() -> None:
        seen.append(middleware.traceparent.get() or "")

    with caplog.at_level("INFO"):
        outer.enqueue()
    assert middleware.traceparent.get() is None
    (version, trace, span, flags), (_, same_trace, other_span, _) = (text.split("-") for text in seen)
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert (same_trace, other_span != span) == (trace, True)
    assert [record.getMessage()[:14] for record in caplog.records] == ["outer ran for ", "inner ran for "]


def test_the_middleware_for_async_jobs_logs_times(caplog: pytest.LogCaptureFixture) -> None:
    app = App(mode="foreground")
    app.use(middleware.log_time_async)

    @app.job
    async def work() -> None: ...

    with caplog.at_level("INFO"):
        work.enqueue()
    assert "work ran for " in caplog.text


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


@pytest.mark.slow
def test_the_newsletters_own_tests_pass_as_its_users_run_them() -> None:
    named = [] if IS_INSTALLED else ["-p", "faktory.testing.plugin"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FAKTORY", "PYTEST"))}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:trio", *named],
        cwd=ROOT / "examples" / "newsletter",
        env=clean | {"PYTHONPATH": with_root()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "14 passed" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        ("worker", {}, ["<Job 'foobar' jid="]),
        (
            "forking_worker",
            {},
            ["Hello Ada! from process ", "Hello Grace! from process ", "example.crash failed: JobCrashed"],
        ),
        ("subclass_style", {}, ["background job failed: <Job 'fail' ", "hello Ada"]),
        (
            "subclass_style",
            {"FAKTORY_ISOLATION": "process"},
            ["process ", "background job failed: <Job 'fail' ", "hello Ada"],
        ),
        ("managed", {}, ["the database is open", "welcome, user 7", "user 7 is welcomed already"]),
    ],
)
def test_a_worker_of_the_examples_runs_what_it_pushes(
    name: str, environment: dict[str, str], expected: list[str], server: Server
) -> None:
    told = clean_environment() | environment | {"FAKTORY_URL": server.url}
    with Program(f"examples.{name}", env=told) as worker:
        assert run_example(name, "push", FAKTORY_URL=server.url).returncode == 0
        for line in expected:
            worker.expect(line)
        until(lambda: not server.working)
        worker.signal(signal.SIGTERM)
        server.clock.advance(2.1)
        assert worker.wait() == 0, worker.errors
    assert len(server.retries) == (0 if name in ("worker", "managed") else 1)
    if name == "managed":
        assert worker.lines[-1] == "the database is closed"
    if name == "forking_worker":
        assert len({line.split()[-1] for line in worker.lines if line.startswith("Hello")}) == 2  # a process each


@pytest.mark.parametrize("mode", ["foreground", "background"])
def test_the_typed_app_needs_no_server(mode: str) -> None:
    result = run_example("typed_app", FAKTORY_MODE=mode)
    assert (result.returncode, result.stderr) == (0, "")
    assert "attempt 1: sending the payment report to user foo" in result.stdout
    assert " is on its way" in result.stdout


@pytest.mark.slow
def test_the_typed_app_pushes_to_its_worker(server: Server) -> None:
    told = clean_environment() | {"FAKTORY_URL": server.url}
    with Program("examples.typed_app", "worker", env=told) as worker:
        assert run_example("typed_app", FAKTORY_URL=server.url).returncode == 0
        worker.expect("attempt 1: sending the payment report to user foo")
        worker.signal(signal.SIGTERM)
        server.clock.advance(2.1)
        assert worker.wait() == 0, worker.errors


UNIQUE = """\
sending invoice 7
sending invoice 8
pushed: [True, False, True]
sending invoice 9
forgotten: 1
invoice 9 was sent before
"""
CHAIN = """\
downloaded fox.txt
counted fox.txt
fox.txt has 4 words
"""
ALL_DONE = """\
resized picture 1
resized picture 2
resized picture 3
all pictures of holiday are done
resized picture 2
silent: ['garden']
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "printed"), [("unique", UNIQUE), ("chain", CHAIN), ("all_done", ALL_DONE)])
def test_what_the_open_source_server_lacks_is_made_up_for(name: str, printed: str) -> None:
    result = run_example(name)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", printed)
