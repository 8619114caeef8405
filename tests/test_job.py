"""The job: what may be pushed, what the server would change and so is refused, and what comes back from it."""

from __future__ import annotations

import json
import re
import sys
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faktory.commands import encode_job
from faktory.errors import ConfigurationError, InvalidJob
from faktory.job import Failure, Job, check_queue_name
from faktory.protocol.moments import moment, rfc3339
from faktory.protocol.values import MAX_DEPTH
from tests.share import share_of

JID = "jid-0123456789"
NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
FUTURE = datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))
PAST = datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))
quick = settings(max_examples=share_of(60), deadline=None)


def nested(levels: int, leaf: object = 1) -> Any:
    """`leaf` in so many lists."""
    value: Any = leaf
    for _ in range(levels):
        value = [value]
    return value


def refusal_of(make: Callable[[], object]) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        make()
    return caught.value


def received(**fields: Any) -> bytes:
    return json.dumps({"jid": JID, "jobtype": "resize", "args": [], "queue": "default", "retry": 25} | fields).encode()


# -- what may be pushed -----------------------------------------------------------------------------------------------


def test_a_job_needs_only_a_type() -> None:
    job = Job("resize")
    assert (job.jobtype, job.args, job.queue, job.retry) == ("resize", [], "default", 25)
    assert (job.reserve_for, job.at, job.backtrace, job.custom) == (None, None, None, None)
    assert (job.created_at, job.enqueued_at, job.failure) == (None, None, None)
    assert (job.attempt, job.is_last_attempt, job.reservation) == (1, False, 1_800)


def test_a_jid_of_96_random_bits_is_made_up() -> None:
    """J9"""
    jids = {Job("t").jid for _ in range(100)}
    assert len(jids) == 100
    assert all(re.fullmatch("[0-9a-f]{24}", jid) for jid in jids)


def test_retry_is_always_sent_and_what_is_not_set_is_not() -> None:
    """Without it the server stores the last `retry` that anybody pushed."""
    document = Job("t", [1], jid=JID).to_document()
    assert document == {"jid": JID, "jobtype": "t", "args": [1], "queue": "default", "retry": 25}


def test_all_fields_are_sent() -> None:
    job = Job(
        "t", ("a", None), jid=JID, queue="q.1_-", retry=-1, reserve_for=60, at=NOON, backtrace=0, custom={"k": [True]}
    )
    assert job.to_document() == {
        "jid": JID,
        "jobtype": "t",
        "args": ["a", None],
        "queue": "q.1_-",
        "retry": -1,
        "reserve_for": 60,
        "at": "2026-11-22T12:00:00.250000Z",
        "backtrace": 0,
        "custom": {"k": [True]},
    }


def test_the_callers_containers_are_copied() -> None:
    args, custom = [1], {"a": 1}
    job = Job("t", args, custom=custom)
    job.args.append(2)
    job.unique_for(60)
    assert (args, custom) == ([1], {"a": 1})


def test_any_mapping_will_do_for_custom() -> None:
    assert Job("t", custom=MappingProxyType({"a": 1})).custom == {"a": 1}


def test_a_control_character_in_a_job_type_is_accepted_as_the_server_does() -> None:
    """D3: JSON escapes it."""
    assert b"\n" not in encode_job(Job("a\r\nb"))


@pytest.mark.parametrize("jid", ["12345678", "éééé", "a" * 300, 'quoted"\\'])
def test_a_jid_of_eight_bytes_is_accepted(jid: str) -> None:
    assert Job("t", jid=jid).jid == jid


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("retry", [2**53, -(2**53), 0]),
        ("reserve_for", [1, 86_400]),
        ("backtrace", [0, 2**53]),
    ],
)
def test_values_at_the_limits_are_accepted(name: str, values: list[int]) -> None:
    for value in values:
        assert Job("t", **{name: value}).to_document()[name] == value  # type: ignore[arg-type]


def test_a_repr_shows_no_args() -> None:
    job = Job("login", ["hunter2"], jid=JID, custom={"token": "hunter2"})
    assert repr(job) == "<Job 'login' jid='jid-0123456789' queue='default'>"


