from __future__ import annotations

import json
import time
from typing import Any

import pytest

from faktory.server.documents import JobDocument
from faktory.server.gojson import DocumentError
from faktory.server.mutate import glob, mutate
from faktory.server.rules import Refusal
from faktory.server.store import Store

NOW = 1_000_000_000.0


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        *(("*", "", True), ("*", "abc", True), ("", "", True), ("", "a", False), ("a", "a", True), ("a", "ab", False)),
        *(("a*c", "abbc", True), ("a*c", "ac", True), ("a*c", "acb", False), ("*b*", "abc", True), ("**", "x", True)),
        *(("a?c", "abc", True), ("a?c", "ac", False), ("?", "\n", True), ("a*a", "a", False), ("ab*ab", "ab", False)),
        *(("[a-c]x", "bx", True), ("[c-a]x", "bx", True), ("[^a-c]x", "bx", False), ("[^a]", "b", True)),
        *(
            ("[]", "a", False),
            ("[^]", "a", True),
            ("[ab", "b", True),
            ("[", "[", False),
            ("[a-]", "_", True),
            ("[a-]", "-", False),
        ),
        *(("[\\]]", "]", True), ("\\*", "*", True), ("\\*", "a", False), ("a\\", "a\\", True), ("[\\", "\\", True)),
        *(("*a*b*c*", "xaxbxcx", True), ("*a*b*c*", "xcxbxax", False), ("é?", "éa", True)),
    ],
)
def test_glob_is_that_of_redis(pattern: str, text: str, fits: bool) -> None:
    assert glob(pattern.encode())(text.encode()) is fits


def test_glob_takes_no_longer_for_hostile_patterns() -> None:
    begin = time.thread_time()
    assert not glob(b"*a" * 50 + b"b")(b"a" * 20_000)
    assert time.thread_time() - begin < 2.0


@pytest.fixture
def store() -> Store:
    store = Store()
    for number, jobtype in enumerate(["resize", "mail", 'a<b"c']):
        job = JobDocument.load(
            json.dumps({"jid": f"job-{number:05d}", "jobtype": jobtype, "args": ["two words"]}).encode()
        )
        job.at = "2099-01-01T00:00:00Z"
        store.push(job, NOW)
    return store


def run(store: Store, command: str, place: str = "scheduled", chosen: Any = None) -> list[str]:
    """Carry out one operation; which jobs are left there?"""
    operation = {"cmd": command, "target": place, "filter": chosen}
    mutate(store, json.dumps(operation).encode(), NOW)
    return [JobDocument.load(text).jid[-1] for text in getattr(store, place)]


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, []),
        ({}, []),
        ({"jids": ["job-00001", "other"]}, ["0", "2"]),
        ({"jids": ["job-00001"], "jobtype": "resize", "regexp": "*"}, ["0", "2"]),
        ({"jobtype": "mail"}, ["0", "2"]),
        ({"jobtype": "mai"}, ["0", "1", "2"]),
        ({"jobtype": "m[ab]il"}, ["0", "2"]),
        ({"jobtype": 'a<b"c'}, ["0", "1", "2"]),
        ({"regexp": "*two words*"}, []),
        ({"regexp": "two words"}, ["0", "1", "2"]),
        ({"regexp": "*00000[012]*", "jobtype": "mail"}, ["0", "1", "2"]),
        ({"regexp": "*0000[012]*", "jobtype": "mail"}, ["0", "2"]),
        ({"regexp": "*\\\\u003c*"}, ["0", "1"]),
    ],
)
def test_discard_takes_what_the_filter_matches(store: Store, chosen: Any, left: list[str]) -> None:
    assert run(store, "discard", chosen=chosen) == left


def test_clear_ignores_the_filter(store: Store) -> None:
    assert run(store, "clear", chosen={"jids": ["job-00001"]}) == []


def test_kill_moves_to_the_dead_set(store: Store) -> None:
    assert run(store, "kill", chosen={"jobtype": "mail"}) == ["0", "2"]
    assert len(store.dead) == 1
    assert run(store, "kill", "dead") == ["1"]


def test_requeue_moves_to_the_queue_without_touching_the_text(store: Store) -> None:
    before = list(store.scheduled)
    assert run(store, "requeue") == []
    assert store.queued("default") == before
    with pytest.raises(Refusal, match='QUEUE: parsing time ""'):
        store.latency("default", NOW)


def test_requeue_of_a_job_whose_queue_has_a_bad_name_is_refused() -> None:
    store = Store()
    job = JobDocument.load(b'{"jid":"12345678","jobtype":"t","args":[],"queue":"a b","at":"2099-01-01T00:00:00Z"}')
    store.push(job, NOW)
    with pytest.raises(Refusal, match="queue names must match"):
        run(store, "requeue")
    assert len(store.scheduled) == 1


def test_wrong_operations_are_refused(store: Store) -> None:
    with pytest.raises(Refusal, match="unknown mutate operation"):
        run(store, "explode")
    with pytest.raises(Refusal, match="invalid target"):
        mutate(store, b'{"cmd":"clear","target":"queues"}', NOW)
    for payload in (b"", b"nonsense", b'{"cmd":1}', b'{"cmd":"clear","filter":{"jids":"x"}}'):
        with pytest.raises(DocumentError):
            mutate(store, payload, NOW)
