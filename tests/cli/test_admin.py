"""`queues`, `dead`, `retries`, `scheduled` and `flush` against the embedded server, which tells by itself."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from faktory import Client, Job
from faktory.blocking.connection import Connection
from faktory.cli import main
from faktory.commands import Fail, Fetch, JobFilter
from faktory.server import Server
from tests.scripted import Peer, ScriptedServer

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def at_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command finds the test's server; no setting of the user's reaches it."""
    for name in ("FAKTORY_PROVIDER", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAKTORY_URL", server.url)
    monkeypatch.setenv("COLUMNS", "200")


def bury(client: Client, *jobs: Job) -> None:
    """Put jobs among the dead."""
    for job in jobs:
        job.at = 3_600
    client.push_bulk(jobs)
    client.kill("scheduled", JobFilter.everything())


def told(capsys: Capture, call: str, status: int = 0) -> tuple[str, str]:
    """Run a command, which must end with `status`; returns what it printed."""
    assert main(shlex.split(call)) == status, capsys.readouterr()
    return capsys.readouterr()


# -- sets -------------------------------------------------------------------------------------------------------------


def test_a_set_is_counted(client: Client, capsys: Capture) -> None:
    bury(client, Job("a"), Job("b"))
    assert told(capsys, "dead")[0] == told(capsys, "dead count")[0] == "2\n"
    assert json.loads(told(capsys, "scheduled --json")[0]) == {"set": "scheduled", "count": 0}


def test_a_set_is_listed(client: Client, capsys: Capture) -> None:
    bury(client, Job("shop.charge", [1, "<b>\x1b[2J"], queue="pay"))
    bury(client, Job("other"))
    out, err = told(capsys, "dead list -n 1")
    head, line = out.splitlines()
    assert head.split() == ["died", "jid", "queue", "type", "arguments"]
    assert 'pay    shop.charge  1, "<b>\\u001b[2J"' in line
    assert err == "1 of 2; -n 2 lists all\n"
    rows = [json.loads(row) for row in told(capsys, "dead list --json")[0].splitlines()]
    assert [row["jobtype"] for row in rows] == ["shop.charge", "other"]
    assert rows[0]["args"] == [1, "<b>\x1b[2J"]
    assert told(capsys, "retries list") == ("", "retries: none\n")


def test_many_are_listed_in_several_questions(client: Client, capsys: Capture) -> None:
    jobs = [Job("t", [number], at=60 + number) for number in range(1_100)]
    client.push_bulk(jobs)
    rows = told(capsys, "scheduled list -n 1050 --json")[0].splitlines()
    assert [json.loads(row)["jid"] for row in rows] == [job.jid for job in jobs[:1_050]]


def test_a_dead_job_is_read_repaired_and_pushed_again(
    server: Server, client: Client, capsys: Capture, tmp_path: Path
) -> None:
    job = Job("charge", [{"cents": "1O"}], queue="pay", retry=-1, reserve_for=90, custom={"locale": "de"})
    client.push(job)
    with Connection(server.url) as connection:
        connection.call(Fetch(["pay"]))
        connection.call(Fail(job.jid, "ValueError", "no number", ["line 3"]))
    out, _ = told(capsys, f"dead show {job.jid}")
    assert "ValueError: no number" in out
    assert 'argument 1     {"cents":"1O"}' in out
    out, err = told(capsys, f"dead show {job.jid} --json")
    assert err == ""
    repaired = tmp_path / "job.json"
    repaired.write_text(out.replace("1O", "10"))
    assert told(capsys, f"push --from {repaired}")[0] == "stored 1, refused 0\n"
    told(capsys, f"dead discard --yes --jid {job.jid}")
    (waiting,) = server.queue("pay")
    assert (waiting.jid, waiting.args, waiting.reserve_for) == (job.jid, [{"cents": "10"}], 90)
    assert waiting.custom == {"locale": "de"}
    assert len(server.dead) == 0


def test_a_job_that_is_not_there_is_1(capsys: Capture) -> None:
    assert "dead has no job with the jid 'nobody'" in told(capsys, "dead show nobody", 1)[1]


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ("--jid jid-of-a1 jid-of-b1", ["a"]),
        ("--jid jid-of-a1 --jid jid-of-a2", ["b*"]),
        ("--type a", ["b*"]),
        ("--type b*", ["a", "a"]),
        ("--match '<one> [x]'", ["a", "b*"]),
        ("--type a --match '<one> [x]'", ["a", "b*"]),
        ("--type a --match 2", ["b*"]),
        ("--match '*'", ["a", "a"]),
        ("--match nowhere", ["a", "a", "b*"]),
        ("--all", []),
    ],
)
@pytest.mark.parametrize("action", ["requeue", "discard --yes", "kill --yes"])
def test_a_filter_says_which_jobs(
    server: Server, client: Client, capsys: Capture, action: str, choice: str, left: list[str]
) -> None:
    jobs = [Job("a", ["<one> [x]"], jid="jid-of-a1"), Job("a", [2], jid="jid-of-a2"), Job("b*", jid="jid-of-b1")]
    for job in jobs:
        job.at = 60
    client.push_bulk(jobs)
    if choice.endswith("--match 2"):
        choice = choice.replace("--match 2", "--match '\"args\":['")
        left = ["b*"]
    out, _ = told(capsys, f"scheduled {action} {choice}")
    assert sorted(job.jobtype for job in server.scheduled) == left
    assert f"scheduled: 3 \N{RIGHTWARDS ARROW} {len(left)}" in out
    assert "others may have changed" in out
    moved = {"requeue": server.queue("default"), "kill --yes": server.dead}.get(action)
    assert moved is None or len(moved) == 3 - len(left)


