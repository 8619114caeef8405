from __future__ import annotations

import hashlib
import json
import random

import pytest

from faktory.server.broker import Broker
from tests.server.talking import NOW, Talk


@pytest.fixture
def broker() -> Broker:
    return Broker(now=NOW, randomness=random.Random(1))


@pytest.fixture
def talk(broker: Broker) -> Talk:
    return Talk(broker)


# -- handshake -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *(
            "",
            "GET / HTTP/1.1",
            "hello {}",
            "HELLO",
            "HELLO  {}",
            'HELLO{"v":2}',
            "HELLO {",
            'HELLO {"v":2.0}',
            "PUSH {}",
        ),
        *('HELLO {"v":256}', 'HELLO {"v":"2"}', 'HELLO {"pid":"1"}', 'HELLO {"labels":"a"}', 'HELLO {"wid":1}'),
    ],
)
def test_any_other_greeting_closes_without_a_word(broker: Broker, line: str) -> None:
    talk = Talk(broker, None)
    assert talk(line) == b""
    assert talk.session.is_over
    assert broker.connections == 0


def answer_to(greeting: bytes, password: str, iterations: int | None = None) -> str:
    hi = json.loads(greeting[4:])
    digest = hashlib.sha256((password + hi["s"]).encode()).digest()
    for _ in range(1, iterations or hi["i"]):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


@pytest.mark.parametrize(
    ("said", "version", "iterations", "reply"),
    [
        ("sécret", 2, None, b"+OK\r\n"),
        ("sécret", 1, 1, b"+OK\r\n"),
        ("sécret", 2, 1, b"-ERR Invalid password\r\n"),
        ("wrong", 2, None, b"-ERR Invalid password\r\n"),
    ],
)
def test_a_password_is_asked_for(said: str, version: int, iterations: int | None, reply: bytes) -> None:
    talk = Talk(Broker(now=NOW, password="sécret"), None)
    assert 4000 <= json.loads(talk.session.greeting[4:])["i"] <= 8095
    digest = answer_to(talk.session.greeting, said, iterations)
    assert talk(f'HELLO {{"v":{version},"pwdhash":"{digest}"}}') == reply
    assert talk.session.is_over == (reply[:1] == b"-")


def test_salts_differ_and_a_missing_hash_is_wrong() -> None:
    broker = Broker(now=NOW, password="p")
    one, two = Talk(broker, None), Talk(broker, None)
    assert one.session.greeting != two.session.greeting
    assert one('HELLO {"v":2}') == b"-ERR Invalid password\r\n"


def test_without_a_password_a_hash_is_ignored(broker: Broker) -> None:
    assert Talk(broker, None).session.greeting == b'+HI {"v":2}\r\n'
    assert Talk(broker, None)('HELLO {"v":2,"pwdhash":"x"}') == b"+OK\r\n"


def test_a_second_hello_is_an_unknown_command(talk: Talk) -> None:
    assert talk('HELLO {"v":2}') == b"-ERR unknown command HELLO\r\n"


def test_too_many_connections_are_told_so_after_their_ok() -> None:
    broker = Broker(now=NOW, max_connections=1)
    first, second = Talk(broker), Talk(broker, None)
    assert second('HELLO {"v":2}') == b"+OK\r\n-ERR too many connections: 2\r\n"
    assert second.session.is_over
    second.session.leave()
    second.session.leave()
    assert broker.connections == 1
    first.session.leave()
    assert Talk(broker)("END") == b""