# -- what is refused --------------------------------------------------------------------------------------------------

EIGHT_BYTES = "jid must be text of at least 8 bytes without control characters, got "
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("D4: a short jid", {"jid": "1234567"}, f"{EIGHT_BYTES}str '1234567'; leave it out for a random one"),
    ("D4: an empty jid", {"jid": ""}, f"{EIGHT_BYTES}str ''"),
    ("D4: a number for a jid", {"jid": 12345678}, f"{EIGHT_BYTES}int 12345678"),
    ("D4: bytes for a jid", {"jid": b"12345678"}, f"{EIGHT_BYTES}bytes b'12345678'"),
    ("D3: a line break in a jid", {"jid": "12345678\r\nFLUSH"}, rf"{EIGHT_BYTES}str '12345678\r\nFLUSH'"),
    ("D3: a NUL in a jid", {"jid": "12345678\x00"}, rf"{EIGHT_BYTES}str '12345678\x00'"),
    ("D6: a surrogate in a jid", {"jid": "12345678\ud800"}, r"jid holds a lone surrogate, which the server would"),
    ("no job type", {"jobtype": ""}, "jobtype must be a non-empty text, got str ''"),
    ("a function for a job type", {"jobtype": len}, "jobtype must be a non-empty text, got builtin_function_or_method"),
    ("D6: a surrogate in a job type", {"jobtype": "a\udfff"}, r"jobtype holds a lone surrogate"),
    ("D4: no args", {"args": None}, "args must be a list or tuple of the handler's arguments, got NoneType None"),
    ("D4: an object for args", {"args": {"a": 1}}, "args must be a list or tuple of the handler's arguments, got dict"),
    ("D4: a text for args", {"args": "abc"}, "args must be a list or tuple of the handler's arguments, got str 'abc'"),
    ("D2: no queue", {"queue": ""}, "queue must be made of A-Z a-z 0-9 . _ -, got str ''"),
    ("D2: a space in a queue", {"queue": "a b"}, "queue must be made of A-Z a-z 0-9 . _ -, got str 'a b'"),
    ("D2: a line break in a queue", {"queue": "a\n"}, r"queue must be made of A-Z a-z 0-9 . _ -, got str 'a\n'"),
    ("D2: a letter of no ASCII in a queue", {"queue": "café"}, r"got str 'caf\xe9'"),
    ("D2: a digit of no ASCII in a queue", {"queue": "q\u0663"}, r"got str 'q\u0663'"),
    ("D2: None for a queue", {"queue": None}, "queue must be made of A-Z a-z 0-9 . _ -, got NoneType None"),
    ("D4: a float for retry", {"retry": 2.0}, "retry must be an integer (0 drops a failed job, -1 buries it), got flo"),
    ("D4: a boolean for retry", {"retry": True}, "retry must be an integer"),
    ("D4: None for retry", {"retry": None}, "retry must be an integer"),
    ("a retry of too many digits", {"retry": 10**5000}, "retry must be an integer"),
    ("D4: a reservation of over a day", {"reserve_for": 86_401}, "reserve_for must be whole seconds from 1 to 86400"),
    ("D4: a reservation of nothing", {"reserve_for": 0}, "or None, got int 0"),
    ("D4: a negative reservation", {"reserve_for": -5}, "or None, got int -5"),
    ("D4: a fraction of a second", {"reserve_for": 90.5}, "or None, got float 90.5"),
    ("D4: a boolean for a reservation", {"reserve_for": True}, "or None, got bool True"),
    ("a negative backtrace", {"backtrace": -1}, "backtrace must be a number of lines, or None, got int -1"),
    ("a boolean for backtrace", {"backtrace": True}, "backtrace must be a number of lines, or None, got bool True"),
    ("a huge backtrace", {"backtrace": 2**53 + 1}, "backtrace must be a number of lines, or None, got int 9007199254"),
    ("D4: a naive time", {"at": datetime(2026, 1, 1)}, "at must be a datetime with a time zone (datetime.now(UTC)"),  # noqa: DTZ001
    (
        "D4: a text for a time",
        {"at": "2026-01-01"},
        "at must be an aware datetime, a timedelta or seconds from now, go",
    ),
    ("D4: a date", {"at": date(2026, 1, 1)}, "at must be an aware datetime, a timedelta or seconds from now, got date"),
    (
        "D4: a boolean for a time",
        {"at": True},
        "at must be an aware datetime, a timedelta or seconds from now, got bool",
    ),
    ("an infinite delay", {"at": float("inf")}, "at is a number of seconds from now, got float inf"),
    ("a delay of no number", {"at": float("nan")}, "at is out of range: float nan"),
    ("a delay beyond the calendar", {"at": timedelta(days=10**8)}, "at is out of range: timedelta"),
    ("a delay of too many digits", {"at": 10**5000}, "at is a number of seconds from now, got int ..."),
    ("a time after the calendar", {"at": FUTURE}, "at is out of range: datetime"),
    ("a time before the calendar", {"at": PAST}, "at is out of range: datetime"),
    ("a list for custom", {"custom": [1]}, "custom must be a mapping of JSON values, got list [1]"),
    (
        "D6: a number for a key of custom",
        {"custom": {1: 2}},
        "custom has the key int 1; JSON keys are text: convert it",
    ),
]


