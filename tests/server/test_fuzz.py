"""Random and mutated lines: no crash, no unbounded memory, and the server serves on.

`FAKTORY_TEST_FUZZ` sets how many lines are tried (2,000 by default, 5,000 under tox); the seed is fixed.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable

from faktory.server import Server
from faktory.server.broker import Broker
from faktory.server.session import Session
from tests.server import strategies as wild
from tests.server.raw_client import RawClient
from tests.share import share_of

LINES = int(os.environ.get("FAKTORY_TEST_FUZZ", share_of(5_000)))
NOW = 1_000_000_000.0
VERBS = [
    "PUSH",
    "PUSHB",
    "FETCH",
    "ACK",
    "FAIL",
    "BEAT",
    "INFO",
    "FLUSH",
    "MUTATE",
    "QUEUE",
    "BATCH",
    "TRACK",
    "END",
    "HELLO",
    "x",
    "",
]
SEEDS = [
    b'PUSH {"jid":"job-00000000","jobtype":"t","args":[1,"a",{"k":[1.5]}],"queue":"q","custom":{"track":1}}',
    b'PUSH {"jid":"job-00000001","jobtype":"t","args":[],"at":"2001-09-09T01:50:00Z","failure":{"retry_count":3}}',
    b'PUSHB [{"jid":"job-00000002","jobtype":"t","args":[]},{"jid":"job-00000003","jobtype":"t","args":[]}]',
    b"FETCH q default",
    b'ACK {"jid":"job-00000000"}',
    b'FAIL {"jid":"job-00000002","errtype":"E","message":"m","backtrace":["a"]}',
    b'BEAT {"wid":"w","current_state":"running","rss_kb":5}',
    b'MUTATE {"cmd":"requeue","target":"retries","filter":{"regexp":"*[a-z]?\\\\*","jids":["job-00000002"]}}',
    b'MUTATE {"cmd":"kill","target":"scheduled","filter":{"jobtype":"t"}}',
    b"QUEUE PAUSE q",
    b"QUEUE LATENCY q default",
    b'BATCH NEW {"success":{"jobtype":"t"},"description":"d"}',
    b"BATCH COMMIT b-0",
    b'TRACK SET {"jid":"job-00000000","percent":5,"reserve_until":"2001-09-09T01:50:00Z"}',
    b"TRACK GET job-00000000",
]
PARTS = [
    part.encode("utf-8", "surrogatepass")
    for part in (*wild.NUMBERS, *wild.TEXTS, *wild.WRONG, *wild.BAD_TIMES, *wild.TIMES)
]


def lines(source: random.Random, count: int) -> list[bytes]:
    return [_line(source) for _ in range(count)]


def _line(source: random.Random) -> bytes:
    kind = source.randrange(8)
    if kind == 0:
        return source.randbytes(source.randrange(60)).replace(b"\n", b"")
    if kind == 1:
        verb = source.choice(VERBS).encode()
        return verb + b" " + b",".join(source.choices(PARTS, k=source.randrange(4)))
    line = bytearray(source.choice(SEEDS))
    for _ in range(source.choice((0, 1, 1, 2, 5)) if kind < 7 else 0):
        place = source.randrange(len(line) + 1)
        change = source.randrange(5)
        if change == 0 and line:
            line[place % len(line)] = source.randrange(256)
        elif change == 1:
            del line[place : place + source.randrange(1, 9)]
        elif change == 2:
            line[place:place] = source.choice(PARTS)
        elif change == 3:
            other = source.choice(SEEDS)
            line[place:] = other[source.randrange(len(other)) :]
        else:
            line[place:place] = line[place : place + 20] * source.randrange(1, 4)
    return bytes(line).replace(b"\n", b"")


def test_no_line_breaks_a_session() -> None:
    source = random.Random(20261123)
    for enterprise in (False, True):
        broker = Broker(now=NOW, enterprise=enterprise, randomness=random.Random(1))
        answers: list[bytes] = []
        session = Session(broker, answers.append)
        session.receive(b'HELLO {"v":2,"wid":"w"}', NOW, NOW)
        now = NOW
        for number in range(LINES // 2):
            line = _line(source)
            now += source.choice((0.0, 0.01, 1.0))
            reply = session.receive(line, now, now)
            broker.serve(now)
            if reply is None:
                broker.end_waits(now + 2)
                reply = answers.pop()
            _check(reply, line, session.is_over)
            if session.is_over:
                session.leave()
                session = Session(broker, answers.append)
                session.receive(b'HELLO {"v":2,"wid":"w"}', now, now)
            if number % 100 == 0:
                broker.catch_up(now)
                session.receive(b'BEAT {"wid":"w"}', now, now)
            if number % 5_000 == 4_999:
                session.receive(b"FLUSH", now, now)
                session.receive(b"QUEUE REMOVE *", now, now)
        assert not answers


def _check(reply: bytes, line: bytes, is_over: bool) -> None:
    """A reply must be one whole reply; only END may have none."""
    if reply == b"":
        assert is_over
        return
    head, end, rest = reply.partition(b"\r\n")
    assert end, line
    assert b"\n" not in head, line
    if head[:1] == b"$" and head != b"$-1":
        assert len(rest) == int(head[1:]) + 2, line
    else:
        assert head[:1] in b"+-$", line
        assert rest == b"", line
    assert not head.startswith(b"-ERR internal error") or b" " not in line or b"QUEUE" in line.upper(), line


def test_random_bytes_on_many_connections_do_not_disturb_another(
    server: Server, connect: Callable[..., RawClient]
) -> None:
    source = random.Random(7)
    witness = connect("witness")
    for number in range(60):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            if number % 3:
                sock.sendall(b'HELLO {"v":2}\n')
            try:
                for _ in range(20):
                    sock.sendall(b"\n".join(lines(source, 5)) + source.choice((b"\n", b"", b"\r")))
            except ConnectionError:
                continue  # it was closed on us: as it should be
        assert witness.call('BEAT {"wid":"witness"}') == b"+OK\r\n"
    assert server.is_running
