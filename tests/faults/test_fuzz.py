"""T8: mutated replies, many of them: a value, the wish for more, or a typed error; never anything else.

Deterministic: case `n` of a test depends on `n` alone, and a failure names it. `FAKTORY_TEST_FUZZ` sets how many cases
each run has in all; `python -m tests.faults.test_fuzz [COUNT]` runs them outside of pytest and prints figures.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from faktory.commands import Ack, Beat, Command, Fail, Fetch, Flush, Info, PushBulk, QueueLatency
from faktory.errors import FaktoryError, HandshakeError, InvalidJob, ProtocolError, ServerError
from faktory.job import Job
from faktory.protocol.handshake import Greeting, Identity, accept, hello
from faktory.protocol.wire import NEED_DATA, Reply, ReplyParser, encode_bulk, shown
from tests.share import share_of

COUNT = int(os.environ.get("FAKTORY_TEST_FUZZ", share_of(20_000)))
MAX_LINE, MAX_BULK = 512, 2048
"""Limits small enough for mutations to pass them."""

JOB = (
    b'{"jid":"0123456789ab","jobtype":"work","args":[1,2.5,"\xc3\xbc",null,{"a":[true]}],"queue":"default","retry":25,'
    b'"reserve_for":600,"created_at":"2026-01-02T03:04:05.678901Z","enqueued_at":"2026-01-02T03:04:05.678901234Z",'
    b'"custom":{"k":"v"},"failure":{"retry_count":2,"remaining":3,"failed_at":"2026-01-02T03:04:05Z",'
    b'"next_at":"2026-01-02T03:04:05Z","errtype":"E","message":"m","backtrace":["a","b"]}}'
)
REPLIES = (
    b"+OK\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b":1234\r\n",
    b":-1\r\n",
    encode_bulk(b"{}"),
    encode_bulk(JOB),
    encode_bulk(b'{"jid":"0123456789ab","jobtype":"work","args":[]}'),
    encode_bulk(b'{"state":"quiet"}'),
    b'+{"state":"terminate"}\r\n',
    encode_bulk(b'{"0123456789ab":"jobs must have a jobtype","fedcba987654":"NOTUNIQUE Job not unique"}'),
    encode_bulk(b'{"default":0.25,"other":3}'),
    encode_bulk(b'{"server_utc_time":"03:04:05 UTC","faktory":{"queues":{"default":1}},"server":{"command_count":7}}'),
    encode_bulk(b"\r\n$5\r\n+OK\r\n" * 20),
    b"-ERR unknown command \xff\xfe\x00\x1b[31m\r\n",
    b"-ERR Job not found 0123456789ab\r\n",
    b"-NOTUNIQUE Job not unique\r\n",
    b"-ERR this is only available in Faktory Enterprise\r\n",
    b"-ERR unknown worker 0123\r\n",
)
GREETINGS = (
    b'+HI {"v":2}\r\n',
    b'+HI {"v":2,"s":"0123456789abcdef","i":1000}\r\n',
    b'+HI {"i":1735,"s":"5a17c0ffee","v":2,"x":[{"y":null}]}\r\n',
)
ANSWERS = (b"+OK\r\n", b"-ERR Invalid password\r\n", b"-ERR too many connections: 2001\r\n")
SPLICES = (
    *(b"\r\n", b"\n", b"\r", b"$", b"$-1\r\n", b"$-2\r\n", b"*1\r\n", b"+", b"-", b":", b"\x00", b"\xff", b"\x1b[31m"),
    *(b"99999999999999999999", b"-", b"1e999", b"NaN", b"null", b"[" * 600, b'{"a":' * 600, b'"', b"\\", b"\\ud800"),
    *(b'"jid":', b'"jid":"other-jid-1",', b"x" * 600, b"x" * 3000, b"\xed\xa0\x80", b"\xc2\x9b", b"\xe2\x80\xae"),
)
COMMANDS: tuple[Command[Any], ...] = (
    Info(),
    Flush(),
    PushBulk([]),
    Fetch(["default"]),
    Ack("0123456789ab"),
    Fail("0123456789ab", "E", "m"),
    Beat("worker-123456"),
    QueueLatency(["default"]),
)
IDENTITY = Identity("host", 1, "worker-123456", ("python",))


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with up to six harms done to it."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(changed) + 1)
        size = chance.choice((1, 1, 2, 5, 40))
        kind = chance.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif kind == 2:
            del changed[at : at + size]
        elif kind == 3:
            changed[at:at] = changed[at : at + size] * chance.choice((1, 1, 2, 20))
        elif kind == 4:
            changed[at:at] = chance.choice(SPLICES)
        elif kind == 5:
            other = chance.choice(REPLIES)
            changed[at:] = other[chance.randrange(len(other)) :]
        else:
            del changed[at:]
    return bytes(changed)


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """Return `data` in random pieces: one, some, or single bytes."""
    largest = chance.choice((1, 3, 17, 200, 100_000)) if len(data) < 2000 else chance.choice((64, 500, 100_000))
    found: list[bytes] = []
    position = 0
    while position < len(data):
        size = chance.randint(1, largest)
        found.append(data[position : position + size])
        position += size
    return found


def parsed(data: list[bytes]) -> tuple[list[Reply], bool]:
    """Return the replies in the bytes, and whether they end in an error of the protocol."""
    parser = ReplyParser(MAX_LINE, MAX_BULK)
    found: list[Reply] = []
    for piece in data:
        parser.feed(piece)
        # Each reply takes three bytes at least: more of them would be a parser that does not get on.
        for _ in range(len(parser._buffer) + 2):
            try:
                reply = parser.next_reply()
            except ProtocolError as error:
                check_error(error)
                return found, True
            if reply is NEED_DATA:
                break
            assert reply is None or isinstance(reply, (str, bytes, int, ServerError))
            found.append(reply)
        else:
            raise AssertionError("the parser makes replies out of nothing")
        assert len(parser._buffer) <= MAX_BULK + 2 + len(piece)
        assert 0 <= parser.missing <= MAX_BULK + 2
    return found, False


def check_error(error: Exception) -> None:
    """Its text is short and has nothing that a terminal obeys."""
    assert type(error).__module__ == "faktory.errors"
    text = str(error)
    assert text.isprintable(), repr(text)
    assert len(text) < 10 * MAX_LINE


def fuzz_replies(chance: random.Random) -> str:
    """Parse one mutated stream whole and in pieces, and have each command read what came."""
    data = b"".join(mutated(chance.choice(REPLIES), chance) for _ in range(chance.choice((1, 1, 2, 4))))
    replies, is_broken = parsed(pieces(data, chance))
    again, was_broken = parsed([data])
    # Errors are compared by what they say: two of them are never equal.
    assert [shown(reply) for reply in replies] == [shown(reply) for reply in again]
    assert is_broken == was_broken
    for reply in replies:
        try:
            value = chance.choice(COMMANDS).decode(reply)
        except (ProtocolError, ServerError, InvalidJob) as error:
            check_error(error)
        else:
            if isinstance(value, Job):
                check_job(value)
    return "broken" if is_broken else "replies" if replies else "incomplete"


def check_job(job: Job) -> None:
    """Whatever a job that was accepted holds, what is asked of it has an answer."""
    assert job.jid
    assert job.jobtype
    assert type(job.args) is list
    assert 60 <= job.reservation <= 86_400
    assert isinstance(job.attempt, int)
    assert isinstance(job.is_last_attempt, bool)
    assert job.created_at is None or job.created_at.tzinfo is not None
    assert job.enqueued_at is None or job.enqueued_at.tzinfo is not None
    repr(job)
    if job.failure is not None:
        assert isinstance(job.failure.errtype, str)
    assert Ack(job.jid).line.count(b"\n") == Fail(job.jid, "E", job.jobtype).line.count(b"\n") == 1


def fuzz_handshake(chance: random.Random) -> str:
    """Shake hands with a server whose greeting, or whose answer, is mutated."""
    greeting, answer = chance.choice(GREETINGS), chance.choice(ANSWERS)
    harmed = chance.randrange(3)  # the greeting, the answer, or both
    stream = (greeting if harmed == 0 else mutated(greeting, chance)) + (
        answer if harmed == 1 else mutated(answer, chance)
    )
    replies, is_broken = parsed(pieces(stream, chance))
    # Hashing is the slow part, and nothing in it depends on what is fuzzed but the salt.
    password = "secret" if chance.random() < 0.15 else None
    try:
        if not replies:
            return "broken" if is_broken else "incomplete"
        line = hello(Greeting.decode(replies[0]), IDENTITY, password)
        assert line.startswith(b"HELLO {")
        assert line.endswith(b"}\r\n")
        assert line.count(b"\n") == line.count(b"\r") == 1
        if len(replies) > 1:
            accept(replies[1])
            return "accepted"
    except (HandshakeError, ProtocolError) as error:
        check_error(error)
        return "refused"
    return "greeted"


def run(fuzz: Callable[[random.Random], str], count: int) -> Counter[str]:
    """Run `count` cases and count what came of them. Raises for the first that comes out wrong, naming it."""
    outcomes: Counter[str] = Counter()
    for number in range(count):
        chance = random.Random(f"{fuzz.__name__} {number}")
        try:
            outcomes[fuzz(chance)] += 1
        except Exception as error:
            what = type(error).__name__ + ("" if isinstance(error, FaktoryError) else ", which is none of ours")
            raise AssertionError(f"{fuzz.__name__} case {number}: {what}: {error}") from error
    return outcomes


def peak_mib() -> float:
    """Return the most memory this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)