@pytest.mark.parametrize(("fields", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_job_the_server_would_refuse_lose_or_change_is_refused(fields: dict[str, Any], message: str) -> None:
    error = refusal_of(lambda: Job(**{"jobtype": "t", "args": [], **fields}))
    assert message in str(error)
    assert isinstance(error, ValueError)
    assert len(str(error)) < 250


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": ["a", {"price": float("nan")}]}, "args[1].price is nan; JSON has no such number, send None or text"),
        ({"args": nested(MAX_DEPTH + 1)}, "... is nested more than 500 deep; send a reference instead"),
        ({"custom": {"a": nested(MAX_DEPTH)}}, "... is nested more than 500 deep; send a reference instead"),
        ({"custom": {"some key": ({1},)}}, "custom['some key'][0] is a builtins.set, which would not arrive as one"),
    ],
    ids=["args", "deep args", "deep custom", "custom"],
)
def test_what_json_or_the_server_would_change_is_refused_with_the_jid(fields: dict[str, Any], message: str) -> None:
    """D5, D6: `tests/protocol/test_values.py` has all of it."""
    error = refusal_of(lambda: Job("t", **fields, jid=JID))
    assert message in str(error)
    assert error.jid == JID
    assert error.args == (str(error), JID)


def test_containers_are_accepted_down_to_the_limit() -> None:
    """D6: `args` is the first of 500. H8: and read."""
    job = Job("t", nested(MAX_DEPTH), custom={"a": nested(MAX_DEPTH - 1)})
    assert Job.decode(encode_job(job)).args == nested(MAX_DEPTH)


def test_a_value_whose_repr_fails_is_refused_all_the_same() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert str(refusal_of(lambda: Job("t", queue=Shy()))).endswith("got Shy ...")  # type: ignore[arg-type]


def test_a_value_is_shown_whole_up_to_eighty_characters() -> None:
    assert str(refusal_of(lambda: Job("t", queue=" " * 78))).endswith(f"got str '{' ' * 78}'")
    assert str(refusal_of(lambda: Job("t", queue=" " * 79))).endswith(f"got str '{' ' * 76}...")


def test_a_long_value_is_shown_short_and_without_a_copy_of_it() -> None:
    text = "é" * 4_000_000
    tracemalloc.start()
    try:
        error = refusal_of(lambda: Job("t", queue=text))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert str(error).endswith(r"\xe9\xe9...")
    assert len(str(error)) < 150