def test_counts_of_a_kill_are_of_both_sets(client: Client, capsys: Capture) -> None:
    client.push(Job("t", at=60))
    out, _ = told(capsys, "scheduled kill --all --yes --json")
    assert json.loads(out) == {"scheduled": {"before": 1, "after": 0}, "dead": {"before": 0, "after": 1}}
    assert "dead: 1 \N{RIGHTWARDS ARROW} 1; others may have changed it, too" in told(capsys, "dead kill --all --yes")[0]


def test_a_jid_that_is_not_there_is_told_of(client: Client, capsys: Capture) -> None:
    bury(client, Job("t"))
    assert "Nothing has left dead" in told(capsys, "dead requeue --jid nobody-has-it")[1]


def test_clear_empties_a_set(server: Server, client: Client, capsys: Capture) -> None:
    bury(client, Job("a"), Job("b"))
    assert told(capsys, "dead clear --yes")[0].startswith("dead: 2 \N{RIGHTWARDS ARROW} 0;")
    assert len(server.dead) == 0


def test_what_the_server_gives_up_on_is_1_with_the_counts(server: Server, client: Client, capsys: Capture) -> None:
    bury(client, Job("a"))
    server.faults.refuse("MUTATE")
    out, err = told(capsys, "dead discard --all --yes", 1)
    assert "context deadline exceeded; it may have done a part" in err
    assert out.startswith("dead: 1 ")


# -- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    ["dead discard --all", "dead kill --all", "retries clear", "queues clear q", "queues remove q", "flush"],
)
def test_what_deletes_needs_a_yes_where_there_is_no_terminal(
    server: Server, client: Client, capsys: Capture, call: str
) -> None:
    bury(client, Job("a"))
    client.push(Job("b", queue="q"))
    out, err = told(capsys, call, 2)
    assert out == ""
    assert "say --yes to mean it" in err
    assert (len(server.dead), server.queues) == (1, {"q": 1})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("call", "answer", "status"),
    [
        ("dead clear", "dead\n", 0),
        ("dead clear", "y\n", 1),
        ("dead clear", "", 1),
        ("queues remove q", "q\n", 0),
        ("queues remove q", "dead\n", 1),
        ("flush", "{place}\n", 0),
        ("flush", "yes\n", 1),
    ],
)
def test_on_a_terminal_the_name_is_asked_for(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, call: str, answer: str, status: int
) -> None:
    bury(client, Job("a"))
    client.push(Job("b", queue="q"))
    asked = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer.format(place=server.address.partition("://")[2])))
    monkeypatch.setattr("sys.stderr", asked)
    assert main(call.split()) == status
    assert ("nothing was changed" in asked.getvalue()) == (status == 1)
    assert "to go on: " in asked.getvalue()
    assert (len(server.dead) + sum(server.queues.values()) == 2) == (status == 1)


# -- queues and flush -------------------------------------------------------------------------------------------------


def test_queues_are_listed_with_their_state(server: Server, client: Client, capsys: Capture) -> None:
    client.push_bulk([Job("a", queue="low"), Job("b", queue="high")])
    client.pause_queues("low")
    server.clock.advance(7)
    lines = told(capsys, "queues")[0].splitlines()
    assert lines[0].split() == ["queue", "jobs", "oldest", "waits", "state"]
    assert lines[1].split()[:2] == ["high", "1"]
    queue, jobs, waits, *unit_and_state = lines[2].split()
    assert (queue, jobs, unit_and_state) == ("low", "1", ["s", "paused"])
    assert 7.0 <= float(waits) < 17.0
    rows = [json.loads(row) for row in told(capsys, "queues list --json")[0].splitlines()]
    assert [(row["queue"], row["jobs"], row["paused"]) for row in rows] == [("high", 1, False), ("low", 1, True)]


def test_the_jobs_of_a_queue_are_listed_next_one_first(client: Client, capsys: Capture) -> None:
    client.push_bulk([Job("first", queue="q"), Job("then", queue="q")])
    lines = told(capsys, "queues list q -n 1")[0].splitlines()
    assert lines[0].split() == ["jid", "queue", "type", "arguments"]
    assert [line.split()[2] for line in lines[1:]] == ["first"]
    rows = [json.loads(row) for row in told(capsys, "queues list q --json")[0].splitlines()]
    assert [row["jobtype"] for row in rows] == ["first", "then"]
    assert told(capsys, "queues list nope") == ("", "nope: no jobs\n")


