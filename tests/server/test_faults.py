from __future__ import annotations

import json
import random
import select
import time
from collections.abc import Callable

import pytest

from faktory.errors import ConfigurationError
from faktory.server import Faults, Server
from tests.server.raw_client import RawClient

Connect = Callable[..., RawClient]


def test_a_rule_strikes_the_next_exchange_of_its_command_only() -> None:
    faults = Faults(random.Random(1))
    fault = faults.drop("PUSH")
    assert faults.strike("ACK") is None
    assert faults.strike("PUSH") is fault
    assert faults.strike("PUSH") is None
    assert faults.is_empty
    assert (fault.seen, fault.struck) == (1, 1)


def test_a_rule_may_strike_every_nth_exchange() -> None:
    faults = Faults(random.Random(1))
    faults.delay(seconds=1, times=None, every=3)
    assert [faults.strike(verb) is not None for verb in "ABCDEF"] == [False, False, True] * 2
    limited = faults.drop("ACK", times=2, every=2)
    faults.clear()
    assert faults.strike("ACK") is None
    assert repr(faults) == "<Faults []>"
    faults.remove(limited)


def test_rules_can_be_taken_back() -> None:
    faults = Faults(random.Random(1))
    fault = faults.refuse("ACK")
    assert repr(faults) == "<Faults [('refuse', 'ACK')]>"
    faults.remove(fault)
    assert faults.is_empty


def test_rules_that_never_strike_are_refused() -> None:
    faults = Faults(random.Random(1))
    with pytest.raises(ConfigurationError):
        faults.drop(every=0)
    with pytest.raises(ConfigurationError):
        faults.drop(times=0)
    with pytest.raises(ConfigurationError):
        faults.cut(after=-1)


def test_garbling_is_repeatable() -> None:
    garbled = [Faults(random.Random(seed)).garbled(b"+OK\r\n") for seed in (1, 1, 2)]
    assert garbled[0] == garbled[1] != garbled[2]
    assert Faults(random.Random(1)).garbled(b"") == b""


def test_drop_closes_after_the_command_was_executed(server: Server, connect: Connect) -> None:
    server.faults.drop("PUSH")
    client = connect()
    client.send('PUSH {"jid":"job-00000","jobtype":"t","args":[]}')
    assert client.is_closed()
    assert server.queue("default").jids == ["job-00000"]


def test_drop_may_close_before_the_command_is_executed(server: Server, connect: Connect) -> None:
    server.faults.drop("PUSH", executed=False)
    client = connect()
    client.send('PUSH {"jid":"job-00000","jobtype":"t","args":[]}')
    assert client.is_closed()
    assert server.queues == {}


def test_cut_sends_the_beginning_of_the_reply(server: Server, connect: Connect) -> None:
    server.faults.cut("INFO", after=3)
    client = connect()
    client.send("FLUSH")
    client.send("INFO")
    assert client.read() == b"+OK\r\n"
    assert len(client.file.read()) == 3


def test_cut_harms_a_fetch_that_waited(server: Server, connect: Connect) -> None:
    server.faults.cut("FETCH", after=10)
    worker = connect()
    worker.send("FETCH default")
    assert server.wait_until(lambda: server.waiting == 1, 10)
    connect().push("job-00000")
    assert len(worker.file.read()) == 10
    assert server.working.jids == ["job-00000"]


def test_delay_holds_the_reply_back_and_what_comes_behind(server: Server, connect: Connect) -> None:
    server.faults.delay("FLUSH", seconds=0.2)
    slow, quick = connect(), connect()
    begin = time.monotonic()
    slow.sock.sendall(b"FLUSH\nEND\n")
    assert server.wait_until(lambda: server.faults.is_empty, 10)
    assert quick.call("FLUSH") == b"+OK\r\n"
    came_first = not select.select([slow.sock], [], [], 0)[0]
    assert came_first or time.monotonic() - begin >= 0.2  # a machine that busy proves nothing
    assert slow.read() == b"+OK\r\n"
    assert time.monotonic() - begin >= 0.2
    assert slow.is_closed()


def test_a_delayed_connection_may_be_closed_meanwhile(server: Server, connect: Connect) -> None:
    server.faults.delay("FLUSH", seconds=0.02)
    client = connect()
    client.send("FLUSH")
    server.disconnect_all()
    assert client.is_closed()
    server.faults.delay("INFO", seconds=0.02)
    assert connect().call("INFO")[:1] == b"$"


def test_refuse_answers_an_error_and_executes_nothing(server: Server, connect: Connect) -> None:
    server.faults.refuse("PUSH", text="shutdown in progress", times=2)
    client = connect()
    assert client.push("job-00000") == b"-ERR shutdown in progress\r\n"
    assert client.push("job-00000") == b"-ERR shutdown in progress\r\n"
    assert client.push("job-00000") == b"+OK\r\n"


def test_garble_changes_the_reply(server: Server, connect: Connect) -> None:
    server.faults.garble("INFO")
    client = connect()
    client.send("INFO")
    client.send("END")
    with pytest.raises(ValueError):
        json.loads(client.file.read().split(b"\r\n")[1])
    assert connect().call("INFO")[:1] == b"$"


def test_the_handshake_can_be_harmed(server: Server) -> None:
    server.faults.drop("HI")
    with RawClient(server.port, None) as client:
        assert client.is_closed()
    server.faults.cut("HI", after=5)
    with RawClient(server.port, None) as client:
        assert client.file.read() == b"+HI {"
    server.faults.refuse("HI", text="no")
    with RawClient(server.port, None) as client:
        assert client.read() == b"-ERR no\r\n"
    server.faults.drop("HELLO")
    with RawClient(server.port, None) as client:
        client.read()
        client.send('HELLO {"v":2}')
        assert client.is_closed()


def test_a_rule_that_could_never_strike_is_refused(server: Server) -> None:
    for command in ("ACKK", "ack", ""):
        with pytest.raises(ConfigurationError, match="command must be None or one of"):
            server.faults.drop(command)
