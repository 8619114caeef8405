from __future__ import annotations

import json
from typing import Any

import pytest

from faktory.server.broker import Broker
from tests.server.talking import NOW, Talk, ack, answer, fail, fetch, new_batch, push, status


@pytest.fixture
def talk() -> Talk:
    return Talk(Broker(now=NOW, enterprise=True))


# -- unique jobs -----------------------------------------------------------------------------------------------

UNIQUE = {"unique_for": 60}


def test_a_second_unique_job_is_refused_until_the_first_has_succeeded(talk: Talk) -> None:
    assert push(talk, "job-00000", custom=UNIQUE, args=[1e-7, "<"]) == "+OK"
    assert push(talk, "job-00001", custom=UNIQUE, args=[1e-7, "<"]) == "-NOTUNIQUE Job not unique"
    fetch(talk)
    fail(talk, "job-00000")
    assert push(talk, "job-00001", custom=UNIQUE, args=[1e-7, "<"]) == "-NOTUNIQUE Job not unique"
    talk.broker.catch_up(NOW + 50)
    fetch(talk, now=NOW + 50)
    ack(talk, "job-00000", NOW + 50)
    assert push(talk, "job-00001", NOW + 50, custom=UNIQUE, args=[1e-7, "<"]) == "+OK"


def test_pushb_names_the_code_of_a_refused_unique_job(talk: Talk) -> None:
    push(talk, "job-00000", custom=UNIQUE)
    document = json.dumps([{"jid": "job-00001", "jobtype": "t", "args": [1], "custom": UNIQUE}])
    assert answer(talk, f"PUSHB {document}") == {"job-00001": "NOTUNIQUE Job not unique"}


@pytest.mark.parametrize("other", [{"queue": "q"}, {"args": [2]}, {"jobtype": "u"}, {"custom": {}}])
def test_type_arguments_and_queue_make_a_job_unique(talk: Talk, other: dict[str, Any]) -> None:
    push(talk, "job-00000", custom=UNIQUE)
    assert push(talk, "job-00001", **{"custom": UNIQUE, **other}) == "+OK"


def test_the_lock_ends_with_its_time(talk: Talk) -> None:
    push(talk, "job-00000", custom=UNIQUE)
    assert push(talk, "job-00001", NOW + 59, custom=UNIQUE) == "-NOTUNIQUE Job not unique"
    assert push(talk, "job-00001", NOW + 60, custom=UNIQUE) == "+OK"
    fetch(talk, now=NOW + 60)
    ack(talk, "job-00000", NOW + 60)  # not its lock any more
    assert push(talk, "job-00002", NOW + 60, custom=UNIQUE) == "-NOTUNIQUE Job not unique"


def test_a_scheduled_job_is_unique_from_now_until_its_time_and_then_some(talk: Talk) -> None:
    push(talk, "job-00000", custom=UNIQUE, at="2001-09-09T01:47:40Z")  # in 60 s
    assert push(talk, "job-00001", NOW + 119, custom=UNIQUE) == "-NOTUNIQUE Job not unique"
    assert push(talk, "job-00001", NOW + 120, custom=UNIQUE) == "+OK"


def test_unique_until_start_frees_the_lock_at_fetch(talk: Talk) -> None:
    custom = {**UNIQUE, "unique_until": "start"}
    push(talk, "job-00000", custom=custom)
    fetch(talk)
    assert push(talk, "job-00001", custom=custom) == "+OK"


# -- expiring jobs ---------------------------------------------------------------------------------------------


def test_an_expired_job_is_thrown_away_when_fetched(talk: Talk) -> None:
    push(talk, "job-00000", custom={"expires_at": "2001-09-09T01:47:40Z"})
    push(talk, "job-00001", custom={"expires_in": 30})
    push(talk, "job-00002", custom={"expires_at": "no time"})
    assert fetch(talk, now=NOW + 60) == "job-00002"
    assert fetch(talk, now=NOW + 60) is None


def test_a_job_that_has_not_expired_is_run(talk: Talk) -> None:
    push(talk, "job-00000", custom={"expires_at": "2001-09-09T01:47:40Z"})
    assert fetch(talk, now=NOW + 59) == "job-00000"


# -- tracking --------------------------------------------------------------------------------------------------


