"""`examples/fastapi_app.py`: pushed from an async endpoint, run beside uvicorn, ended gracefully."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx

from examples import fastapi_app
from faktory import Client
from faktory.server import Server
from faktory.testing import capture, inline, run, serve

from ..waiting import until

ROOT = Path(__file__).parents[2]
BODY = {"name": "Ada", "email": "ada@example.org"}


async def _post(body: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(fastapi_app.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.post("/welcome", json=body)


def post(body: dict[str, str]) -> httpx.Response:
    import asyncio

    return asyncio.run(_post(body))


def test_the_endpoint_stores_a_job_and_answers_with_its_jid() -> None:
    with capture() as jobs:
        answer = post(BODY)
    assert answer.status_code == 202
    job = jobs.one()
    assert answer.json() == {"jid": job.jid}
    assert (job.jobtype, job.queue, job.retry, job.args) == ("welcome", "mail", 5, [BODY])


def test_a_body_that_does_not_fit_stores_nothing() -> None:
    with capture() as jobs:
        assert post({"name": "Ada"}).status_code == 422
    assert not jobs


def test_the_job_welcomes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "shop"):
        run(fastapi_app.welcome, fastapi_app.Address(**BODY))
    assert caplog.messages == ["welcomed Ada"]


def test_jobs_may_run_at_once_from_an_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    with inline(), caplog.at_level("INFO", "shop"):
        assert post(BODY).status_code == 202
    assert caplog.messages == ["welcomed Ada", "Ada was answered"]


def test_the_lifespan_runs_a_worker_and_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("SHOP_WORKER", "1")

    async def main(server: Server) -> None:
        async with fastapi_app.lifespan(fastapi_app.app):
            await fastapi_app.welcome.aenqueue(fastapi_app.Address(**BODY))
            assert await server.await_idle(5)
            assert len(server.workers) == 1
        assert not server.workers

    with serve() as server:
        asyncio.run(main(server))
        assert not server.retries


def test_the_worker_of_the_lifespan_goes_on_when_the_server_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("SHOP_WORKER", "1")

    async def main(server: Server) -> None:
        async with fastapi_app.lifespan(fastapi_app.app):
            server.disconnect_all()
            while True:  # the producer's own connection may be among those that are dropped
                with suppress(ConnectionError):
                    await fastapi_app.welcome.aenqueue(fastapi_app.Address(**BODY))
                    break
            assert await server.await_idle(14)

    with serve() as server:
        asyncio.run(main(server))
        assert not server.queue("mail")
        assert not server.retries


@pytest.mark.slow
def test_beside_uvicorn_a_job_that_runs_ends_before_the_process_does(server: Server) -> None:
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", str(port)]
    environment = {**os.environ, "FAKTORY_URL": server.url, "SHOP_WORKER": "1"}
    with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: process.poll() is not None or server.workers, 20)
            until(lambda: _answers(port), 20)
            for _ in range(20):
                httpx.post(f"http://127.0.0.1:{port}/welcome", json=BODY).raise_for_status()
        finally:
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM), told  # uvicorn raises the signal once more at its end
    assert "Application shutdown complete" in told
    assert "Traceback" not in told
    assert not server.working
    assert not server.retries
    with Client(server.url) as client:
        assert client.info()["faktory"]["total_processed"] + len(server.queue("mail")) == 20


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/docs").status_code == 200
    except httpx.TransportError:
        return False