def at_the_end_of_the_stack(act: Callable[[], None]) -> None:
    """Call `act` with room for about 200 more frames, in a thread, so that no frame of pytest counts."""
    errors: list[BaseException] = []

    def dive(left: int) -> None:
        if left:
            return dive(left - 1)
        try:
            act()
        except BaseException as exc:
            errors.append(exc)
        return None

    thread = threading.Thread(target=dive, args=(sys.getrecursionlimit() - 200,))
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def test_nesting_beyond_what_is_left_of_the_stack_is_refused() -> None:
    """D6: a caller deep in a recursion of its own gets our error, not Python's."""
    job = Job("t", nested(400), jid=JID)
    error = refusal_of(lambda: at_the_end_of_the_stack(lambda: job._check()))
    assert str(error) == "args or custom are nested deeper than the caller's stack has room; send a reference instead"
    assert error.jid == JID


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"args": (1, 2)}, "args must be a list, got tuple (1, 2)"),
        ({"args": [float("nan")]}, "args[0] is nan"),
        ({"custom": [1]}, "custom must be a dict, got list [1]"),
        ({"retry": "5"}, "retry must be an integer (0 drops a failed job, -1 buries it), got str '5'"),
        ({"jid": "short"}, "jid must be text of at least 8 bytes"),
    ],
)
def test_a_job_changed_after_it_was_made_is_checked_again_before_it_is_sent(
    change: dict[str, Any], message: str
) -> None:
    job = Job("t", jid=JID)
    for name, value in change.items():
        setattr(job, name, value)
    error = refusal_of(job.to_document)
    assert message in str(error)
    assert error.jid == (None if "jid" in change else JID)


def test_a_fetched_job_is_found_again_as_it_came() -> None:
    fetched = Job.decode(received(args=[[1]]))
    fetched.args[0].append(2)
    assert fetched.as_fetched().args == [[1]]
    made = Job("t", [1])
    assert made.as_fetched() is made


def test_a_time_may_be_set_as_it_may_be_given() -> None:
    job = Job("t")
    for when in (timedelta(seconds=60), 60):
        job.at = when
        assert job.at is not None
        assert 55 < (job.at - datetime.now(UTC)).total_seconds() <= 60
    job.at = NOON.astimezone(timezone(timedelta(hours=5)))
    assert job.at == NOON
    job.at = None
    assert "at" not in job.to_document()


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("tomorrow", "at must be an aware datetime, a timedelta or seconds from now, got str 'tomorrow'"),
        (datetime(2026, 1, 1), "at must be a datetime with a time zone"),  # noqa: DTZ001
        (PAST, "at is out of range: datetime"),
    ],
)
def test_a_time_that_is_none_is_refused_when_it_is_set(at: Any, message: str) -> None:
    job = Job("t")
    with pytest.raises(InvalidJob) as caught:
        job.at = at
    assert message in str(caught.value)
    assert job.at is None


# -- what survives ----------------------------------------------------------------------------------------------------

texts = st.text(max_size=8)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
plain_values = st.none() | st.booleans() | numbers | texts
json_values = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
args = st.lists(json_values, max_size=4)
jids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=20)


def after_the_server(document: bytes) -> bytes:
    """What Go makes of JSON: each number a float64, written without a fraction when it has none and is below 1e21."""

    def written(value: Any) -> Any:
        if isinstance(value, float):
            return int(value) if value.is_integer() and abs(value) < 1e21 else value
        if isinstance(value, list):
            return [written(item) for item in value]
        return {key: written(item) for key, item in value.items()} if isinstance(value, dict) else value

    return json.dumps(written(json.loads(document, parse_int=float)) | {"retry": 3}).encode()