def test_a_tracked_job_is_followed_through_its_states(talk: Talk) -> None:
    def state() -> str:
        return str(answer(talk, "TRACK GET job-00000")["state"])

    assert answer(talk, "TRACK GET job-00000") == {"jid": "job-00000", "state": "unknown", "updated_at": ""}
    push(talk, "job-00000", custom={"track": 1})
    assert answer(talk, "TRACK GET job-00000") == {
        "jid": "job-00000",
        "state": "enqueued",
        "updated_at": "2001-09-09T01:46:40Z",
    }
    fetch(talk)
    assert state() == "working"
    assert answer(talk, 'TRACK SET {"jid":"job-00000","percent":12,"desc":"half way"}') == "+OK"
    fail(talk, "job-00000")
    assert state() == "failed"
    talk("MUTATE " + json.dumps({"cmd": "requeue", "target": "retries"}, separators=(",", ":")))
    fetch(talk)
    ack(talk, "job-00000")
    told = answer(talk, "TRACK GET job-00000")
    assert (told["state"], told["percent"], told["desc"]) == ("success", 12, "half way")
    assert answer(talk, "TRACK GET job-00000", NOW + 1_801)["state"] == "unknown"


def test_a_job_without_track_is_not_followed(talk: Talk) -> None:
    push(talk, "job-00000", custom={"x": 1})
    assert answer(talk, 'TRACK SET {"jid":"job-00000","percent":1}') == "+OK"
    assert answer(talk, "TRACK GET job-00000")["state"] == "unknown"


def test_a_dead_job_is_known_as_dead(talk: Talk) -> None:
    push(talk, "job-00000", custom={"track": 1}, retry=-1)
    fetch(talk)
    fail(talk, "job-00000")
    assert answer(talk, "TRACK GET job-00000")["state"] == "dead"


def test_reserve_until_prolongs_the_reservation(talk: Talk) -> None:
    push(talk, "job-00000", reserve_for=60)
    fetch(talk)
    answer(talk, 'TRACK SET {"jid":"job-00000","reserve_until":"2001-09-09T01:56:40Z"}')  # in 600 s
    talk.broker.catch_up(NOW + 599)
    assert talk.broker.store.working_count == 1
    talk.broker.catch_up(NOW + 600)
    assert talk.broker.store.working_count == 0


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("TRACK", "-ERR internal error"),
        ("TRACK FORGET x", "-ERR no such TRACK subcommand: FORGET"),
        ("TRACK SET {}", "-ERR missing JID"),
        ('TRACK SET {"jid":"x","reserve_until":"soon"}', "-ERR invalid reserve_until: parsing time"),
        ('TRACK SET {"jid":"x","percent":"1"}', "-ERR invalid JSON: json: cannot unmarshal string"),
        ("BATCH", "-ERR internal error"),
        ("BATCH CLOSE b", "-ERR no such BATCH subcommand: CLOSE"),
        ("BATCH OPEN b-1", "-ERR no such batch b-1"),
        ("BATCH COMMIT b-1", "-ERR no such batch b-1"),
        ("BATCH STATUS b-1", "-ERR no such batch b-1"),
        ("BATCH NEW nonsense", "-ERR invalid JSON: "),
        ("BATCH NEW {}", "-ERR batches must have a success or complete callback"),
        ('BATCH NEW {"success":{}}', "-ERR jobs must have a jobtype parameter"),
        ('BATCH NEW {"success":{"jobtype":"t"},"parent_bid":"b-1"}', "-ERR no such batch b-1"),
    ],
)
def test_wrong_commands_are_refused(talk: Talk, line: str, reply: str) -> None:
    assert str(answer(talk, line)).startswith(reply)


# -- batches ---------------------------------------------------------------------------------------------------


def test_callbacks_come_after_the_last_job_and_success_after_complete(talk: Talk) -> None:
    bid = new_batch(talk, "success", "complete", description="two jobs")
    for jid in ("job-00000", "job-00001"):
        push(talk, jid, custom={"bid": bid})
    assert answer(talk, f"BATCH COMMIT {bid}") == "+OK"
    told = answer(talk, f"BATCH STATUS {bid}")
    assert (told["bid"], told["description"], told["created_at"]) == (bid, "two jobs", "2001-09-09T01:46:40Z")
    assert "parent_bid" not in told
    assert status(talk, bid) == (2, 2, 0, "", "")
    for left in (1, 0):
        ack(talk, str(fetch(talk)))
        assert status(talk, bid)[1] == left
    assert status(talk, bid) == (2, 0, 0, "1", "")
    assert fetch(talk, "calls") == "call-complete"
    assert fetch(talk, "calls") is None
    ack(talk, "call-complete")
    assert status(talk, bid) == (2, 0, 0, "2", "1")
    assert fetch(talk, "calls") == "call-success"
    fail(talk, "call-success")
    assert status(talk, bid)[4] == "1"