# -- odd lines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("", "-ERR unknown command "),
        (" ", "-ERR unknown command "),
        ("push {}", "-ERR unknown command push"),
        ("NOPE {}", "-ERR unknown command NOPE"),
        *((verb, "-ERR internal error") for verb in ("PUSH", "PUSHB", "ACK", "FAIL", "BEAT", "QUEUE", "QUEUE PAUSE")),
        ("PUSH null", "-ERR jobs must have a reasonable jid parameter"),
        ("FETCH", "-ERR must call fetch with at least one queue"),
        ("ACK ", "-ERR invalid ACK "),
        ('ACK {"jid":1}', '-ERR invalid ACK {"jid":1}'),
        ('ACK {"jid":"x","n":1}', '-ERR invalid ACK {"jid":"x","n":1}'),
        ("ACK []", "-ERR invalid ACK []"),
        ('ACK {"jid":null,"x":"y"}', "+OK"),
        ('FAIL {"jid":"x","backtrace":"x"}', '-ERR invalid FAIL {"jid":"x","backtrace":"x"}'),
        ("FAIL null", "-ERR missing JID"),
        ('BEAT {"wid":"x","rss_kb":1.5}', '-ERR invalid BEAT {"wid":"x","rss_kb":1.5}'),
        ("MUTATE", "-ERR invalid format"),
        ('MUTATE {"cmd":"clear"} ', "-ERR invalid format"),
        ("QUEUE ", "-ERR no such QUEUE subcommand: "),
        ("QUEUE explode x", "-ERR no such QUEUE subcommand: EXPLODE"),
        ("QUEUE LATENCY *", "-ERR QUEUE LATENCY does not support wildcards"),
        ("QUEUE LATENCY", "{}"),
        ("QUEUE latency a b", '{"a":0,"b":0}'),
        ("BATCH", "-ERR batch subsystem is only available in Faktory Enterprise"),
        ("TRACK GET x", "-ERR tracking subsystem is only available in Faktory Enterprise"),
        ("PUSHB null", "{}"),
        ("PUSHB [null]", '{"":"jobs must have a reasonable jid parameter"}'),
    ],
)
def test_odd_lines_get_the_real_servers_reply(talk: Talk, line: str, reply: str) -> None:
    if reply[0] == "{":
        reply = f"${len(reply)}\r\n{reply}"
    assert talk(line) == f"{reply}\r\n".encode()


@pytest.mark.parametrize(
    "line", ["PUSH ", "PUSH {", "PUSH []", 'PUSH {"retry":1.5}', "PUSHB {}", "PUSHB 1", 'PUSHB [{"jid":1}]']
)
def test_json_that_cannot_be_used_is_named(talk: Talk, line: str) -> None:
    assert (talk(line) or b"").startswith(b"-ERR invalid JSON: ")


def test_line_breaks_in_what_is_echoed_do_not_break_the_framing(talk: Talk) -> None:
    reply = talk('FAIL {"jid":"a\\r\\nb"}')
    assert reply == b"-ERR Job not found a  b\r\n"
    assert (talk(b"NOPE\xff\r x") or b"").count(b"\r") == 1


def test_pushb_with_one_wrong_type_pushes_nothing(talk: Talk) -> None:
    talk('PUSHB [{"jid":"job-00000","jobtype":"t","args":[]},{"jid":"job-00001","jobtype":"t","args":3}]')
    assert talk.broker.store.is_idle


def test_pushb_names_what_it_refused_and_pushes_the_rest(talk: Talk) -> None:
    reply = talk('PUSHB [{"jid":"bad","jobtype":"t","args":[]},{"jid":"job-00001","jobtype":"t","args":[]}]')
    assert reply == b'$51\r\n{"bad":"jobs must have a reasonable jid parameter"}\r\n'
    assert talk.broker.store.sizes == {"default": 1}


def test_after_the_shutdown_began_every_command_ends_the_session(talk: Talk) -> None:
    talk.broker.is_stopping = True
    assert talk("INFO") == b"-ERR shutdown in progress\r\n"
    assert talk.session.is_over


# -- FETCH -----------------------------------------------------------------------------------------------------


def test_fetch_waits_and_gets_the_next_job_pushed_to_any_of_its_queues(broker: Broker) -> None:
    worker, producer = Talk(broker, "w"), Talk(broker)
    assert worker("FETCH high low") is None
    producer.push(queue="other")
    assert worker.later == []
    producer.push("job-00001", queue="low")
    assert b'"jid":"job-00001"' in worker.later[0]


def test_the_earliest_fetch_gets_the_job(broker: Broker) -> None:
    first, second, producer = Talk(broker), Talk(broker), Talk(broker)
    first("FETCH a b")
    second("FETCH b a")
    producer.push(queue="b")
    producer.push("job-00001", queue="b")
    assert b"job-00000" in first.later[0]
    assert b"job-00001" in second.later[0]


