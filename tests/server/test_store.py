from __future__ import annotations

import json
import random
from typing import Any

import pytest

from faktory.server.documents import JobDocument
from faktory.server.rules import Refusal
from faktory.server.store import DEAD_FOR, Store

NOW = 1_000_000_000.0
WEEK = 7 * 86_400.0


def job(jid: str = "job-00000", **fields: Any) -> JobDocument:
    return JobDocument.load(json.dumps({"jid": jid, "jobtype": "t", "args": [], **fields}).encode())


@pytest.fixture
def store() -> Store:
    return Store(random.Random(1))


def fetch(store: Store, *queues: str, now: float = NOW) -> dict[str, Any] | None:
    text = store.fetch(queues or ("default",), "w", now)
    return None if text is None else json.loads(text)


def test_jobs_leave_a_queue_in_the_order_they_came(store: Store) -> None:
    for number in range(3):
        store.push(job(f"job-0000{number}"), NOW)
    assert [fetch(store)["jid"] for _ in range(3)] == ["job-00000", "job-00001", "job-00002"]  # type: ignore[index]
    assert fetch(store) is None


def test_the_first_named_queue_with_a_job_is_served(store: Store) -> None:
    store.push(job("low-00000", queue="low"), NOW)
    store.push(job("high-0000", queue="high"), NOW)
    assert fetch(store, "none", "high", "low")["jid"] == "high-0000"  # type: ignore[index]
    assert list(store.take_pushed()) == ["low", "high"]
    assert list(store.take_pushed()) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"jid": "short"}, "jobs must have a reasonable jid parameter"),
        ({"jid": ""}, "jobs must have a reasonable jid parameter"),
        ({"jobtype": ""}, "jobs must have a jobtype parameter"),
        ({"args": None}, "jobs must have an args parameter"),
        ({"reserve_for": 86_401}, "jobs cannot be reserved for more than one day"),
        ({"queue": "a b"}, r'cannot get "a b" queue: queue names must match \A[a-zA-Z0-9._-]+\z'),
        ({"at": "tomorrow"}, "invalid timestamp for 'at': \"tomorrow\": parsing time"),
    ],
)
def test_push_refuses(store: Store, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal) as caught:
        store.push(job(**fields), NOW)
    assert caught.value.text.startswith(text)
    assert store.is_idle
    assert store.sizes == {}


def test_a_jid_is_measured_in_bytes(store: Store) -> None:
    store.push(job("éééé"), NOW)
    assert store.sizes == {"default": 1}


def test_the_default_retry_is_25_whatever_others_pushed(store: Store) -> None:
    store.push(job(retry=0), NOW)
    store.push(job("job-00001"), NOW)
    store.push(job("job-00002", retry=None), NOW)
    assert [json.loads(text)["retry"] for text in store.queued("default")] == [0, 25, 25]


def test_a_scheduled_job_waits_for_its_time(store: Store) -> None:
    store.push(job(at="2001-09-09T01:47:40Z"), NOW)  # NOW is 01:46:40
    assert len(store.scheduled) == 1
    assert store.enqueue_due(store.scheduled, NOW + 59) == 0
    assert store.enqueue_due(store.scheduled, NOW + 60) == 1
    found = fetch(store)
    assert found is not None
    assert found["enqueued_at"] == "2001-09-09T01:47:40Z"


def test_a_scheduled_job_with_a_bad_queue_is_lost_when_due(store: Store) -> None:
    store.push(job(at="2001-09-09T01:47:40Z", queue="a b"), NOW)
    assert store.enqueue_due(store.scheduled, NOW + 60) == 0
    assert store.is_idle
    assert len(store.scheduled) == 0


def test_a_time_in_the_past_is_now(store: Store) -> None:
    store.push(job(at="2001-09-09T01:46:40Z"), NOW)
    assert store.sizes == {"default": 1}


