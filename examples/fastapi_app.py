"""FastAPI with Faktory: `uvicorn examples.fastapi_app:app`, and `faktoryctl worker examples/fastapi_app.py:jobs`.

When a background task of the framework is not enough: `BackgroundTasks` run in the web process, after the response, and
once. What they do is lost when the process ends, nobody repeats what failed, and they take the time of other requests.
A job is stored before the response is sent, runs in a worker of its own, and again when it fails. So a background task
is for what may be lost, a line in a log say, and a job for what must happen.

With SHOP_WORKER=1 the web process runs jobs, too, on its own event loop: for small sites, with one process to start.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from fastapi import BackgroundTasks, FastAPI
from pydantic import BaseModel

import faktory
from faktory.asyncio import Consumer

log = logging.getLogger("shop")
jobs = faktory.App()
QUEUES = ["mail", "default"]


class Address(BaseModel):
    """Who is to be welcomed. The job takes the model as it is."""

    name: str
    email: str


@jobs.job(queue="mail", retry=5, timeout=30)
async def welcome(to: Address) -> None:
    """Send a mail; async jobs run on an event loop."""
    await asyncio.sleep(0.01)  # a mail server
    log.info("welcomed %s", to.name)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """Own what pushes jobs, and a worker if asked to, for as long as the web application lives.

    uvicorn takes TERM and Ctrl-C; when it has answered its last request it comes here, and the jobs that still run have
    the consumer's `shutdown_timeout` to end.
    """
    try:
        if os.environ.get("SHOP_WORKER") == "1":
            async with working():
                yield
        else:
            yield
    finally:
        await asyncio.to_thread(jobs.close)


@asynccontextmanager
async def working() -> AsyncGenerator[None]:
    """Run jobs beside the web application. Reconnects by itself; a worker that cannot even begin ends the start."""
    consumer = await jobs.consumer().workers(5).shutdown_timeout(10).connect_asyncio()
    async with consumer:
        run = asyncio.create_task(work(consumer))
        try:
            yield
        finally:
            consumer.terminate()
            await run


async def work(consumer: Consumer) -> None:
    """Run jobs until told to end, and go on when the server was away."""
    while consumer.stopped_by is None:
        try:
            await consumer.run(QUEUES)
        except faktory.ConsumerTerminated:
            return
        except faktory.ConnectionLost as exc:
            log.warning("%s; connecting again", exc)
            await reconnect(consumer)


async def reconnect(consumer: Consumer) -> None:
    """Try once a second until the server is there, or the worker was told to end."""
    while consumer.stopped_by is None:
        with suppress(faktory.ConnectFailed, faktory.ConnectionLost):
            await consumer.reconnect()
            return
        await asyncio.sleep(1)


app = FastAPI(lifespan=lifespan)


@app.post("/welcome", status_code=202)
async def post_welcome(to: Address, background: BackgroundTasks) -> dict[str, str]:
    """Store a job, and answer with its jid. A server that cannot be reached is an error 500: nothing was promised."""
    jid = await welcome.aenqueue(to)
    background.add_task(log.info, "%s was answered", to.name)  # may be lost
    return {"jid": jid}
