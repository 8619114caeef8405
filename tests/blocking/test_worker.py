"""A worker's thread: what it does with jobs that are none, and with replies that are none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from faktory import Client, ConnectionLost, Consumer, ConsumerBuilder, Job, ProtocolError, current_job
from faktory.blocking import connection, worker
from faktory.options import UNKNOWN_DELAY
from faktory.server import Server
from tests.odd_server import DEEP, GOOD, OddServer
from tests.recording import Recording
from tests.running import Persistent
from tests.scripted import OK, Peer, ScriptedServer
from tests.waiting import until


def drain(server: OddServer, handler: Callable[[Job], Any] = lambda job: None) -> None:
    builder = ConsumerBuilder().register("work", handler)
    with ScriptedServer(server.script) as scripted, builder.connect(scripted.url) as consumer:
        consumer.drain(["default"])


@pytest.mark.parametrize(
    ("job", "jid"),
    [
        (DEEP, "deep-12345"),
        (b'{"jid":"half-12345","jobtype":"work","args":[', "half-12345"),
        (b'{"jid":"utf8-12345","jobtype":"work","args":["\xff\xfe"]}', "utf8-12345"),
        (b'{"jid":"args-12345","jobtype":"work","args":{}}', "args-12345"),
        (b'{"jid":"type-12345","args":[]}', "type-12345"),
        (b'{"jid":"rtry-12345","jobtype":"work","args":[],"retry":"5"}', "rtry-12345"),
    ],
)
def test_a_job_that_cannot_be_read_is_failed_and_the_worker_goes_on(
    job: bytes, jid: str, caplog: pytest.LogCaptureFixture
) -> None:
    """H8, H9: the frame is intact, so the connection is."""
    server = OddServer(job, GOOD)
    drain(server)
    (verb, failed), acknowledged = server.reports
    assert (verb, failed["jid"], failed["errtype"]) == ("FAIL", jid, "MalformedJob")
    assert acknowledged == ("ACK", {"jid": "good-12345"})
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    "reply", [b":12345\r\n", b"+OK\r\n", b"?nonsense\r\n", b""], ids=["a-number", "a-status", "nonsense", "end"]
)
def test_an_outcome_whose_answer_came_before_a_broken_one_is_not_sent_again(reply: bytes) -> None:
    """J3: ACK and FETCH left in one write; the first was answered."""
    acknowledged: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            if line.startswith(b"ACK"):
                acknowledged.append(line)
                fetch = peer.line()
                peer.say(OK + (reply if fetch.startswith(b"FETCH") else b""))
                if not reply:
                    return
            elif line.startswith(b"FETCH"):
                peer.say(b"$-1\r\n" if acknowledged else b"$%d\r\n%b\r\n" % (len(GOOD), GOOD))
            else:
                peer.say(OK)

    builder = ConsumerBuilder().register("work", lambda job: None)
    with ScriptedServer(script) as scripted, builder.connect(scripted.url) as consumer:
        with pytest.raises((ConnectionLost, ProtocolError)):
            consumer.drain(["default"])
        assert consumer.health().unreported == 0
    assert len(acknowledged) == 1


def test_what_interrupts_the_report_of_a_failure_leaves_no_job_in_hand(server: Server, client: Client) -> None:
    """Ctrl-C in `run_one`, while its caller's logging writes: what the caller does next is no part of the job."""

    class Interrupting(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise KeyboardInterrupt

    def work(job: Job) -> None:
        raise ValueError("no good")

    log, interrupting = logging.getLogger("faktory.worker"), Interrupting()
    client.push(Job("work"))
    with ConsumerBuilder().register("work", work).connect(server.url) as consumer:
        log.addFilter(interrupting)
        try:
            with pytest.raises(KeyboardInterrupt):
                consumer.run_one(["default"])
        finally:
            log.removeFilter(interrupting)
        assert current_job() is None


@pytest.mark.parametrize("job", [b"", b"nonsense", b"[]", b'{"jobtype":"work","args":[]}', b'{"jid":5}', b"\x00" * 50])
def test_a_job_without_even_a_jid_is_logged_and_left_to_its_reservation(
    job: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """H8, H9."""
    server = OddServer(job, GOOD)
    drain(server)
    assert server.reports == [("ACK", {"jid": "good-12345"})]
    assert "without a jid to fail it by" in caplog.text


def test_an_entry_that_the_server_cannot_read_costs_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """D8: it is gone; asking again at once is right."""
    server = OddServer(b"-ERR cannot unmarshal job payload: \x1b[31mno\r\n", GOOD)
    drain(server)
    assert server.reports == [("ACK", {"jid": "good-12345"})]
    assert "cannot unmarshal" in caplog.text
    assert "\x1b" not in caplog.text


def test_a_queue_full_of_unknown_types_is_failed_without_a_storm(caplog: pytest.LogCaptureFixture) -> None:
    """W8: each is failed, the log has one line a minute, and no loop runs hot."""
    done: list[str] = []
    builder = ConsumerBuilder().register("work", lambda job: done.append(job.jid)).workers(1)
    with Server(fetch_wait=0.01) as server, Client(server.url) as client, builder.connect(server.url) as consumer:
        client.push_bulk(Job("unheard-of", retry=3) for _ in range(5))
        client.push(Job("toString", retry=3))  # a name that is something elsewhere
        client.push(Job("__class__", retry=3))
        summary = consumer.drain(["default"])
        assert (summary.failed, len(server.retries), done) == (7, 7, [])
    assert caplog.text.count("'unheard-of'") == 1
    assert summary.seconds > 7 * UNKNOWN_DELAY


def test_a_connection_that_idled_too_long_is_replaced_before_use(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N14: parked threads wake up to sockets that a firewall may have forgotten."""
    later = 0.0
    for module in (connection, worker):
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + later)
    with (
        Recording(server.port) as recording,
        ConsumerBuilder().register("work", lambda job: None).connect(recording.url) as consumer,
    ):
        for idle, connections in ((0.0, 1), (59.0, 1), (61.0, 2)):
            later += idle
            client.push(Job("work"))
            assert consumer.run_one(["default"])
            assert len(recording.connections("FETCH")) == connections


def test_run_one_reports_what_is_left_over_before_it_fetches(server: Server, client: Client) -> None:
    """J3."""
    server.faults.drop("ACK", executed=False)
    first, second = client.push(Job("work")), client.push(Job("work"))
    with (
        Recording(int(server.url.rpartition(":")[2])) as recording,
        ConsumerBuilder().register("work", lambda job: None).connect(recording.url) as consumer,
    ):
        with pytest.raises(ConnectionLost):
            consumer.run_one(["default"])
        assert consumer.run_one(["default"])
    said = [
        each.verb if each.verb == "FETCH" else each.payload.decode() for each in recording.exchanges("FETCH", "ACK")
    ]
    acks = [f'{{"jid":"{jid}"}}' for jid in (first, first, second)]
    assert said == ["FETCH", acks[0], acks[1], "FETCH", acks[2]]


def test_a_bug_of_ours_ends_the_shift_with_it_and_not_in_silence(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P13: never alive but not consuming."""
    consumer: Consumer = ConsumerBuilder().register("work", print).connect(server.url)

    def broken(*args: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(consumer._state, "next_step", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        consumer.run(["default"])
    assert "ended unexpectedly" in caplog.text
    consumer.close()


def test_jobs_flow_through_cuts_at_every_moment(server: Server, client: Client) -> None:
    """J1, J2, J3: each job is done, and nothing stays reserved but what cuts took."""
    run = Persistent(server, workers=4)
    jids = [client.push(Job("work")) for _ in range(200)]
    for _ in range(20):
        server.disconnect_all()
        time.sleep(0.02)
    until(lambda: len(server.queue("default")) == 0 and server.waiting == 1)
    server.clock.advance(1801, beating=True)  # what a cut FETCH has taken comes back
    server.clock.advance(60, beating=True)
    until(lambda: set(run.done) == set(jids))
    run.consumer.terminate()
    server.clock.advance(2.1)
    run.join()
    assert len(server.working) == 0