@pytest.mark.parametrize(
    ("reserve_for", "seconds"), [(None, 1_800), (0, 1_800), (5, 60), (-5, 60), (61, 61), (86_400, 86_400)]
)
def test_a_reservation_lasts(store: Store, reserve_for: int | None, seconds: int) -> None:
    store.push(job(reserve_for=reserve_for), NOW)
    fetch(store)
    assert store.expire_reservations(NOW + seconds - 1) == 0
    assert store.expire_reservations(NOW + seconds) == 1
    (text,) = store.retries
    failure = json.loads(text)["failure"]
    assert (failure["errtype"], failure["message"]) == ("ReservationExpired", "Faktory job reservation expired")
    assert (store.working_count, store.failures) == (0, 1)


def test_an_extended_reservation_expires_later(store: Store) -> None:
    store.push(job(), NOW)
    fetch(store)
    store.extend("job-00000", NOW + 60)  # earlier: nothing happens
    store.extend("job-00000", NOW + 3_000)
    store.extend("unknown-1", NOW + 3_000)
    assert store.expire_reservations(NOW + 1_800) == 0
    assert store.working_count == 1
    assert store.expire_reservations(NOW + 3_000) == 1


def test_ack_settles_and_is_idempotent(store: Store) -> None:
    store.push(job(), NOW)
    fetch(store)
    assert not store.is_idle
    assert store.acknowledge("job-00000", NOW)
    assert not store.acknowledge("job-00000", NOW)
    assert (store.working_count, store.processed, store.is_idle) == (0, 1, True)
    assert store.expire_reservations(NOW + WEEK) == 0


def fail(store: Store, now: float = NOW, jid: str = "job-00000", **said: Any) -> None:
    store.fail(jid, said.get("errtype", "E"), said.get("message", "m"), said.get("backtrace", []), now)


def test_a_failed_job_is_retried_until_its_retries_are_spent_and_then_buried(store: Store) -> None:
    store.push(job(retry=2), NOW)
    seen = []
    now = NOW
    for _ in range(3):
        fetch(store, now=now)
        fail(store, now)
        texts = list(store.retries) or list(store.dead)
        failure = json.loads(texts[0])["failure"]
        seen.append((failure["retry_count"], failure["remaining"]))
        now += WEEK
        store.enqueue_due(store.retries, now)
    assert seen == [(0, 2), (1, 1), (2, 0)]
    assert len(store.dead) == 1
    assert store.purge_dead(now - WEEK + DEAD_FOR - 1) == 0
    assert store.purge_dead(now - WEEK + DEAD_FOR) == 1


@pytest.mark.parametrize("count", [0, 1, 5, 24])
def test_the_delay_of_a_retry_follows_the_formula(store: Store, count: int) -> None:
    given = [{"retry_count": count - 1, "remaining": 25}] if count else [None]
    store.push(job(failure=given[0]), NOW)
    fetch(store)
    fail(store)
    least = count**4 + 15
    assert store.enqueue_due(store.retries, NOW + least - 1) == 0
    assert store.enqueue_due(store.retries, NOW + least + 29 * (count + 1)) == 1


def test_absurd_retry_counts_do_no_harm(store: Store) -> None:
    store.push(job(retry=2**62, failure={"retry_count": 2**61}), NOW)
    store.push(job("job-00001", retry=2**62, failure={"retry_count": -(2**40), "remaining": -3}), NOW)
    fetch(store)
    fetch(store)
    fail(store)
    fail(store, jid="job-00001")
    assert len(store.retries) == 2


def test_retry_zero_is_dropped_and_minus_one_is_buried(store: Store) -> None:
    store.push(job(retry=0), NOW)
    store.push(job("job-00001", retry=-1), NOW)
    fetch(store)
    fetch(store)
    fail(store)
    fail(store, jid="job-00001")
    assert (len(store.retries), len(store.dead)) == (0, 1)


def test_an_expired_reservation_of_a_retry_zero_job_loses_it(store: Store) -> None:
    store.push(job(retry=0), NOW)
    fetch(store)
    assert store.expire_reservations(NOW + 1_800) == 1
    assert (len(store.retries), len(store.dead), store.is_idle) == (0, 0, True)


def test_fail_refuses_what_nobody_holds(store: Store) -> None:
    with pytest.raises(Refusal, match="Job not found job-00000"):
        fail(store)
    with pytest.raises(Refusal, match="missing JID"):
        fail(store, jid="")


