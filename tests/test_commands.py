"""The commands: the exact line of each, what its replies mean, and that no argument gets out of its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faktory.commands import (
    END,
    Ack,
    BatchCommit,
    BatchNew,
    BatchOpen,
    BatchStatus,
    Beat,
    Command,
    Fail,
    Fetch,
    Flush,
    Info,
    JobFilter,
    Mutate,
    PauseQueues,
    Push,
    PushBulk,
    QueueLatency,
    RemoveQueues,
    ResumeQueues,
    TrackGet,
    TrackSet,
    cut,
    encode_job,
    is_not_found,
    is_unknown_worker,
)
from faktory.errors import ConfigurationError, EnterpriseRequired, InvalidJob, ProtocolError, ServerError
from faktory.job import Job
from faktory.protocol.wire import CommandParser
from tests.lines import next_command
from tests.share import share_of

JID = "jid-0123456789"
JOB = Job("resize", ["cat.png", 640], jid=JID, queue="images", retry=5)
ENCODED = b'{"jid":"jid-0123456789","jobtype":"resize","args":["cat.png",640],"queue":"images","retry":5}'
BAD = ServerError("ERR", "no such thing")
quick = settings(max_examples=share_of(100), deadline=None)
# Lone surrogates, but never a pair of them: JSON would read that as one character.
anything = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\ud800\udbff"), max_size=20)


def payload_of(line: bytes, verb: str) -> bytes:
    """What follows the verb, after checking that the server would see one command."""
    assert line.endswith(b"\r\n")
    parser = CommandParser()
    parser.feed(line)
    command = next_command(parser)
    assert command is not None
    assert next_command(parser) is None
    found, payload = command
    assert found == verb
    assert b"\r" not in payload
    return payload


def refusal_of(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make()
    return str(caught.value)


# -- lines ------------------------------------------------------------------------------------------------------------

LINES: list[tuple[Command[Any], bytes]] = [
    (Push(JOB), b"PUSH " + ENCODED),
    (PushBulk([JOB]), b"PUSHB [" + ENCODED + b"]"),
    (PushBulk([JOB, JOB]), b"PUSHB [" + ENCODED + b"," + ENCODED + b"]"),
    (PushBulk([]), b"PUSHB []"),
    (PushBulk.of_encoded([JID], [ENCODED]), b"PUSHB [" + ENCODED + b"]"),
    (Fetch(["default"]), b"FETCH default"),
    (Fetch(("critical", "default")), b"FETCH critical default"),
    (Ack(JID), b'ACK {"jid":"jid-0123456789"}'),
    (
        Fail(JID, "ValueError", "bad é", ["line 1", "line 2"]),
        b'FAIL {"jid":"jid-0123456789","errtype":"ValueError","message":"bad \\u00e9","backtrace":["line 1","line 2"]}',
    ),
    (Fail(JID, "", ""), b'FAIL {"jid":"jid-0123456789","errtype":"","message":"","backtrace":[]}'),
    (Beat("wid-0001"), b'BEAT {"wid":"wid-0001"}'),
    (Beat("wid-0001", rss_kb=0), b'BEAT {"wid":"wid-0001","rss_kb":0}'),
    (
        Beat("wid-0001", current_state="quiet", rss_kb=9),
        b'BEAT {"wid":"wid-0001","current_state":"quiet","rss_kb":9}',
    ),
    (Info(), b"INFO"),
    (Flush(), b"FLUSH"),
    (PauseQueues(["a", "b"]), b"QUEUE PAUSE a b"),
    (ResumeQueues(iter(["a"])), b"QUEUE RESUME a"),
    (RemoveQueues(["*"]), b"QUEUE REMOVE *"),
    (QueueLatency(["a", "b"]), b"QUEUE LATENCY a b"),
    (Mutate("clear", "dead", JobFilter.everything()), b'MUTATE {"cmd":"clear","target":"dead"}'),
    (Mutate("requeue", "scheduled", JobFilter.everything()), b'MUTATE {"cmd":"requeue","target":"scheduled"}'),
    (
        Mutate("kill", "retries", JobFilter("t", ("a b",), "*x *")),
        b'MUTATE {"cmd":"kill","target":"retries","filter":{"jids":["a\\u0020b"],"regexp":"*x\\u0020*","jobtype":"t"}}',
    ),
    (BatchNew(success=JOB), b'BATCH NEW {"success":' + ENCODED + b"}"),
    (
        BatchNew(description="d", complete=JOB, success=JOB, parent_bid="b-1"),
        b'BATCH NEW {"parent_bid":"b-1","description":"d","success":' + ENCODED + b',"complete":' + ENCODED + b"}",
    ),
    (BatchOpen("b-1"), b"BATCH OPEN b-1"),
    (BatchCommit("b-1"), b"BATCH COMMIT b-1"),
    (BatchStatus("b-1"), b"BATCH STATUS b-1"),
    (TrackGet(JID), b"TRACK GET jid-0123456789"),
    (TrackSet(JID), b'TRACK SET {"jid":"jid-0123456789"}'),
    (
        TrackSet(JID, percent=0, description="", reserve_until="2026-11-22T12:00:00Z"),
        b'TRACK SET {"jid":"jid-0123456789","percent":0,"desc":"","reserve_until":"2026-11-22T12:00:00Z"}',
    ),
]


@pytest.mark.parametrize(("command", "line"), LINES, ids=[repr(line[:30]) for _, line in LINES])
def test_a_command_is_one_line(command: Command[Any], line: bytes) -> None:
    assert command.line == line + b"\r\n"


def test_the_farewell_is_a_line() -> None:
    assert END == b"END\r\n"


@pytest.mark.parametrize("command", [command for command, _ in LINES if isinstance(command, (Push, Ack, Fail, Mutate))])
def test_a_repr_shows_no_arguments(command: Command[Any]) -> None:
    assert repr(command) == f"<{type(command).__name__}>"


# -- replies ----------------------------------------------------------------------------------------------------------

OKAY: list[Command[Any]] = [
    Push(JOB), Ack(JID), Fail(JID, "E", "m"), Flush(), PauseQueues(["a"]), ResumeQueues(["a"]), RemoveQueues(["a"]),
    Mutate("kill", "dead", JobFilter("t")), BatchCommit("b"), TrackSet(JID),
]  # fmt: skip
OBJECTS: list[Command[Any]] = [Info(), BatchStatus("b"), TrackGet(JID), QueueLatency(["a"]), PushBulk([JOB]), Beat("w")]
BATCH_IDS: list[Command[Any]] = [BatchNew(success=JOB), BatchOpen("b")]


def name_of(command: Command[Any]) -> str:
    return type(command).__name__


@pytest.mark.parametrize("command", OKAY, ids=name_of)
def test_ok_is_the_only_good_reply_to_most_commands(command: Command[Any]) -> None:
    assert command.decode("OK") is None
    for reply in ("ok", "", b"OK", None, 1):
        with pytest.raises(ProtocolError, match=r"^expected OK, got "):
            command.decode(reply)


@pytest.mark.parametrize("command", [*OKAY, *OBJECTS, *BATCH_IDS, Fetch(["a"])], ids=name_of)
def test_an_error_reply_is_raised_as_it_came(command: Command[Any]) -> None:
    for error in (BAD, EnterpriseRequired("ERR", "batch subsystem is only available in Faktory Enterprise")):
        with pytest.raises(ServerError) as caught:
            command.decode(error)
        assert caught.value is error


@pytest.mark.parametrize("command", OBJECTS, ids=name_of)
@pytest.mark.parametrize(
    "reply", [b"", b"nonsense", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5_000 + b"}", "KO", None, 5]
)
def test_a_reply_that_is_no_object_breaks_the_protocol(command: Command[Any], reply: Any) -> None:
    with pytest.raises(ProtocolError, match=r"^expected a JSON object, got ") as caught:
        command.decode(reply)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("command", OBJECTS[:3], ids=name_of)
def test_an_object_is_read_from_a_bulk_string_or_a_status_line(command: Command[Any]) -> None:
    """J13: the server has used both."""
    assert command.decode(b'{"a":[1]}') == {"a": [1]}
    assert command.decode('{"a":[1]}') == {"a": [1]}


def test_refused_jobs_of_a_bulk_push_are_named_with_their_errors() -> None:
    """D9"""
    command = PushBulk([JOB])
    assert command.jids == PushBulk.of_encoded([JID], [ENCODED]).jids == (JID,)
    assert command.decode(b"{}") == {}
    assert command.decode("{}") == {}
    refused = command.decode(b'{"a":"NOTUNIQUE Job not unique","b":"invalid queue name","c":5}')
    assert {jid: (type(error).__name__, error.code, error.text) for jid, error in refused.items()} == {
        "a": ("NotUnique", "NOTUNIQUE", "Job not unique"),
        "b": ("ServerError", "ERR", "invalid queue name"),
        "c": ("ServerError", "ERR", "5"),
    }


def test_a_fetch_brings_a_job_or_nothing() -> None:
    fetch = Fetch(["images"])
    job = fetch.decode(ENCODED)
    assert job is not None
    assert (job.jid, job.jobtype, job.args) == (JID, "resize", ["cat.png", 640])
    assert fetch.decode(None) is None


@pytest.mark.parametrize("reply", ["OK", 5, ""])
def test_a_fetch_brings_nothing_else(reply: Any) -> None:
    """H7"""
    with pytest.raises(ProtocolError, match=r"^expected a job, got "):
        Fetch(["images"]).decode(reply)


def test_a_fetched_job_that_cannot_be_read_is_invalid_and_has_its_jid() -> None:
    """H8, H9"""
    with pytest.raises(InvalidJob) as caught:
        Fetch(["images"]).decode(ENCODED.replace(b"[", b"{"))
    assert caught.value.jid == JID


@pytest.mark.parametrize("text", ["Job not found jid-0123456789", "job not found", "JOB NOT FOUND x"])
def test_a_failure_of_a_job_that_is_settled_already_is_done(text: str) -> None:
    """J6"""
    Fail(JID, "E", "m").decode(ServerError("ERR", text))
    assert is_not_found(ServerError("ERR", text))


@pytest.mark.parametrize("reply", ["Job not found", b"Job not found", None, ServerError("ERR", "a Job not found")])
def test_other_replies_do_not_say_that_a_job_is_settled(reply: Any) -> None:
    assert not is_not_found(reply)
    with pytest.raises((ProtocolError, ServerError)):
        Fail(JID, "E", "m").decode(reply)


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        ("OK", None),
        (b'{"state":"quiet"}', "quiet"),
        ('{"state":"terminate"}', "terminate"),
        (b'{"state":"dance"}', "dance"),
        (b'{"state":5}', None),
        (b"{}", None),
    ],
)
def test_a_beat_brings_the_wanted_state(reply: Any, state: str | None) -> None:
    """H10, J13: a state nobody knows is passed on as it is."""
    assert Beat("wid-0001").decode(reply) == state


@pytest.mark.parametrize("text", ["unknown worker wid-0001", "Unknown worker wid-0001"])
def test_an_unknown_worker_is_recognised_in_any_spelling(text: str) -> None:
    """J10, PROTOCOL 15"""
    assert is_unknown_worker(ServerError("ERR", text))
    assert not is_unknown_worker(BAD)


def test_latencies_are_seconds_by_queue() -> None:
    assert QueueLatency(["a"]).decode(b'{"a":1.5,"b":0,"c":-1}') == {"a": 1.5, "b": 0.0, "c": -1.0}
    assert all(type(seconds) is float for seconds in QueueLatency(["a"]).decode(b'{"b":0}').values())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'"1"', "'1'"),
        (b"true", "True"),
        (b"null", "None"),
        (b"NaN", "nan"),
        (b"Infinity", "inf"),
        (b"1e999", "inf"),
        (b"9" * 400, "9" * 40),
    ],
)
def test_a_latency_that_is_no_time_breaks_the_protocol(value: bytes, shown: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        QueueLatency(["a"]).decode(b'{"b":1,"a":%b}' % value)
    assert str(caught.value) == f"expected seconds for the queue 'a', got {shown}"


@pytest.mark.parametrize("command", BATCH_IDS, ids=name_of)
def test_a_batch_id_is_read_from_a_bulk_string_or_a_status_line(command: Command[Any]) -> None:
    assert command.decode(b"b-123") == command.decode("b-123") == "b-123"
    for reply in ("", b"", None, 5):
        with pytest.raises(ProtocolError, match=r"^expected a batch id, got "):
            command.decode(reply)


# -- names and arguments ----------------------------------------------------------------------------------------------

QUEUE_COMMANDS: list[Callable[[Any], Command[Any]]] = [Fetch, PauseQueues, ResumeQueues, RemoveQueues, QueueLatency]
each_queue_command = pytest.mark.parametrize("make", QUEUE_COMMANDS)


@each_queue_command
@pytest.mark.parametrize("name", ["", "a b", "x\r\nQUEUE REMOVE b", "a\n", "é", "a*", "**", None, 5, b"a"])
def test_a_queue_name_that_is_none_is_refused(make: Callable[[Any], Command[Any]], name: object) -> None:
    """D1: on other clients a line break in a queue name removes queues."""
    with pytest.raises(ConfigurationError) as caught:
        make(["good", name])
    assert str(caught.value) == (f"a queue name must be made of A-Z a-z 0-9 . _ -, got {type(name).__name__} {name!a}")


@each_queue_command
def test_all_queues_can_be_meant_only_where_the_server_knows_it(make: Callable[[Any], Command[Any]]) -> None:
    """D1, PROTOCOL 39"""
    if make in (Fetch, QueueLatency):
        with pytest.raises(ConfigurationError, match=r"got str '\*'$"):
            make(["*"])
    else:
        assert make(["*"]).line.endswith(b" *\r\n")


@each_queue_command
@pytest.mark.parametrize("names", ["abc", b"abc", 5, None])
def test_one_name_is_not_taken_for_many(make: Callable[[Any], Command[Any]], names: object) -> None:
    """Else `RemoveQueues("abc")` would delete the queues a, b and c."""
    assert refusal_of(lambda: make(names)) == (f"expected queues in a list, got {type(names).__name__} {names!a}")


@each_queue_command
def test_no_queue_at_all_is_refused(make: Callable[[Any], Command[Any]]) -> None:
    """PROTOCOL 13, 39: some servers panic."""
    assert refusal_of(lambda: make([])).startswith("expected at least one queue")


@quick
@given(st.lists(anything, min_size=1))
@example(["a\r\nFLUSH"])
def test_a_queue_command_is_one_line_of_its_names_or_is_refused(names: list[str]) -> None:
    """D1"""
    try:
        line = RemoveQueues(names).line
    except ConfigurationError:
        return
    assert payload_of(line, "QUEUE").decode().split(" ") == ["REMOVE", *names]


@quick
@given(anything, anything, anything, st.lists(anything))
@example("a\r\nFLUSH", '"\\', "\x00\ud800", ["\r\n"])
def test_reports_and_beats_are_one_line_whatever_is_in_them(
    jid: str, first: str, second: str, lines: list[str]
) -> None:
    """D3"""
    assert json.loads(payload_of(Ack(jid).line, "ACK")) == {"jid": jid}
    assert json.loads(payload_of(Beat(jid).line, "BEAT")) == {"wid": jid}
    replaced = [text.encode("utf-8", "replace").decode() for text in (first, second, *lines)]
    assert json.loads(payload_of(Fail(jid, first, second, lines).line, "FAIL")) == {
        "jid": jid, "errtype": replaced[0], "message": replaced[1], "backtrace": replaced[2:],
    }  # fmt: skip


def test_a_job_that_is_refused_makes_no_line() -> None:
    """D5"""
    job = Job("t", jid=JID)
    job.args.append({"price": float("nan")})
    for make in (lambda: Push(job), lambda: PushBulk([JOB, job]), lambda: encode_job(job)):
        with pytest.raises(InvalidJob, match=r"^args\[0\]\.price is nan"):
            make()


@quick
@given(anything.filter(bool), anything)
def test_a_push_is_one_line_whatever_is_in_it(jobtype: str, arg: str) -> None:
    """D3"""
    try:
        line = PushBulk([Job(jobtype, [arg, {arg: arg}], jid=JID)]).line
    except InvalidJob:
        return
    [document] = json.loads(payload_of(line, "PUSHB"))
    assert (document["jobtype"], document["args"]) == (jobtype, [arg, {arg: arg}])


# -- what the server keeps of a failure -------------------------------------------------------------------------------


def test_a_failure_is_cut_to_what_the_server_keeps() -> None:
    """W1, PROTOCOL 32"""
    line = Fail(JID, "é" * 100, "\U0001f600" * 1_000, ["x" * 2_000] * 60).line
    document = json.loads(payload_of(line, "FAIL"))
    assert document["errtype"] == "é" * 50
    assert document["message"] == "\U0001f600" * 250
    assert document["backtrace"] == ["x" * 1_000] * 50


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("abé", 3, "ab"),
        ("é", 1, ""),
        ("é", 2, "é"),
        ("\U0001f600", 3, ""),
        ("abc", 0, ""),
        ("", 5, ""),
        ("a\ud800b", 3, "a?b"),
    ],
)
def test_a_text_is_cut_on_a_whole_character(text: str, limit: int, expected: str) -> None:
    """W1, W3"""
    assert cut(text, limit) == expected


@settings(max_examples=share_of(300), deadline=None)
@given(anything, st.integers(0, 40))
def test_a_cut_text_is_the_longest_valid_beginning_within_the_limit(text: str, limit: int) -> None:
    """W1, W3"""
    whole = text.encode("utf-8", "replace").decode()
    found = cut(text, limit)
    assert len(found.encode()) <= limit
    assert whole.startswith(found)
    assert len(whole[: len(found) + 1].encode()) > limit or found == whole


# -- MUTATE -----------------------------------------------------------------------------------------------------------

filters = st.one_of(
    st.builds(JobFilter, jids=st.lists(anything.filter(bool), min_size=1), regexp=st.none() | anything.filter(bool)),
    st.builds(JobFilter, regexp=anything.filter(bool)),
    st.builds(JobFilter, jobtype=st.text(" abc:é-_'", min_size=1), regexp=st.none() | anything.filter(bool)),
    st.builds(JobFilter.everything),
)


@settings(max_examples=share_of(200), deadline=None)
@given(st.sampled_from(["kill", "discard", "requeue"]), st.sampled_from(["retries", "scheduled", "dead"]), filters)
@example("kill", "dead", JobFilter(regexp="* a b *"))
def test_a_mutate_has_no_raw_space_in_its_payload_and_says_what_was_asked(
    operation: Any, target: Any, job_filter: JobFilter
) -> None:
    """PROTOCOL 35: the server splits the line at its spaces and wants two parts."""
    line = Mutate(operation, target, job_filter).line
    payload = payload_of(line, "MUTATE")
    assert line.count(b" ") == 1
    assert len(line.split(b" ")) == 2
    asked = {
        name: list(value) if name == "jids" else value
        for name in ("jids", "regexp", "jobtype")
        if (value := getattr(job_filter, name))
    }
    assert json.loads(payload) == {"cmd": operation, "target": target} | ({"filter": asked} if asked else {})


@pytest.mark.parametrize("jids", [["a", "b"], ("a", "b"), iter(["a", "b"])])
def test_jids_may_come_from_any_iterable(jids: Any) -> None:
    assert JobFilter(jids=jids).jids == ("a", "b")


EMPTY = (
    "expected a filter with a jobtype, jids or regexp, got an empty one, which would act on every job; say "
    "JobFilter.everything() to mean that"
)
GLOB = "it holds a character of globs, HTML or JSON escapes; filter by jids or regexp"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, EMPTY),
        ({"jobtype": None, "jids": None}, EMPTY),
        ({"jids": []}, "jids must name at least one job, got none; leave jids out to filter by the rest"),
        ({"jids": (), "jobtype": "t"}, "jids must name at least one job, got none"),
        ({"jids": "abc"}, "expected jids in a list, got str 'abc'"),
        ({"jids": 5}, "expected jids in a list, got int 5"),
        ({"jids": ["a", ""]}, "jids must be non-empty texts, got ''"),
        ({"jids": ["a", 5]}, "jids must be non-empty texts, got 5"),
        ({"jobtype": ""}, "jobtype must be a non-empty text, got ''"),
        ({"jobtype": 5}, "jobtype must be a non-empty text, got 5"),
        ({"regexp": ""}, "regexp must be a non-empty text, got ''"),
        ({"regexp": b"*"}, "regexp must be a non-empty text, got b'*'"),
        ({"jobtype": "t[1]"}, f"the server cannot filter by the job type 't[1]': {GLOB}"),
        *[({"jobtype": f"a{char}b"}, GLOB) for char in "[]*?^<>&\\\"\n\x00\u2028\u2029\ud800"],
    ],
)  # fmt: skip
def test_a_filter_that_would_act_on_more_or_on_nothing_is_refused(fields: dict[str, Any], message: str) -> None:
    """PROTOCOL 36, 37"""
    assert message in refusal_of(lambda: JobFilter(**fields))


@pytest.mark.parametrize("jobtype", ["resize", "Images::Resize", "a b", "images.resize-2", "größe", "it's"])
def test_an_ordinary_job_type_can_be_filtered_by(jobtype: str) -> None:
    assert JobFilter(jobtype).to_document() == {"jobtype": jobtype}


def test_clear_takes_no_filter() -> None:
    """PROTOCOL 37: the server would ignore it and empty the set."""
    assert refusal_of(lambda: Mutate("clear", "dead", JobFilter("t"))) == (
        "the server ignores a filter for clear and would empty the whole set; use discard, or JobFilter.everything()"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kill", "Dead", JobFilter("t")), 'target must be "retries", "scheduled" or "dead", got \'Dead\''),
        (("kill", ["dead"], JobFilter("t")), 'target must be "retries", "scheduled" or "dead", got [\'dead\']'),
        (("nuke", "dead", JobFilter("t")), "operation must be clear, kill, discard or requeue, got 'nuke'"),
        (("kill", "dead", None), "filter must be a JobFilter, got NoneType"),
        (("kill", "dead", {"jobtype": "t"}), "filter must be a JobFilter, got dict"),
    ],
)
def test_a_mutate_of_something_else_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    assert refusal_of(lambda: Mutate(*arguments)) == message


# -- Enterprise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["", "a b", "a\r\nFLUSH", "a\n", "é", "\x7f", None, 5, b"b"])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("bid", BatchOpen),
        ("bid", BatchCommit),
        ("bid", BatchStatus),
        ("jid", TrackGet),
        ("jid", TrackSet),
        ("parent_bid", lambda bid: BatchNew(success=JOB, parent_bid=bid)),
    ],
)
def test_an_id_that_is_none_is_refused(name: str, make: Callable[[Any], object], bad: object) -> None:
    """D3"""
    if name == "parent_bid" and bad is None:
        return  # means: no parent
    assert refusal_of(lambda: make(bad)) == f"{name} must be printable ASCII without spaces, got {bad!a}"


def test_a_batch_without_a_callback_is_refused() -> None:
    assert refusal_of(lambda: BatchNew(description="d")) == (
        "a batch needs a success or a complete callback, got neither"
    )


def test_a_callback_is_checked_like_any_job() -> None:
    job = Job("t")
    job.queue = "a b"
    with pytest.raises(InvalidJob, match="queue must be made of"):
        BatchNew(complete=job)


@pytest.mark.parametrize("percent", [-1, 101, 50.0, True, "50"])
def test_a_percentage_that_is_none_is_refused(percent: Any) -> None:
    assert refusal_of(lambda: TrackSet(JID, percent=percent)) == (
        f"percent must be an integer from 0 to 100, got {percent!a}"
    )


@quick
@given(anything, anything)
def test_descriptions_stay_in_their_line(description: str, until: str) -> None:
    """D3"""
    line = TrackSet(JID, percent=100, description=description, reserve_until=until).line
    verb, _, document = payload_of(line, "TRACK").partition(b" ")
    assert verb == b"SET"
    assert json.loads(document) == {"jid": JID, "percent": 100, "desc": description, "reserve_until": until}
    payload = payload_of(BatchNew(description=description, success=JOB).line, "BATCH")
    assert json.loads(payload.removeprefix(b"NEW "))["description"] == description


@pytest.mark.slow
@pytest.mark.parametrize("arg", ["x" * 68_000_000, "<" * 11_500_000])
def test_a_job_that_no_worker_would_take_back_is_refused(arg: str) -> None:
    """D7: the server has no limit, and stores "<" in six bytes."""
    with pytest.raises(InvalidJob, match="must not exceed 67108864 bytes"):
        encode_job(Job("t", [arg]))


@pytest.mark.slow
def test_a_job_of_nearly_the_limit_is_sent() -> None:
    """D7"""
    assert len(encode_job(Job("t", ["x" * 66_000_000]))) > 66_000_000