def as_json_shapes(value: Any) -> Any:
    """Tuples are lists in JSON, and a number says nothing of its type; a boolean is no number."""
    if isinstance(value, (list, tuple)):
        return [as_json_shapes(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json_shapes(item) for key, item in value.items()}
    return ("number", value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


@quick
@given(args, st.none() | st.dictionaries(texts, json_values, max_size=3))
@example([2**53, -(2**53), 1.0, -0.0, 1e300, 5e-324, "\u2028\x00\x7f<>&", {"": {}}], {})
def test_what_is_accepted_survives_json_and_a_server_of_floats(
    values: list[Any], custom: dict[str, Any] | None
) -> None:
    """D6: PROTOCOL 4"""
    encoded = encode_job(Job("t", values, retry=3, custom=custom))
    json.dumps(json.loads(encoded), ensure_ascii=False).encode()  # no surrogate hides in it
    job = Job.decode(after_the_server(encoded))
    assert as_json_shapes(job.args) == as_json_shapes(values)
    assert as_json_shapes(job.custom) == as_json_shapes(custom)


@settings(max_examples=share_of(40), deadline=None)
@given(
    st.builds(
        Job,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        args,
        jid=jids,
        queue=st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True),
        retry=st.integers(-(2**53), 2**53),
        reserve_for=st.none() | st.integers(1, 86_400),
        at=st.none() | st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=st.timezones()),  # noqa: DTZ001, E501
        backtrace=st.none() | st.integers(0, 2**53),
        custom=st.none() | st.dictionaries(texts, json_values, max_size=3),
    )
)  # fmt: skip
def test_a_job_comes_back_from_its_json_as_it_was(job: Job) -> None:
    again = Job.decode(encode_job(job))
    for name in ("jobtype", "jid", "queue", "retry", "reserve_for", "at", "backtrace"):
        assert getattr(again, name) == getattr(job, name), name
    assert as_json_shapes(again.args) == as_json_shapes(job.args)
    assert as_json_shapes(again.custom) == as_json_shapes(job.custom)
    assert again.to_document() == Job.decode(encode_job(again)).to_document()


@quick
@given(st.text(st.characters()))
def test_a_jid_is_accepted_or_refused_and_never_changed(jid: str) -> None:
    """D3, D4"""
    is_good = len(jid.encode("utf-8", "replace")) >= 8 and not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", jid)
    try:
        document = json.loads(encode_job(Job("t", jid=jid)))
    except InvalidJob:
        assert not is_good
    else:
        assert is_good
        assert document["jid"] == jid


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)])
def test_a_delay_counts_from_now(delay: Any) -> None:
    before = datetime.now(UTC)
    at = Job("t", at=delay).at
    assert at is not None
    assert before + timedelta(seconds=90) <= at <= datetime.now(UTC) + timedelta(seconds=90)
    assert at.tzinfo is UTC


def test_a_time_in_the_past_is_accepted() -> None:
    """PROTOCOL 9: the server runs the job now."""
    assert Job("t", at=NOON - timedelta(days=9000)).at == NOON - timedelta(days=9000)
    assert moment(-5) < datetime.now(UTC)


def test_a_time_of_another_zone_goes_out_as_utc() -> None:
    at = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    job = Job("t", at=at)
    assert job.at == NOON
    assert job.to_document()["at"] == rfc3339(at) == "2026-11-22T12:00:00.250000Z"


def test_a_zone_without_an_offset_is_no_zone() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, when: datetime | None) -> None:
            return None

        dst = tzname = utcoffset

    error = refusal_of(lambda: Job("t", at=NOON.replace(tzinfo=Nowhere())))
    assert "at must be a datetime with a time zone" in str(error)


def test_a_refused_moment_has_the_name_it_was_asked_under() -> None:
    assert str(refusal_of(lambda: moment("x", "reserve_until"))).startswith("reserve_until must be an aware")  # type: ignore[arg-type]


# -- the words of the Enterprise server -------------------------------------------------------------------------------


def test_the_enterprise_words_live_in_custom_and_can_be_chained() -> None:
    job = Job("t", custom={"mine": 1}, jid=JID)
    assert job.unique_for(60).unique_until("start").expires_at(NOON) is job
    assert job.to_document()["custom"] == {
        "mine": 1,
        "unique_for": 60,
        "unique_until": "start",
        "expires_at": "2026-11-22T12:00:00.250000Z",
    }


@pytest.mark.parametrize("seconds", [1, 2**53])
def test_a_job_may_be_unique_for_any_whole_seconds(seconds: int) -> None:
    assert Job("t").unique_for(seconds).custom == {"unique_for": seconds}