def test_callbacks_know_their_batch(talk: Talk) -> None:
    parent = new_batch(talk, "success")
    bid = new_batch(talk, "complete", parent_bid=parent)
    answer(talk, f"BATCH COMMIT {bid}")
    (text,) = talk.broker.store.queued("calls")
    assert json.loads(text)["custom"] == {"_bid": bid, "_cb": "complete", "_pbid": parent}


def test_nothing_is_called_before_the_commit(talk: Talk) -> None:
    bid = new_batch(talk, "success")
    push(talk, "job-00000", custom={"bid": bid})
    fetch(talk)
    ack(talk, "job-00000")
    assert fetch(talk, "calls") is None
    assert status(talk, bid) == (1, 0, 0, "", "")
    answer(talk, f"BATCH COMMIT {bid}")
    assert fetch(talk, "calls") == "call-success"


def test_an_empty_batch_calls_back_at_its_commit(talk: Talk) -> None:
    bid = new_batch(talk, "success", "complete")
    answer(talk, f"BATCH COMMIT {bid}")
    assert status(talk, bid) == (0, 0, 0, "1", "")


def test_a_failed_job_completes_the_batch_and_its_retry_makes_the_success(talk: Talk) -> None:
    bid = new_batch(talk, "success", "complete")
    push(talk, "job-00000", custom={"bid": bid})
    answer(talk, f"BATCH COMMIT {bid}")
    fetch(talk)
    fail(talk, "job-00000")
    assert status(talk, bid) == (1, 1, 1, "1", "")
    ack(talk, str(fetch(talk, "calls")))
    assert status(talk, bid) == (1, 1, 1, "2", "")
    talk.broker.catch_up(NOW + 60)
    fetch(talk, now=NOW + 60)
    ack(talk, "job-00000")
    assert status(talk, bid) == (1, 0, 0, "2", "1")


def test_a_parent_waits_for_its_children_and_their_callbacks(talk: Talk) -> None:
    parent = new_batch(talk, "success")
    child = new_batch(talk, "success", parent_bid=parent)
    assert answer(talk, f"BATCH STATUS {child}")["parent_bid"] == parent
    push(talk, "job-00000", custom={"bid": child})
    answer(talk, f"BATCH COMMIT {child}")
    answer(talk, f"BATCH COMMIT {parent}")
    assert fetch(talk, "calls") is None
    ack(talk, str(fetch(talk)))
    called = fetch(talk, "calls")
    assert called == f"call-success{parent}"
    assert fetch(talk, "calls") is None
    ack(talk, called)
    assert fetch(talk, "calls") == "call-success"


def test_a_batch_can_be_opened_again_and_more_jobs_pushed(talk: Talk) -> None:
    bid = new_batch(talk, "success")
    push(talk, "job-00000", custom={"bid": bid})
    answer(talk, f"BATCH COMMIT {bid}")
    assert answer(talk, f"BATCH OPEN {bid}") == bid
    push(talk, "job-00001", custom={"bid": bid})
    assert status(talk, bid) == (2, 2, 0, "", "")


def test_a_batch_not_committed_within_30_minutes_is_forgotten(talk: Talk) -> None:
    bid = new_batch(talk, "success")
    assert answer(talk, f"BATCH OPEN {bid}", NOW + 1_801) == f"-ERR no such batch {bid}"


def test_a_job_of_an_unknown_batch_is_refused(talk: Talk) -> None:
    assert push(talk, "job-00000", custom={"bid": "b-1"}) == "-ERR no such batch b-1"


def test_flush_forgets_batches_tracks_and_locks(talk: Talk) -> None:
    bid = new_batch(talk, "success")
    push(talk, "job-00000", custom={"bid": bid, "track": 1, "unique_for": 60})
    talk("FLUSH")
    assert answer(talk, f"BATCH OPEN {bid}") == f"-ERR no such batch {bid}"
    assert answer(talk, "TRACK GET job-00000")["state"] == "unknown"
    assert push(talk, "job-00001", custom={"unique_for": 60}) == "+OK"