@pytest.mark.slow
@pytest.mark.timeout(60 + COUNT // 2000)
def test_mutated_replies_are_values_or_typed_errors_however_they_arrive() -> None:
    """T8, H1 to H4, H7 to H10: also read by the commands; whole and in pieces, with the same result."""
    before = peak_mib()
    outcomes = run(fuzz_replies, COUNT * 3 // 4)
    assert all(outcomes[kind] > COUNT // 40 for kind in ("broken", "replies", "incomplete")), outcomes
    assert peak_mib() - before < 32


@pytest.mark.slow
@pytest.mark.timeout(60 + COUNT // 2000)
def test_mutated_handshakes_are_accepted_or_typed_errors() -> None:
    """T8, H1 to H6."""
    before = peak_mib()
    outcomes = run(fuzz_handshake, COUNT // 4)
    assert all(outcomes[kind] > COUNT // 400 for kind in ("accepted", "refused", "broken", "greeted")), outcomes
    assert peak_mib() - before < 32


def test_a_mutation_is_the_same_each_time() -> None:
    """T8: a failure can be looked at again."""
    first, second = ([mutated(REPLIES[6], random.Random(n)) for n in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 25


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    for fuzz, share in ((fuzz_replies, count * 3 // 4), (fuzz_handshake, count // 4)):
        before, started = peak_mib(), time.monotonic()
        outcomes = run(fuzz, share)
        seconds = time.monotonic() - started
        print(f"{fuzz.__name__}: {share} cases in {seconds:.1f} s, {dict(outcomes.most_common())}")
        print(f"  peak memory {before:.1f} -> {peak_mib():.1f} MiB")


if __name__ == "__main__":
    main()