@pytest.mark.parametrize("delay", [60, timedelta(minutes=1)])
def test_a_job_may_expire_after_a_delay(delay: Any) -> None:
    before = datetime.now(UTC)
    custom = Job("t").expires_in(delay).custom
    assert custom is not None
    when = datetime.fromisoformat(custom["expires_at"])
    assert before <= when - timedelta(minutes=1) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda job: job.unique_for(0), "unique_for must be whole seconds, at least 1, got int 0"),
        (lambda job: job.unique_for(1.5), "unique_for must be whole seconds, at least 1, got float 1.5"),
        (lambda job: job.unique_for(True), "unique_for must be whole seconds, at least 1, got bool True"),
        (lambda job: job.unique_for(2**53 + 1), "unique_for must be whole seconds"),
        (lambda job: job.unique_until("done"), 'unique_until must be "start" or "success", got str \'done\''),
        (lambda job: job.expires_at(NOON.replace(tzinfo=None)), "expires_at must be a datetime with a time zone"),
        (lambda job: job.expires_at(60), "expires_at must be a datetime with a time zone (datetime.now(UTC) + ...), "),
        (lambda job: job.expires_at(FUTURE), "expires_at is out of range"),
        (lambda job: job.expires_in("soon"), "expires_in must be an aware datetime, a timedelta or seconds from now"),
    ],
)
def test_an_enterprise_word_that_means_nothing_is_refused(ask: Callable[[Job], Job], message: str) -> None:
    job = Job("t")
    assert message in str(refusal_of(lambda: ask(job)))
    assert job.custom is None


# -- what comes back --------------------------------------------------------------------------------------------------


def test_a_job_is_read_as_the_server_writes_it() -> None:
    job = Job.decode(
        b'{"retry":3,"failure":{"retry_count":1,"remaining":1,"failed_at":"2026-11-22T01:52:07.255611047Z",'
        b'"next_at":"2026-11-22T01:53:00.5Z","message":"boom","errtype":"ValueError","backtrace":["a","b"]},'
        b'"custom":{"tenant":"a\\u003cb\\u003e\\u0026c"},"jid":"jid-0123456789","queue":"mail","jobtype":"t",'
        b'"created_at":"2026-11-22T01:52:07.255611047Z","enqueued_at":"2026-11-22T02:52:07+01:00",'
        b'"args":[1,"two",null,true,{"k":[1.5]}],"reserve_for":120,"backtrace":7,"at":"2026-11-22T01:52:00Z"}'
    )
    assert (job.jid, job.jobtype, job.queue, job.retry) == (JID, "t", "mail", 3)
    assert job.args == [1, "two", None, True, {"k": [1.5]}]
    assert (job.reserve_for, job.reservation, job.backtrace) == (120, 120, 7)
    assert job.custom == {"tenant": "a<b>&c"}
    assert job.created_at == datetime(2026, 11, 22, 1, 52, 7, 255_611, tzinfo=UTC)  # PROTOCOL 44: nanoseconds
    assert job.enqueued_at == datetime(2026, 11, 22, 1, 52, 7, tzinfo=UTC)
    assert job.at == datetime(2026, 11, 22, 1, 52, tzinfo=UTC)
    assert job.failure == Failure(
        retry_count=1,
        remaining=1,
        failed_at=datetime(2026, 11, 22, 1, 52, 7, 255_611, tzinfo=UTC),
        next_at=datetime(2026, 11, 22, 1, 53, 0, 500_000, tzinfo=UTC),
        errtype="ValueError",
        message="boom",
        backtrace=("a", "b"),
    )


def test_a_job_pushed_again_keeps_the_time_of_its_first_push() -> None:
    document = Job.decode(received(created_at="2026-11-22T01:52:07.255611047Z", enqueued_at="x")).to_document()
    assert document["created_at"] == "2026-11-22T01:52:07.255611047Z"
    assert "enqueued_at" not in document


def test_what_the_server_leaves_out_has_its_defaults() -> None:
    job = Job.decode(b'{"jid":"a","jobtype":"t","args":[],"retry":null,"queue":""}')
    assert (job.jid, job.queue, job.retry, job.reserve_for, job.custom) == ("a", "default", 25, None, None)


