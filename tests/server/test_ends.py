"""Every way in which a job goes: what its batch, its track and its lock are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from faktory.server.broker import Broker
from faktory.server.store import DEAD_FOR
from faktory.server.timestamps import timestamp
from tests.server.talking import NOW, Talk, ack, answer, fail, fetch, new_batch, push

JID = "job-00000"


@pytest.fixture
def talk() -> Talk:
    return Talk(Broker(now=NOW, enterprise=True))


def mutate(talk: Talk, command: str, target: str, now: float = NOW) -> None:
    told = json.dumps({"cmd": command, "target": target}, separators=(",", ":"))
    assert talk(f"MUTATE {told}", now) == b"+OK\r\n"


def run_and_fail(talk: Talk, now: float = NOW) -> None:
    assert fetch(talk, now=now) == JID
    fail(talk, JID, now)


def expire(talk: Talk) -> None:
    assert fetch(talk, now=NOW + 200) is None


def remove_queue(talk: Talk) -> None:
    talk("QUEUE REMOVE default")


def retried(command: str) -> Callable[[Talk], None]:
    def go(talk: Talk) -> None:
        run_and_fail(talk)
        mutate(talk, command, "retries")

    return go


def scheduled(command: str) -> Callable[[Talk], None]:
    return lambda talk: mutate(talk, command, "scheduled")


def buried(command: str) -> Callable[[Talk], None]:
    def go(talk: Talk) -> None:
        run_and_fail(talk)
        mutate(talk, command, "dead")

    return go


def purge(talk: Talk) -> None:
    run_and_fail(talk)
    talk.broker.catch_up(NOW + DEAD_FOR + 1)


def expire_reservation(talk: Talk) -> None:
    fetch(talk)
    talk.broker.catch_up(NOW + 2_000)


LATER: dict[str, Any] = {"at": timestamp(NOW + 100)}
# Way to go: the job's fields, what happens, (pending, failed, complete callback, success callback), track, is locked
WAYS: dict[str, tuple[dict[str, Any], Callable[[Talk], None], tuple[int, int, str, str], str, bool]] = {
    "succeeds": ({}, lambda talk: ack(talk, str(fetch(talk))), (0, 0, "1", ""), "success", False),
    "fails and waits": ({}, run_and_fail, (1, 1, "1", ""), "failed", True),
    "fails and is dead": ({"retry": -1}, run_and_fail, (1, 1, "1", ""), "dead", True),
    "fails and is dropped": ({"retry": 0}, run_and_fail, (0, 1, "1", ""), "dead", True),
    "reservation expires": ({"retry": 0}, expire_reservation, (0, 1, "1", ""), "dead", False),  # so does the lock
    "expires": ({"custom": {"expires_in": 100}}, expire, (0, 1, "1", ""), "unknown", False),
    "removed with its queue": ({}, remove_queue, (0, 1, "1", ""), "unknown", False),
    "scheduled, discarded": (LATER, scheduled("discard"), (0, 1, "1", ""), "unknown", False),
    "scheduled, cleared": (LATER, scheduled("clear"), (0, 1, "1", ""), "unknown", False),
    "scheduled, killed": (LATER, scheduled("kill"), (1, 1, "1", ""), "dead", False),
    "scheduled, requeued": (LATER, scheduled("requeue"), (1, 0, "", ""), "enqueued", True),
    "retry, discarded": ({}, retried("discard"), (0, 1, "1", ""), "unknown", True),  # as documented
    "retry, cleared": ({}, retried("clear"), (0, 1, "1", ""), "unknown", True),
    "retry, killed": ({}, retried("kill"), (1, 1, "1", ""), "dead", False),
    "retry, requeued": ({}, retried("requeue"), (1, 1, "1", ""), "enqueued", True),
    "dead, discarded": ({"retry": -1}, buried("discard"), (0, 1, "1", ""), "unknown", False),
    "dead, cleared": ({"retry": -1}, buried("clear"), (0, 1, "1", ""), "unknown", False),
    "dead, killed again": ({"retry": -1}, buried("kill"), (1, 1, "1", ""), "dead", True),
    "dead, purged": ({"retry": -1}, purge, (0, 1, "1", ""), "unknown", False),
    "lost: its queue has no name": (
        {**LATER, "queue": "a b"},
        lambda talk: talk.broker.catch_up(NOW + 100),
        (0, 1, "1", ""),
        "enqueued",
        True,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_takes_a_job_away_tells_its_batch_its_track_and_its_lock(talk: Talk, way: str) -> None:
    fields, go, batch, track, is_locked = WAYS[way]
    bid = new_batch(talk, "complete", "success")
    custom = {"bid": bid, "track": 1, "unique_for": 1_000, **fields.get("custom", {})}
    assert push(talk, JID, **{**fields, "custom": custom}) == "+OK"
    answer(talk, f"BATCH COMMIT {bid}")
    go(talk)
    now = {"reservation expires": NOW + 2_000, "expires": NOW + 200}.get(way, NOW)
    if way != "dead, purged":  # by then its batch waits for nothing but its callback
        told = answer(talk, f"BATCH STATUS {bid}", now)
        assert tuple(told[key] for key in ("pending", "failed", "complete_st", "success_st")) == batch
    assert answer(talk, f"TRACK GET {JID}", now)["state"] == track
    again = push(
        talk,
        "job-00001",
        now,
        custom={"unique_for": 1_000},
        queue=fields.get("queue", "default"),
        **(LATER if fields.get("queue") else {}),
    )
    assert again == ("-NOTUNIQUE Job not unique" if is_locked else "+OK")


def test_an_expired_job_is_a_line_in_the_log(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    push(talk, JID, custom={"expires_in": 100})
    expire(talk)
    assert f"job '{JID}' ('t') has expired, and is thrown away" in caplog.text


def test_the_callback_of_a_batch_whose_last_job_expires_wakes_who_waits_for_it(talk: Talk) -> None:
    waiter = Talk(talk.broker)
    assert waiter("FETCH calls") is None
    bid = new_batch(talk, "complete")
    push(talk, JID, custom={"expires_in": 100, "bid": bid})
    answer(talk, f"BATCH COMMIT {bid}")
    expire(talk)
    assert b"call-complete" in waiter.later[0]


def test_a_thrown_away_callback_ends_its_batch(talk: Talk) -> None:
    parent = new_batch(talk, "success")
    bid = new_batch(talk, "success", parent_bid=parent)
    for each in (bid, parent):
        answer(talk, f"BATCH COMMIT {each}")
    talk("QUEUE REMOVE calls")
    assert answer(talk, f"BATCH STATUS {bid}")["success_st"] == "1"
    assert answer(talk, f"BATCH STATUS {parent}")["success_st"] == ""
    talk.broker.catch_up(NOW + 1_801)
    for each in (bid, parent):
        assert answer(talk, f"BATCH STATUS {each}", NOW + 1_801) == f"-ERR no such batch {each}"


def test_a_job_that_is_refused_leaves_no_trace(talk: Talk) -> None:
    bid = new_batch(talk, "success")
    deep = json.loads("[" * 600 + "]" * 600)
    custom = {"bid": bid, "unique_for": 1_000, "track": 1}
    assert "max depth" in push(talk, JID, args=deep, custom=custom)
    assert answer(talk, f"BATCH STATUS {bid}")["total"] == 0
    assert answer(talk, f"TRACK GET {JID}")["state"] == "unknown"
    assert push(talk, JID, custom={"expires_in": 1e12, **custom}).endswith("beyond the year 9999")
    assert push(talk, JID, custom={"expires_in": 1e18, **custom}).endswith("beyond the year 9999")
    assert answer(talk, f"BATCH STATUS {bid}")["total"] == 0
    assert push(talk, JID, custom=custom) == "+OK"


@pytest.mark.parametrize("value", ["600", "soon", True, -5, [1]])
@pytest.mark.parametrize("name", ["unique_for", "expires_in", "expires_at"])
def test_what_means_nothing_is_warned_of(
    talk: Talk, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        assert push(talk, f"job-0000{number}", custom={name: value}) == "+OK"
    assert f"{name} must be" in caplog.text
    assert json.dumps(value) in caplog.text


def test_a_huge_unique_for_is_unique(talk: Talk) -> None:
    assert push(talk, JID, custom={"unique_for": 1e18}) == "+OK"
    assert push(talk, "job-00001", custom={"unique_for": 1e18}) == "-NOTUNIQUE Job not unique"


# -- a sweep outlives everything ---------------------------------------------------------------------------------------


def test_a_rule_that_breaks_touches_no_job(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = talk.broker.store

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    for name in ("acknowledged", "failed", "ended", "requeued"):
        monkeypatch.setattr(store.rules, name, broken)
    for number in range(4):
        push(talk, f"job-0000{number}", reserve_for=60)
        fetch(talk)
    ack(talk, "job-00000")
    fail(talk, "job-00001")
    talk.broker.catch_up(NOW + 61)
    assert [len(store.retries), store.working_count] == [2, 0]
    assert caplog.text.count("a mistake of ours") >= 4


def test_a_job_that_breaks_a_sweep_is_kept_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    talk = Talk(Broker(now=NOW))
    store = talk.broker.store
    for number in range(2):
        push(talk, f"held-0000{number}", reserve_for=90)
        fetch(talk)
        push(talk, f"job-0000{number}", **LATER)
    enqueue, fail_run = store.enqueue, store._failed

    def broken_enqueue(job: Any, now: float) -> None:
        if job.jid == "job-00000":
            raise OverflowError("a mistake of ours")
        enqueue(job, now)

    def broken_failure(reservation: Any, *rest: Any) -> None:
        if reservation.jid == "held-00000":
            raise OverflowError("a mistake of ours")
        fail_run(reservation, *rest)

    monkeypatch.setattr(store, "enqueue", broken_enqueue)
    monkeypatch.setattr(store, "_failed", broken_failure)
    talk.broker.catch_up(NOW + 100)
    assert [json.loads(text)["jid"] for text in store.queued("default")] == ["job-00001"]
    assert [json.loads(text)["jid"] for text in store.retries] == ["held-00001"]
    assert sorted(json.loads(text)["jid"] for text in store.dead) == ["held-00000", "job-00000"]
    assert "is now among the dead" in caplog.text
    assert "job-00000" not in caplog.text, "what is in a job may be a secret"
    push(talk, "held-00000")
    assert fetch(talk, now=NOW + 100) == "job-00001"
    assert fetch(talk, now=NOW + 100) == "held-00000"
    fail(talk, "held-00000", NOW + 100)
    assert len(store.dead) == 3


@pytest.mark.parametrize("enterprise", [False, True])
@pytest.mark.parametrize("reserve_for", [-(2**63), -(10**16), -5, 0])
def test_a_job_with_any_reservation_that_is_accepted_is_delivered(enterprise: bool, reserve_for: int) -> None:
    talk = Talk(Broker(now=NOW, enterprise=enterprise))
    assert push(talk, JID, reserve_for=reserve_for) == "+OK"
    assert fetch(talk) == JID


def test_a_job_that_breaks_its_fetch_is_kept_and_the_next_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(Broker(now=NOW))
    for jid in (JID, "job-00001"):
        push(talk, jid)
    store = talk.broker.store
    reserve = store._reserve

    def broken(text: bytes, wid: str, now: float) -> bool:
        if JID.encode() in text:
            raise TypeError("a mistake of ours")
        return reserve(text, wid, now)

    monkeypatch.setattr(store, "_reserve", broken)
    assert fetch(talk) == "job-00001"
    assert len(store.dead) == 1


# -- the order of time -------------------------------------------------------------------------------------------------


def test_one_jump_is_in_the_order_of_time() -> None:
    talk = Talk(Broker(now=NOW))
    store = talk.broker.store
    push(talk, "retry-0000")
    fetch(talk)
    fail(talk, "retry-0000")  # due in 15 to 44 s
    push(talk, "late-00000", at=timestamp(NOW + 3_000))
    push(talk, "early-0000", at=timestamp(NOW + 5))
    push(talk, "held-00000", reserve_for=60)
    fetch(talk)
    talk.broker.catch_up(NOW + 4_000)
    queued = [json.loads(text) for text in store.queued("default")]
    assert [job["jid"] for job in queued] == ["early-0000", "retry-0000", "held-00000", "late-00000"]
    assert queued[2]["failure"]["failed_at"] == timestamp(NOW + 60)
    assert [job["enqueued_at"] for job in queued] == sorted(job["enqueued_at"] for job in queued)
    assert queued[3]["enqueued_at"] == timestamp(NOW + 3_000)
    tasks = talk.broker.info(NOW + 4_000)["faktory"]["tasks"]
    assert (tasks["Scheduled"]["enqueued"], tasks["Retries"]["enqueued"], tasks["Busy"]["reaped"]) == (2, 2, 1)


def test_a_clock_that_was_put_back_does_not_stop_the_sweeps() -> None:
    talk = Talk(Broker(now=NOW + 10_000_000))
    push(talk, JID, at=timestamp(NOW + 10), now=NOW)
    talk.broker.sweep(NOW + 20)
    assert [json.loads(text)["jid"] for text in talk.broker.store.queued("default")] == [JID]