def test_what_a_failure_says_is_trimmed_and_cut(store: Store) -> None:
    store.push(job(), NOW)
    fetch(store)
    fail(store, errtype=" \u2003" + "x" * 150, message="é" * 499 + "abcé", backtrace=[str(line) for line in range(60)])
    failure = json.loads(next(iter(store.retries)))["failure"]
    assert failure["errtype"] == "x" * 100
    assert failure["message"] == "é" * 499 + "ab"
    assert len(failure["backtrace"]) == 50


def test_a_cut_character_becomes_a_replacement(store: Store) -> None:
    store.push(job(), NOW)
    fetch(store)
    fail(store, errtype="", message="x" * 999 + "é")
    failure = json.loads(next(iter(store.retries)))["failure"]
    assert failure["errtype"] == "unknown"
    assert failure["message"] == "x" * 999 + "\ufffd"


def test_each_copy_of_a_duplicate_jid_can_be_settled(store: Store) -> None:
    store.push(job(args=[1]), NOW)
    store.push(job(args=[2]), NOW)
    fetch(store)
    fetch(store, now=NOW + 1)
    assert [reservation.since for reservation in store.reservations()] == [NOW, NOW + 1]
    assert store.acknowledge("job-00000", NOW)
    assert store.working_count == 1
    fail(store)
    assert (store.working_count, len(store.retries)) == (0, 1)


def test_of_two_copies_the_expired_one_is_retried(store: Store) -> None:
    store.push(job(args=[1]), NOW)
    store.push(job(args=[2]), NOW)
    fetch(store)
    fetch(store, now=NOW + 100)
    assert store.expire_reservations(NOW + 1_850) == 1
    assert json.loads(next(iter(store.retries)))["args"] == [1]
    assert store.acknowledge("job-00000", NOW)


def test_only_known_queues_can_be_paused(store: Store) -> None:
    store.pause("q")
    assert store.paused == ()
    store.push(job(queue="q"), NOW)
    store.pause("q")
    assert store.unpaused(["q", "other"]) == ["other"]
    store.resume("other")
    store.resume("q")
    assert store.unpaused(["q"]) == ["q"]


def test_removing_a_queue_drops_its_jobs_and_its_pause(store: Store) -> None:
    store.push(job(queue="q"), NOW)
    store.pause("q")
    store.remove_queue("q", NOW)
    store.remove_queue("q", NOW)
    assert (store.sizes, store.paused, store.is_idle) == ({}, (), True)


def test_latency_is_the_age_of_the_oldest_job(store: Store) -> None:
    store.push(job(), NOW)
    store.push(job("job-00001"), NOW + 50)
    assert store.latency("default", NOW + 60) == pytest.approx(60)
    assert store.latency("unknown", NOW) == 0


def test_flush_wipes_jobs_but_not_names_pauses_and_the_memory_of_reservations(store: Store) -> None:
    for number in range(4):
        store.push(job(f"job-0000{number}"), NOW)
    for _ in range(3):
        fetch(store)
    fail(store)
    store.pause("default")
    store.flush()
    assert (store.sizes, store.paused, store.working_count, store.is_idle) == ({"default": 0}, ("default",), 0, True)
    assert (len(store.retries), store.processed, store.failures) == (0, 0, 0)
    fail(store, jid="job-00001")  # no error, and nothing happens
    assert (len(store.retries), store.failures) == (0, 0)
    assert store.acknowledge("job-00002", NOW)
    assert store.processed == 1


def test_settled_reservations_take_no_memory(store: Store) -> None:
    for number in range(5_000):
        store.push(job(f"job-{number:05d}"), NOW)
        fetch(store)
        store.acknowledge(f"job-{number:05d}", NOW)
    assert len(store._expiries) < 200


def test_a_job_of_before_a_flush_is_forgotten_when_its_jid_is_fetched_again(store: Store) -> None:
    store.push(job(), NOW)
    fetch(store)
    store.flush()
    store.push(job(), NOW)
    fetch(store)
    assert store.acknowledge("job-00000", NOW)
    with pytest.raises(Refusal, match="Job not found"):
        store.fail("job-00000", "", "", [], NOW)