def test_queues_are_paused_and_resumed(server: Server, client: Client, capsys: Capture) -> None:
    client.push_bulk([Job("a", queue="low"), Job("b", queue="high")])
    assert told(capsys, "queues pause low")[0] == "paused: low\n"
    assert [*server.paused] == ["low"]
    assert json.loads(told(capsys, "queues pause --all --json")[0]) == {"paused": ["high", "low"]}
    assert sorted(server.paused) == ["high", "low"]
    assert told(capsys, "queues resume low high low")[0] == "resumed: low, high\n"
    assert not server.paused
    told(capsys, "queues pause low")
    assert told(capsys, "queues resume --all")[0] == "resumed: high, low\n"
    assert not server.paused


@pytest.mark.parametrize("action", ["pause", "resume", "clear --yes", "remove --yes"])
def test_a_queue_that_is_not_there_is_1_and_the_others_are_done(client: Client, capsys: Capture, action: str) -> None:
    client.push(Job("a", queue="low"))
    out, err = told(capsys, f"queues {action} lwo low", 1)
    assert "there is no queue 'lwo'; did you mean low?" in err
    assert "low" in out
    assert "there is no queue 'nope'\n" in told(capsys, f"queues {action} nope", 1)[1]


@pytest.mark.parametrize("action", ["clear", "remove"])
def test_a_queue_is_emptied_with_counts(server: Server, client: Client, capsys: Capture, action: str) -> None:
    client.push_bulk([Job("a", queue="low"), Job("b", queue="low"), Job("c", queue="high")])
    assert told(capsys, f"queues {action} low --yes")[0].startswith("low: 2 \N{RIGHTWARDS ARROW} 0; others")
    assert server.queues == {"high": 1}


def test_flush_deletes_all(server: Server, client: Client, capsys: Capture) -> None:
    bury(client, Job("a"))
    client.push(Job("b"))
    lines = told(capsys, "flush --yes")[0].splitlines()
    assert lines[0] == "queues: 1 \N{RIGHTWARDS ARROW} 0"
    assert lines[1] == "dead: 1 \N{RIGHTWARDS ARROW} 0"
    assert lines[-1].endswith("others may have changed them, too")
    assert sum(server.queues.values()) + len(server.dead) == 0


def test_counts_are_ascii_where_the_output_is(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    assert main(["dead", "clear", "--yes"]) == 0
    out.seek(0)
    assert out.read() == "dead: 0 -> 0; others may have changed it, too\n"


# -- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("dead bury", "dead cannot 'bury'"),
        ("dead lits", "did you mean list?"),
        ("dead list x", "list: expected no further words, got 1"),
        ("dead list -n 0", "-n: expected 1 or more, got 0"),
        ("dead show", "show: expected one JID"),
        ("dead show a b", "show: expected one JID"),
        ("dead count --all", "count takes no --all, which is for requeue, discard, kill"),
        ("dead clear --type t", "clear takes no --type"),
        ("dead requeue -n 5 --all", "requeue takes no -n, which is for list"),
        ("dead requeue", "say which jobs"),
        ("dead requeue jid-of-x --all", "name jobs with --jid"),
        ("dead discard --all --jid x --yes", "--jid and --all do not go together"),
        ("dead discard --match '' --yes", "which every job has"),
        ("queues explode", "queues cannot 'explode'"),
        ("queues list a b", "expected one queue at most, got 2"),
        ("queues list a -n 0", "-n: expected 1 or more, got 0"),
        ("queues list -n 5", "-n is for `list NAME`"),
        ("queues pause", "expected the name of a queue, or --all"),
        ("queues clear", "clear: expected the name of a queue\n"),
        ("queues clear --all --yes", "--all is for pause and resume"),
        ("queues pause --all q", "stands in the place of names"),
        ("queues pause q --yes", "pause takes no --yes"),
        ("dead list --web ftp://x", "--web: expected http://"),
        ("dead list --web http://x:y", "a port that is no number"),
        ("flush now", "expected options alone"),
    ],
)
def test_a_wrong_call_is_explained_with_2(server: Server, capsys: Capture, call: str, hint: str) -> None:
    out, err = told(capsys, call, 2)
    assert out == ""
    assert hint in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "reply",
    [b'{"size":1}', b'{"size":"x","entries":[]}', b'{"size":1,"entries":[5]}', b'{"size":1,"entries":[{"job":5}]}'],
)
def test_a_reply_to_peek_that_is_none_is_no_traceback(
    reply: bytes, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        while peer.line():
            peer.say(b"$%d\r\n%b\r\n" % (len(reply), reply))

    with ScriptedServer(script) as scripted:
        monkeypatch.setenv("FAKTORY_URL", scripted.url)
        assert "PEEK: expected" in told(capsys, "dead list", 3)[1]


def test_another_refusal_of_peek_is_told(server: Server, capsys: Capture) -> None:
    server.faults.refuse("PEEK", text="no such thing")
    assert "no such thing" in told(capsys, "dead list", 1)[1]