@pytest.mark.parametrize(
    ("retry", "failures", "attempt", "is_last"),
    [
        (25, None, 1, False),
        (0, None, 1, True),
        (-1, None, 1, True),
        (1, None, 1, False),
        (1, 0, 2, True),
        (2, 0, 2, False),
        (3, 2, 4, True),
        (25, 23, 25, False),
        (25, 24, 26, True),
    ],
)
def test_the_last_attempt_is_the_one_whose_failure_is_final(
    retry: int, failures: int | None, attempt: int, is_last: bool
) -> None:
    """PROTOCOL 3: N retries are N + 1 runs, and retry_count is 0 on the first retry."""
    job = Job.decode(received(retry=retry, failure=None if failures is None else {"retry_count": failures}))
    assert (job.attempt, job.is_last_attempt) == (attempt, is_last)


@pytest.mark.parametrize(
    ("reserve_for", "seconds"), [(None, 1_800), (0, 1_800), (-5, 60), (5, 60), (60, 60), (61, 61), (86_400, 86_400)]
)
def test_the_reservation_is_what_the_server_makes_of_it(reserve_for: int | None, seconds: int) -> None:
    """PROTOCOL 8"""
    assert Job.decode(received(reserve_for=reserve_for)).reservation == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22", "2026-11-22T01:52:07", 5, ["x"], True])
def test_a_time_that_is_none_is_none_and_no_error(text: object) -> None:
    """PROTOCOL 9: nobody checks `created_at`."""
    job = Job.decode(received(created_at=text, enqueued_at=text, at=text, failure={"next_at": text}))
    assert (job.created_at, job.enqueued_at, job.at) == (None, None, None)
    assert job.failure == Failure()


def test_a_failure_of_odd_types_is_read_as_far_as_possible() -> None:
    """PROTOCOL 3: a `failure` sent in PUSH is kept as it is."""
    odd = {"retry_count": "3", "remaining": True, "errtype": 5, "message": None, "backtrace": ["a", 1]}
    assert Job.decode(received(failure=odd)).failure == Failure(errtype="5", backtrace=("a", "1"))
    assert Job.decode(received(failure={"backtrace": "text"})).failure == Failure()
    assert Job.decode(received(failure=[1])).failure is None


# -- what cannot be read ----------------------------------------------------------------------------------------------

H9: list[tuple[dict[str, Any], str, str | None]] = [
    ({"jid": None}, "a job's jid must be a non-empty text, got nothing", None),
    ({"jid": ""}, "a job's jid must be a non-empty text, got str ''", None),
    ({"jid": 5}, "a job's jid must be a non-empty text, got int 5", None),
    ({"jobtype": None}, "a job's jobtype must be a non-empty text, got nothing", JID),
    ({"jobtype": ""}, "a job's jobtype must be a non-empty text, got str ''", JID),
    ({"jobtype": ["t"]}, "a job's jobtype must be a non-empty text, got list ['t']", JID),
    ({"args": None}, "a job's args must be a list, got nothing", JID),
    ({"args": {"secret": 1}}, "a job's args must be a list, got dict", JID),
    ({"queue": 5}, "a job's queue must be a text, got int 5", JID),
    ({"retry": "x", "queue": ""}, "a job's retry must be an integer, got str 'x'", JID),
    ({"retry": 1.0}, "a job's retry must be an integer, got float 1.0", JID),
    ({"retry": True}, "a job's retry must be an integer, got bool True", JID),
    ({"reserve_for": "60"}, "a job's reserve_for must be an integer, got str '60'", JID),
    ({"backtrace": [1]}, "a job's backtrace must be an integer, got list [1]", JID),
    ({"custom": ["secret"]}, "a job's custom must be an object, got list", JID),
    ({"jid": "a\r\nb", "args": 1}, "a job's args must be a list, got int", None),
]


@pytest.mark.parametrize(("fields", "message", "jid"), H9, ids=[str(case[0]) for case in H9])
def test_a_received_job_of_wrong_types_is_refused_with_its_jid(
    fields: dict[str, Any], message: str, jid: str | None
) -> None:
    """H9"""
    error = refusal_of(lambda: Job.decode(received(**fields)))
    assert (str(error), error.jid) == (message, jid)