def test_fetch_ends_after_two_seconds(broker: Broker) -> None:
    worker = Talk(broker)
    worker("FETCH q")
    broker.end_waits(NOW + 1.9)
    assert worker.later == []
    broker.end_waits(NOW + 2)
    assert worker.later == [b"$-1\r\n"]


def test_paused_queues_are_left_out_and_a_pause_during_the_wait_comes_too_late(broker: Broker) -> None:
    worker, waiting, admin = Talk(broker), Talk(broker), Talk(broker)
    admin.push(queue="q")
    admin("QUEUE PAUSE q")
    assert worker("FETCH q") is None
    admin("QUEUE RESUME *")
    assert worker.later == []
    assert b"job-00000" in (admin("FETCH q") or b"")
    waiting("FETCH q")
    admin("QUEUE PAUSE q")
    admin.push("job-00001", queue="q")
    assert b"job-00001" in waiting.later[0]


def test_a_quiet_worker_gets_nothing_on_its_first_connection_only(broker: Broker) -> None:
    first, second = Talk(broker, "w"), Talk(broker, "w")
    first.push()
    assert first('BEAT {"wid":"w","current_state":"quiet"}') == b'$17\r\n{"state":"quiet"}\r\n'
    assert first("FETCH default") is None
    broker.end_waits(NOW + 2)
    assert first.later == [b"$-1\r\n"]
    assert b"job-00000" in (second("FETCH default") or b"")


def test_a_job_is_fetched_for_a_client_that_has_gone(broker: Broker) -> None:
    worker, producer = Talk(broker, "w"), Talk(broker)
    worker("FETCH default")
    worker.session.leave()
    producer.push()
    assert broker.store.working_count == 1


# -- BEAT and reaping ------------------------------------------------------------------------------------------


def test_beat(broker: Broker) -> None:
    worker = Talk(broker, "w")
    assert worker('BEAT {"wid":"w","rss_kb":5}') == b"+OK\r\n"
    known = broker.workers.get("w")
    assert known is not None
    known.signal(known.state.TERMINATE)
    assert Talk(broker)('BEAT {"wid":"w","current_state":"quiet"}') == b'$21\r\n{"state":"terminate"}\r\n'
    worker.session.leave()
    assert Talk(broker)('BEAT {"wid":"w"}') == b"-ERR unknown worker w\r\n"


def test_silent_workers_are_evicted_by_the_sweep_every_15_seconds(broker: Broker) -> None:
    worker = Talk(broker, "w")
    broker.sweep(NOW + 59)
    assert broker.take_evicted() == []
    broker.sweep(NOW + 75)
    assert broker.take_evicted() == [worker.session]
    worker.session.leave()
    assert broker.info(NOW)["faktory"]["tasks"]["Workers"] == {"reaped": 1, "size": 0}


# -- sweeps ----------------------------------------------------------------------------------------------------


def test_sweeps_come_at_the_real_intervals(broker: Broker) -> None:
    talk = Talk(broker)
    talk.push(at="2001-09-09T01:46:41Z")  # NOW is 01:46:40
    worker = Talk(broker)
    worker("FETCH default")
    broker.sweep(NOW + 4)
    assert worker.later == []
    assert broker.next_sweep == NOW + 5
    broker.sweep(NOW + 5)
    assert b"job-00000" in worker.later[0]


def test_catching_up_does_everything_at_once(broker: Broker) -> None:
    talk = Talk(broker)
    talk.push(retry=-1)
    talk("FETCH default")
    broker.catch_up(NOW + 1_800)
    assert len(broker.store.dead) == 1
    broker.catch_up(NOW + 1_800 + 181 * 86_400)
    assert len(broker.store.dead) == 0


def test_info_has_the_real_servers_shape(talk: Talk) -> None:
    talk.push(queue="q")
    info = json.loads((talk("INFO") or b"").split(b"\r\n")[1])
    assert info["faktory"]["queues"] == {"q": 1}
    assert list(info["faktory"]) == [
        *("queues", "sets", "tasks", "total_failures", "total_processed", "total_enqueued", "total_queues"),
    ]
    assert info["server"] == {
        "description": "Faktory",
        "faktory_version": "1.10.0",
        "uptime": 0,
        "connections": 1,
        "command_count": 2,
        "used_memory_mb": 0,
    }
