"""PEEK, by which our own server tells what the real one shows on its web pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from faktory import Client, Job
from faktory.blocking.connection import Connection
from faktory.cli.looking import Peek
from faktory.commands import JobFilter
from faktory.errors import ServerError
from faktory.server import Server


@pytest.fixture
def producer(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def peek(server: Server) -> Iterator[Connection]:
    with Connection(server.url) as connection:
        yield connection


def told(peek: Connection, **asked: object) -> dict[str, Any]:
    return peek.call(Peek(**asked))


def test_a_set_is_told_in_the_order_of_its_time(server: Server, producer: Client, peek: Connection) -> None:
    late, soon = Job("late", at=7_200), Job("soon", ["<b>\u2028"], at=3_600)
    producer.push_bulk([late, soon])
    answer = told(peek, set="scheduled")
    assert [each["job"]["jobtype"] for each in answer["entries"]] == ["soon", "late"]
    assert answer["entries"][0]["job"] == json.loads(server.scheduled.texts[0])
    assert answer["entries"][0]["time"][:19] == answer["entries"][0]["job"]["at"][:19]
    assert (answer["size"], answer["paused"]) == (2, [])
    assert [each["job"]["jid"] for each in told(peek, set="scheduled", skip=1, count=1)["entries"]] == [late.jid]
    assert told(peek, set="scheduled", count=0)["entries"] == []
    assert [each["job"]["jid"] for each in told(peek, set="scheduled", jid=late.jid)["entries"]] == [late.jid]
    assert told(peek, set="scheduled", jid="nobody-has-it")["entries"] == []


def test_the_time_of_a_dead_job_is_when_it_died(server: Server, producer: Client, peek: Connection) -> None:
    producer.push(Job("x", at=60))
    now = server.clock.now()
    producer.kill("scheduled", JobFilter.everything())
    (entry,) = told(peek, set="dead")["entries"]
    assert abs(datetime.fromisoformat(entry["time"]).timestamp() - now) < 5


def test_a_queue_is_told_next_job_first_and_what_is_paused(server: Server, producer: Client, peek: Connection) -> None:
    producer.push_bulk([Job("a", queue="q"), Job("b", queue="q")])
    producer.pause_queues("q")
    answer = told(peek, queue="q")
    assert [each["job"]["jobtype"] for each in answer["entries"]] == ["a", "b"]
    assert [each["time"] for each in answer["entries"]] == [None, None]
    assert answer["paused"] == ["q"]
    assert told(peek) == {"size": 0, "paused": ["q"], "entries": []}
    assert server.queues == {"q": 2}


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"set": "working"}, "set must be dead, retries or scheduled"),
        ({"set": "dead", "queue": "q"}, "got both"),
        ({"skip": -1}, "must not be negative"),
        ({"count": -1}, "must not be negative"),
        ({"count": "x"}, "invalid JSON"),
    ],
)
def test_what_makes_no_sense_is_refused(peek: Connection, asked: dict[str, object], refusal: str) -> None:
    with pytest.raises(ServerError, match=refusal):
        told(peek, **asked)
    assert told(peek)["size"] == 0


def test_a_peek_without_its_json_is_refused(peek: Connection) -> None:
    bare = Peek()
    bare.line = b"PEEK\r\n"
    with pytest.raises(ServerError, match="internal error"):
        peek.call(bare)
