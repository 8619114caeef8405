from __future__ import annotations

import pytest

from faktory import Client, Job
from faktory.cli.matching import filters_of, glob_of
from faktory.cli.parsing import Usage
from faktory.commands import JobFilter
from faktory.server import Server
from faktory.server.mutate import glob


def the_filters(
    jids: list[str] | None = None, jobtype: str | None = None, match: str | None = None, *, everything: bool = False
) -> list[JobFilter]:
    return filters_of(jids or [], jobtype, match, everything=everything)


def test_each_filter_is_what_was_asked_for() -> None:
    assert the_filters(["a", "b"]) == [JobFilter(jids=["a", "b"])]
    assert the_filters(jobtype="shop.charge") == [JobFilter(jobtype="shop.charge")]
    assert the_filters(match="x y") == [JobFilter(regexp="*x y*")]
    assert the_filters(jobtype="t", match="x") == [JobFilter(jobtype="t", regexp="*x*")]
    assert the_filters(everything=True) == [JobFilter.everything()]


def test_many_jids_are_several_filters() -> None:
    jids = [f"jid-{number}" for number in range(250)]
    found = filters_of(jids, None, None, everything=False, size=10_000)
    assert [len(each.jids or ()) for each in found] == [100, 100, 50]
    assert len(the_filters(jids)) == 1
    assert [jid for each in found for jid in each.jids or ()] == jids


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ({}, "say which jobs: --jid JID ..., --type TYPE, --match TEXT, or --all"),
        ({"jids": ["a"], "everything": True}, "--jid and --all do not go together"),
        ({"jids": ["a"], "jobtype": "t"}, "--jid and --type do not go together"),
        ({"match": ""}, "got an empty one, which every job has; say --all"),
        ({"jobtype": ""}, "jobtype must be a non-empty text"),
        ({"jobtype": "t[1]", "match": "x"}, "the server cannot filter by the job type"),
        ({"jids": [""]}, "jids must be non-empty texts"),
    ],
)
def test_other_filters_are_refused(call: dict[str, object], hint: str) -> None:
    with pytest.raises(Usage) as caught:
        the_filters(**call)  # type: ignore[arg-type]
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("*", "a*b"),
        ("?", "a?b"),
        ("[a-z]", "[a-z]"),
        ("a\\b", "a\\b"),
        ("<b>&", "\\u003cb\\u003e\\u0026"),
        ("\n", "\\n"),
        ("\x01\u2028", "\\u0001\\u2028"),
        ('"user":7', '"user":7'),
        ("é", "é"),
    ],
)
def test_a_text_matches_where_it_is_stored_and_no_glob(text: str, stored: str) -> None:
    matches = glob(glob_of(text).encode())
    assert matches(f"x{stored}y".encode())
    assert not matches(b"xy")
    assert not matches(b"xqy")


@pytest.mark.parametrize("jobtype", ["t[1]", "a*b", "a?b", "<b>", 'say "x"', "back\\slash", "a&b", "é*"])
def test_a_type_that_is_a_glob_is_found_alone(server: Server, client: Client, jobtype: str) -> None:
    client.push_bulk([Job(jobtype, at=60), Job("t1", at=60), Job("axb", at=60), Job("a", [jobtype], at=60)])
    for each in the_filters(jobtype=jobtype):
        client.discard("scheduled", each)
    left = [job.jobtype for job in server.scheduled]
    assert sorted(left) == ["a", "axb", "t1"]
