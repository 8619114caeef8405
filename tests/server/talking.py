"""Talking to one session of the embedded server, without sockets."""

from __future__ import annotations

import json
from typing import Any

from faktory.server.broker import Broker
from faktory.server.session import Session

NOW = 1_000_000_000.0


class Talk:
    """A session with its replies, whether they come at once or later."""

    def __init__(self, broker: Broker, wid: str | None = "") -> None:
        self.broker = broker
        self.session = Session(broker, lambda reply: self.later.append(reply))
        self.later: list[bytes] = []
        if wid is not None:
            hello = {"v": 2, "hostname": "h", **({"wid": wid} if wid else {})}
            assert self(f"HELLO {json.dumps(hello)}") == b"+OK\r\n"

    def __call__(self, line: str | bytes, now: float = NOW) -> bytes | None:
        reply = self.session.receive(line.encode() if isinstance(line, str) else line, now, now)
        self.broker.serve(now)
        return reply

    def push(self, jid: str = "job-00000", **fields: Any) -> None:
        assert self("PUSH " + json.dumps({"jid": jid, "jobtype": "t", "args": [], **fields})) == b"+OK\r\n"


def answer(talk: Talk, line: str, now: float = NOW) -> Any:
    """A reply as a value: JSON or text of a bulk reply, else the line."""
    reply = (talk(line, now) or b"").decode()
    if reply[0] != "$":
        return reply.removesuffix("\r\n")
    text = reply.split("\r\n")[1]
    return json.loads(text) if text[:1] == "{" else text


def push(talk: Talk, jid: str, now: float = NOW, **fields: Any) -> str:
    document = {"jid": jid, "jobtype": "t", "args": [1], **fields}
    return str(answer(talk, "PUSH " + json.dumps(document), now))


def fetch(talk: Talk, queue: str = "default", now: float = NOW) -> str | None:
    """The jid of the next job; None when there is none. The session goes on in either case."""
    reply = talk(f"FETCH {queue}", now)
    if reply is None:
        talk.broker.end_waits(now + 2)
        return None
    return str(json.loads(reply.split(b"\r\n")[1])["jid"])


def ack(talk: Talk, jid: str, now: float = NOW) -> None:
    assert answer(talk, f'ACK {{"jid":"{jid}"}}', now) == "+OK"


def fail(talk: Talk, jid: str, now: float = NOW) -> None:
    assert answer(talk, f'FAIL {{"jid":"{jid}"}}', now) == "+OK"


def new_batch(talk: Talk, *events: str, **fields: Any) -> str:
    callbacks = {
        event: {"jobtype": event, "jid": f"call-{event}{fields.get('parent_bid', '')}", "queue": "calls"}
        for event in events
    }
    bid = answer(talk, "BATCH NEW " + json.dumps({**callbacks, **fields}))
    assert bid.startswith("b-")
    return str(bid)


def status(talk: Talk, bid: str) -> tuple[Any, ...]:
    told = answer(talk, f"BATCH STATUS {bid}")
    return tuple(told[key] for key in ("total", "pending", "failed", "complete_st", "success_st"))
