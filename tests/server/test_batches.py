"""Batches: callbacks that cannot be pushed, batches in batches, and what is forgotten."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from faktory.server import Server
from faktory.server.broker import Broker
from faktory.server.timestamps import timestamp
from tests.server.raw_client import RawClient
from tests.server.talking import NOW, Talk, ack, answer, fail, fetch, new_batch, push, status


@pytest.fixture
def talk() -> Talk:
    return Talk(Broker(now=NOW, enterprise=True))


# -- a callback that cannot be pushed ---------------------------------------------------------------------------

NEVER = {
    "a bad queue": ({"queue": "a b"}, 'cannot get "a b" queue'),
    "a short jid": ({"jid": "short"}, "reasonable jid"),
    "a bad time": ({"at": "tomorrow"}, "invalid timestamp for 'at'"),
    "a long reservation": ({"reserve_for": 86_401}, "more than one day"),
    "an unknown batch": ({"custom": {"bid": "b-1"}}, "no such batch b-1"),
    "an expiry beyond all years": ({"custom": {"expires_in": 1e12}}, "beyond the year 9999"),
    "nesting that cannot be written": ({"args": json.loads("[" * 600 + "]" * 600)}, "exceeded max depth"),
}
"""What BATCH NEW refuses, as PUSH would."""


@pytest.mark.parametrize("event", ["success", "complete"])
@pytest.mark.parametrize(("fields", "reason"), NEVER.values(), ids=NEVER)
def test_a_callback_that_can_never_be_pushed_is_refused(
    talk: Talk, event: str, fields: dict[str, Any], reason: str
) -> None:
    told = answer(talk, "BATCH NEW " + json.dumps({event: {"jobtype": "t", **fields}}))
    assert told.startswith("-ERR ")
    assert reason in told


def unpushable(talk: Talk, how: str, **fields: Any) -> dict[str, Any]:
    """A callback that is fine when its batch is made, and cannot be pushed when it is due."""
    if how == "locked":
        push(talk, "other-000", queue="calls", custom={"unique_for": 10_000})
        return {"jobtype": "t", "args": [1], "queue": "calls", "custom": {"unique_for": 10_000}, **fields}
    if how == "in a batch that is forgotten":
        return {"jobtype": "t", "queue": "calls", "custom": {"bid": new_batch(talk, "success")}, **fields}
    return {"jobtype": "t", "queue": "a b", "at": timestamp(NOW + 100), **fields}


def end_job(talk: Talk, how: str, now: float) -> None:
    if how == "ACK":
        ack(talk, "job-00000", now)
    elif how == "FAIL":
        fail(talk, "job-00000", now)
    elif how == "expiry":
        talk.broker.sweep(now + 100)
    else:
        talk.broker.catch_up(now + 61)


@pytest.mark.parametrize("how", ["locked", "in a batch that is forgotten", "in a bad queue when it is due"])
@pytest.mark.parametrize(
    ("event", "end"), [("success", "ACK"), *(("complete", end) for end in ("ACK", "FAIL", "expiry", "clock"))]
)
def test_a_refused_callback_never_touches_the_job(talk: Talk, event: str, how: str, end: str) -> None:
    callback = unpushable(talk, how, jid="call-0000")
    bid = answer(talk, "BATCH NEW " + json.dumps({event: callback}))
    push(talk, "job-00000", retry=3, reserve_for=60, custom={"bid": bid})
    push(talk, "job-00001", reserve_for=60)
    answer(talk, f"BATCH COMMIT {bid}")
    now = NOW + 1_801.0
    assert fetch(talk, now=now) == "job-00000"
    assert fetch(talk, now=now) == "job-00001"
    end_job(talk, end, now)
    store = talk.broker.store
    retries = [json.loads(text)["jid"] for text in store.retries]
    assert ("job-00000" in retries) == (end != "ACK")
    if end in ("expiry", "clock"):
        assert sorted(retries) == ["job-00000", "job-00001"], "the sweep goes on with the next"
    else:
        assert store.working_count == 1
    assert [json.loads(text)["jid"] for text in store.queued("calls")] == (["other-000"] if how == "locked" else [])
    state = answer(talk, f"BATCH STATUS {bid}", now)[f"{event}_st"]
    assert state == "", "the callback is in no queue"


def test_a_refused_callback_is_logged(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    callback = unpushable(talk, "locked")
    bid = answer(talk, "BATCH NEW " + json.dumps({"success": callback}))
    assert answer(talk, f"BATCH COMMIT {bid}") == "+OK"
    assert f"the success callback of batch {bid} is refused, and never comes: Job not unique" in caplog.text


def test_a_scheduled_callback_with_a_bad_queue_is_lost_when_it_is_due(talk: Talk) -> None:
    callback = {"jobtype": "t", "queue": "a b", "at": timestamp(NOW + 100), "jid": "call-0000"}
    bid = answer(talk, "BATCH NEW " + json.dumps({"success": callback}))
    answer(talk, f"BATCH COMMIT {bid}")
    assert status(talk, bid)[4] == "1"
    talk.broker.catch_up(NOW + 100)
    assert len(talk.broker.store.scheduled) == 0
    talk.broker.catch_up(NOW + 2_000)
    assert answer(talk, f"BATCH STATUS {bid}", NOW + 2_000) == f"-ERR no such batch {bid}"


def test_two_batches_may_call_back_under_one_jid(talk: Talk) -> None:
    bids = [new_batch(talk, "success") for _ in range(2)]
    for bid in bids:
        answer(talk, f"BATCH COMMIT {bid}")
    for _ in bids:
        ack(talk, str(fetch(talk, "calls")))
    assert [status(talk, bid)[4] for bid in bids] == ["2", "2"]


def test_who_says_to_be_a_callback_is_none(talk: Talk) -> None:
    bid = new_batch(talk, "success")
    push(talk, "job-00000", custom={"_bid": bid, "_cb": "success"})
    push(talk, "job-00001", custom={"_bid": 5, "_cb": "odd"})
    for _ in range(2):
        ack(talk, str(fetch(talk)))
    assert status(talk, bid)[4] == ""


# -- batches in batches ------------------------------------------------------------------------------------------


def nest(talk: Talk, depth: int) -> list[str]:
    """Make a chain of batches, the outermost first; only this has a callback of its own jid."""
    bids: list[str] = []
    for level in range(depth):
        told: dict[str, Any] = {"success": {"jobtype": "root" if level == 0 else "t", "queue": "calls"}}
        if level:
            told = {"success": {"jobtype": "t", "queue": "inner"}, "parent_bid": bids[-1]}
        bids.append(str(answer(talk, "BATCH NEW " + json.dumps(told))))
    return bids


@pytest.mark.slow
def test_2000_batches_in_one_another_take_linear_time(talk: Talk) -> None:
    def run(depth: int) -> float:
        begin = time.process_time()
        bids = nest(talk, depth)
        push(talk, "job-00000", custom={"bid": bids[-1]})
        for bid in bids:
            assert answer(talk, f"BATCH COMMIT {bid}") == "+OK"
        ack(talk, str(fetch(talk)))
        for _ in range(depth - 1):
            assert fetch(talk, "calls") is None
            ack(talk, str(fetch(talk, "inner")))
        assert fetch(talk, "calls") is not None
        answer(talk, "FLUSH")
        return time.process_time() - begin

    run(20)
    # Another program may disturb one measurement, not all: in square time it would be 100 times as long.
    assert any(run(2_000) < 30 * run(200) for _ in range(3))


def test_a_chain_of_batches_without_callbacks_of_their_own_is_through_at_once(talk: Talk) -> None:
    bids = [new_batch(talk, "success")]
    for _ in range(1_500):
        told = {"complete": {"jobtype": "t", "queue": "inner"}, "parent_bid": bids[-1]}
        bids.append(str(answer(talk, "BATCH NEW " + json.dumps(told))))
    push(talk, "job-00000", custom={"bid": bids[-1]})
    for bid in reversed(bids):
        assert answer(talk, f"BATCH COMMIT {bid}") == "+OK"
    ack(talk, str(fetch(talk)))
    assert fetch(talk, "calls") == "call-success"


def test_a_big_batch_takes_linear_time(talk: Talk) -> None:
    def run(count: int) -> float:
        bid = new_batch(talk, "complete")
        for number in range(count):
            push(talk, f"job-{number:05}", custom={"bid": bid})
        answer(talk, f"BATCH COMMIT {bid}")
        begin = time.process_time()
        for _ in range(count):
            fail(talk, str(fetch(talk)))
        spent = time.process_time() - begin
        assert status(talk, bid)[:4] == (count, count, count, "1")
        answer(talk, "FLUSH")
        return spent

    run(20)
    short, long = run(200), run(2_000)
    assert long < 40 * short


def test_a_batch_that_gets_more_jobs_keeps_its_parent_waiting(talk: Talk) -> None:
    parent = new_batch(talk, "success")
    child = new_batch(talk, "complete", parent_bid=parent)
    answer(talk, f"BATCH COMMIT {child}")
    ack(talk, str(fetch(talk, "calls")))
    push(talk, "job-00000", custom={"bid": child})
    answer(talk, f"BATCH COMMIT {parent}")
    assert fetch(talk, "calls") is None
    ack(talk, str(fetch(talk)))
    assert fetch(talk, "calls") == "call-success"


# -- what is forgotten ---------------------------------------------------------------------------------------------


def test_nothing_is_kept_for_ever(talk: Talk) -> None:
    for number in range(200):
        finished = new_batch(talk, "success")
        new_batch(talk, "success")
        push(talk, f"job-{number:05}", custom={"bid": finished, "track": 1, "unique_for": 600}, args=[number])
        answer(talk, f"BATCH COMMIT {finished}")
        ack(talk, str(fetch(talk)))
        ack(talk, str(fetch(talk, "calls")))
        push(talk, f"lock-{number:04}", custom={"track": 1, "unique_for": 600}, args=[number], queue="locks")
    enterprise = talk.broker.enterprise
    assert enterprise is not None

    def kept() -> tuple[int, int, int]:
        return len(enterprise._batches), len(enterprise._tracking._tracks), len(enterprise._locks)

    assert kept() == (400, 400, 200)
    talk.broker.catch_up(NOW + 60 * 86_400)
    assert kept() == (0, 0, 0)


def test_a_batch_whose_jobs_wait_is_kept(talk: Talk) -> None:
    waiting, dead = new_batch(talk, "success"), new_batch(talk, "success")
    push(talk, "job-00000", custom={"bid": dead}, retry=-1)
    fetch(talk)
    fail(talk, "job-00000")
    push(talk, "job-00001", custom={"bid": waiting})
    for bid in (waiting, dead):
        answer(talk, f"BATCH COMMIT {bid}")
    later = NOW + 60 * 86_400
    talk.broker.catch_up(later)
    assert answer(talk, f"BATCH STATUS {dead}", later)["failed"] == 1
    ack(talk, str(fetch(talk, now=later)), later)
    assert fetch(talk, "calls", later) == "call-success"
    much_later = NOW + 181 * 86_400
    talk.broker.catch_up(much_later)  # purges the dead job, which makes its batch one that is over
    talk.broker.catch_up(much_later + 1_801)
    assert answer(talk, f"BATCH STATUS {dead}", much_later + 1_801) == f"-ERR no such batch {dead}"


def test_a_child_that_was_never_committed_lets_its_parent_go(talk: Talk) -> None:
    parent = new_batch(talk, "complete", "success")
    new_batch(talk, "success", parent_bid=parent)
    answer(talk, f"BATCH COMMIT {parent}")
    assert fetch(talk, "calls") is None
    talk.broker.catch_up(NOW + 1_801)
    now = NOW + 1_801
    ack(talk, str(fetch(talk, "calls", now)), now)
    told = answer(talk, f"BATCH STATUS {parent}", now)
    assert (told["complete_st"], told["success_st"]) == ("2", "")
    talk.broker.catch_up(now + 1_801)
    assert answer(talk, f"BATCH STATUS {parent}", now + 1_801) == f"-ERR no such batch {parent}"


# -- over a socket -------------------------------------------------------------------------------------------------


def test_a_server_outlives_a_callback_that_is_refused_in_a_sweep() -> None:
    with Server(enterprise=True, seed=1) as server, RawClient(server.port) as client:
        lock = {"jobtype": "t", "args": [], "queue": "calls", "custom": {"unique_for": 10_000}}
        bids = [
            client.call("BATCH NEW " + json.dumps({"complete": {**lock, "jid": f"call-000{n}"}})).split()[1].decode()
            for n in range(2)
        ]
        for number, bid in enumerate(bids):
            client.push(f"job-0000{number}", reserve_for=60, custom={"bid": bid})
            client.call(f"BATCH COMMIT {bid}")
            client.call("FETCH default")
        server.clock.advance(61)
        assert sorted(server.retries.jids) == ["job-00000", "job-00001"]
        assert len(server.queue("calls")) == 1
        assert client.call("QUEUE LATENCY calls").startswith(b"$")
        assert server.is_running