@pytest.mark.parametrize(
    "data",
    [
        b'{"jid":"jid-0123456789","jobtype":"t","args":[',
        b'{"jid":"jid-0123456789","jobtype":"t","args":["\xff"]}',
        b'{"jid":"jid-0123456789","jobtype":"t","args":[' + b"9" * 5000 + b"]}",
        b'{"jid":"jid-0123456789","jobtype":"t","args":' + b"[" * 501 + b"1" + b"]" * 501 + b"}",
        b'{"jid":"jid-0123456789","args":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    ],
    ids=["cut off", "bad UTF-8", "5,000 digits", "501 lists", "5,000 objects"],
)
def test_a_received_job_that_is_no_json_is_refused_with_its_jid(data: bytes) -> None:
    """H8"""
    error = refusal_of(lambda: Job.decode(data))
    assert str(error).startswith(f"expected a job as JSON, got {len(data)} bytes that are none: ")
    assert error.jid == JID
    assert error.__cause__ is not None


@pytest.mark.parametrize(("data", "kind"), [(b"[]", "list"), (b'"x"', "str"), (b"null", "NoneType"), (b"5", "int")])
def test_a_received_job_that_is_no_object_is_refused(data: bytes, kind: str) -> None:
    """H9"""
    error = refusal_of(lambda: Job.decode(data))
    assert (str(error), error.jid) == (f"expected a job as a JSON object, got {kind}", None)


def test_the_text_of_a_job_that_cannot_be_read_holds_none_of_its_arguments() -> None:
    """The text is logged and sent in a FAIL."""
    for data in (
        b'{"jid":"jid-0123456789","jobtype":"t","args":["hunter2"',
        b'{"jid":"jid-0123456789","jobtype":"t","args":{"password":"hunter2"}}',
        b'{"jid":"jid-0123456789","jobtype":"t","args":"hunter2"}',
        b'{"jid":"jid-0123456789","jobtype":"t","args":[],"custom":"hunter2"}',
        b'["hunter2"]',
        b'{"args":["hunter2\xff"]}',
    ):
        assert "hunter2" not in str(refusal_of(lambda data=data: Job.decode(data)))  # type: ignore[misc]


def test_many_brackets_side_by_side_or_in_texts_are_no_depth() -> None:
    values = [[], {}, "[" * 600, '"[{', "\\", {"[[": '\\"]'}] * 200
    assert Job.decode(received(args=values)).args == values


def test_a_large_job_with_many_containers_costs_little_more_memory_than_its_json() -> None:
    """D7: 5 MB in one text took half a second and 600 MB to look for brackets in."""
    data = received(args=["[" * 600 + "x" * 2_000_000])
    tracemalloc.start()
    try:
        Job.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@settings(max_examples=share_of(120), deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b'"', b'"jid"', b":", b",", b'"abcdefgh"', b"\\", b" "])).map(
        b"".join
    )
    | st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["jid", "jobtype", "args", "queue", "retry", "custom"]), inner)
    ).map(lambda value: json.dumps(value).encode())
)  # fmt: skip
def test_any_garbage_is_a_job_or_an_invalid_job(data: bytes) -> None:
    """H8, H9"""
    try:
        job = Job.decode(data)
    except InvalidJob as exc:
        jid = exc.jid
    else:
        jid = None
        assert (type(job.jid), type(job.jobtype), type(job.args)) == (str, str, list)
    assert jid is None or re.fullmatch(r"[^\x00-\x1f\x7f]+", jid)


# -- queue names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "A-z_0.9", "-", "x" * 200])
def test_a_good_queue_name_is_returned(name: str) -> None:
    assert check_queue_name(name) is name


@pytest.mark.parametrize("name", ["", "a b", "a\r\nQUEUE REMOVE b", "a\n", "*", "a/b", "é", "q\u0663", 5, None, b"a"])
def test_a_bad_queue_name_is_refused(name: object) -> None:
    """D1"""
    with pytest.raises(ConfigurationError) as caught:
        check_queue_name(name)
    error = caught.value
    assert str(error) == f"a queue name must be made of A-Z a-z 0-9 . _ -, got {type(name).__name__} {name!a}"


def test_a_time_stamp_is_not_taken_for_seconds_from_now() -> None:
    assert "time stamp" in str(refusal_of(lambda: Job("work", at=1_790_000_000)))
    assert Job("work", at=9 * 365 * 86_400).at is not None
