"""Push a job from a request handler, in an ASGI application without a framework: `python -m examples.asgi_push`.

Any ASGI server can run `app`; here a few lines at the end play one, so that nothing else is needed. Uses the server at
FAKTORY_URL when that is set, else one of its own inside this process.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from typing import Any

from faktory import FaktoryError, Job
from faktory.asyncio import Client

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """POST /welcome with a user id stores a job, and answers with its jid."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    if (scope["method"], scope["path"]) != ("POST", "/welcome"):
        await answer(send, 404, {"error": "POST /welcome is all there is"})
        return
    client: Client = scope["state"]["faktory"]
    user = json.loads((await receive())["body"])
    try:
        jid = await client.push(Job("welcome", [user], queue="mail"))
    except FaktoryError as exc:
        await answer(send, 503, {"error": str(exc)})
    else:
        await answer(send, 202, {"jid": jid})


async def lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """Own one client, and with it a pool of connections, for as long as the application lives."""
    await receive()  # lifespan.startup
    async with Client(pool_size=10) as client:
        scope["state"]["faktory"] = client
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
    await send({"type": "lifespan.shutdown.complete"})


async def answer(send: Send, status: int, document: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


# -- an ASGI server of a few lines ------------------------------------------------------------------------------------


async def serve(requests: list[tuple[str, str, bytes]]) -> None:
    state: dict[str, Any] = {}
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "state": state}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    await from_app.get()
    for method, path, body in requests:
        await request(state, method, path, body)
    await to_app.put({"type": "lifespan.shutdown"})
    await life


async def request(state: dict[str, Any], method: str, path: str, body: bytes) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "state": state}, receive, send)
    print(f"{method} {path}: {sent[0]['status']} {sent[1]['body'].decode()}")


if __name__ == "__main__":
    with ExitStack() as stack:
        if not os.environ.get("FAKTORY_URL") and not os.environ.get("FAKTORY_PROVIDER"):
            from faktory.server import Server

            os.environ["FAKTORY_URL"] = stack.enter_context(Server()).url
            print(f"FAKTORY_URL is not set: running an in-memory server at {os.environ['FAKTORY_URL']}")
        asyncio.run(serve([("POST", "/welcome", b"7"), ("GET", "/", b"")]))
