"""`faktory.protocol.values`: what JSON and the server carry, and how a document that came is read."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from faktory.errors import InvalidJob
from faktory.protocol.values import MAX_DEPTH, MAX_EXACT_INT, check_depth, check_json, check_text, jid_in, parsed

JID = "jid-0123456789"
quick = settings(max_examples=60, deadline=None)


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


def nested(levels: int, leaf: object = 1) -> Any:
    """`leaf` in so many lists."""
    value: Any = leaf
    for _ in range(levels):
        value = [value]
    return value


def refusal_of(value: object, path: str = "args") -> str:
    with pytest.raises(InvalidJob) as caught:
        check_json(value, path, 1)
    return str(caught.value)


def seconds_of(act: Callable[[], object]) -> float:
    start = time.thread_time()
    act()
    return time.thread_time() - start


# -- what may be pushed -----------------------------------------------------------------------------------------------

LOST_AS_TEXT = (
    "which would not arrive as one; send text, a number, a list or a dict (str(x), int(x) of numpy's, x.isoformat(), "
    "an enum's x.value), or declare a typed job (faktory.App), which converts its arguments by their annotations"
)
REFUSED: list[tuple[str, object, str]] = [
    ("D5: NaN", float("nan"), " is nan; JSON has no such number, send None or text"),
    ("D5: Infinity", float("inf"), " is inf; JSON has no such number"),
    ("D5: minus Infinity", float("-inf"), " is -inf; JSON has no such number"),
    ("D5: a datetime", datetime(2026, 11, 22, tzinfo=UTC), f" is a datetime.datetime, {LOST_AS_TEXT}"),
    ("D5: a set", {1}, f" is a builtins.set, {LOST_AS_TEXT}"),
    ("D5: bytes", b"x", f" is a builtins.bytes, {LOST_AS_TEXT}"),
    ("D5: a Decimal", Decimal(1), f" is a decimal.Decimal, {LOST_AS_TEXT}"),
    ("D5: an object", object(), f" is a builtins.object, {LOST_AS_TEXT}"),
    ("a text of its own class, which comes back plain", Colour.RED, f" is a {__name__}.Colour, {LOST_AS_TEXT}"),
    ("a number of its own class", Size.SMALL, f" is a {__name__}.Size, {LOST_AS_TEXT}"),
    ("D6: 2^53 + 1", 2**53 + 1, " is an integer beyond 2^53, which the server would change silently; send it as text"),
    ("D6: -2^53 - 1", -(2**53) - 1, " is an integer beyond 2^53"),
    ("D6: an integer of 5,000 digits", 10**5000, " is an integer beyond 2^53"),
    ("D6: a lone surrogate", "a\ud800b", r" holds a lone surrogate, which the server would change; got 'a\ud800b'"),
    ("D6: a number for a key", {1: "a"}, " has the key int 1; JSON keys are text: convert it before pushing"),
    ("D6: both 1 and '1' for keys", {"1": "a", 1: "b"}, " has the key int 1; JSON keys are text"),
    ("D6: None for a key", {None: "a"}, " has the key NoneType None; JSON keys are text"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_json_or_the_server_would_change_is_refused_with_its_path(value: object, message: str) -> None:
    assert refusal_of([0, {"items": [1, 2, 3, {"price": value}]}]).startswith(f"args[1].items[3].price{message}")
    assert refusal_of({"some key": (value,)}, "custom").startswith(f"custom['some key'][0]{message}")


@quick
@given(
    st.lists(st.integers(0, 3) | st.text(max_size=3), max_size=6),
    st.sampled_from([case[1:] for case in REFUSED if not isinstance(case[1], dict)]),
)
def test_a_refused_value_is_named_by_its_path_wherever_it_is(steps: list[int | str], case: tuple[object, str]) -> None:
    value, message = case
    path = "args[1]"
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if step.isidentifier() else f"[{step!a}]"
    for step in reversed(steps):
        value = [*range(step), value] if isinstance(step, int) else {"": None, step: value}
    assume(all(step != "" for step in steps))
    assert refusal_of(["good", value]).startswith(f"{path}{message}")


def test_a_surrogate_in_a_key_is_refused() -> None:
    """D6"""
    error = refusal_of([{"good": {"bad\ud800": 1}}])
    assert error.startswith(r"the key 'bad\ud800' of args[0].good holds a lone surrogate")


def test_a_text_is_refused_for_a_surrogate_alone() -> None:
    """D6"""
    check_text("plain", "jid")
    check_text("\u2028 \U0001f600 é", "jid")
    with pytest.raises(InvalidJob, match=r"^jid holds a lone surrogate, which the server would change; got 'a\\udfff'"):
        check_text("a\udfff", "jid")


def test_values_at_the_limits_are_accepted() -> None:
    """D6"""
    check_json([MAX_EXACT_INT, -MAX_EXACT_INT, 1e300, -0.0, None, True, "é", {"é": ({},)}], "args", 1)
    check_json(nested(MAX_DEPTH), "args", 1)


def test_containers_below_the_limit_are_refused() -> None:
    """D6: `args` is the first of 500."""
    error = refusal_of(nested(MAX_DEPTH + 1))
    assert re.fullmatch(r"args(\[0\])+\[?\.\.\. is nested more than 500 deep; send a reference instead", error)
    assert "nested more than 500 deep" in refusal_of({"a": nested(MAX_DEPTH)})


def test_a_container_in_itself_is_refused() -> None:
    """D6"""
    loop: list[Any] = []
    loop.append({"again": loop})
    assert "is nested more than 500 deep" in refusal_of(loop)


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['{"a":[1,"é"]}', ' {"a":[1,"é"]}', '{"a":[1,"é"]}\n'])
def test_a_document_is_read_with_or_without_blanks_around_it(text: str) -> None:
    assert parsed(text) == {"a": [1, "é"]}


@pytest.mark.parametrize("text", ["", " ", "<html>", '{"a":1} x', '{"a":1}{}', "[1,", '"a'])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    """H8"""
    with pytest.raises(ValueError, match=r"\(char \d+\)"):
        parsed(text)


def test_a_document_may_be_one_level_deeper_than_what_it_holds() -> None:
    """H8, D6: the document itself is a level."""
    check_depth(b'{"args":%b%b}' % (b"[" * MAX_DEPTH, b"]" * MAX_DEPTH))
    with pytest.raises(ValueError, match=r"^nested more than 500 deep$"):
        check_depth(b'{"args":%b%b}' % (b"[" * (MAX_DEPTH + 1), b"]" * (MAX_DEPTH + 1)))
    with pytest.raises(ValueError, match=r"^nested more than 500 deep$"):
        check_depth(b'{"a":' * (MAX_DEPTH + 2))


def test_many_brackets_side_by_side_or_in_texts_are_no_depth() -> None:
    check_depth(b"1")
    check_depth(json.dumps([[], {}, "[" * 600, '"[{', "\\", {"[[": '\\"]'}] * 200).encode())


H8: list[tuple[str, bytes, str | None]] = [
    ("nothing", b"", None),
    ("no JSON", b"<html>", None),
    ("cut off", b'{"jid":"jid-0123456789","jobtype":"t","args":[', JID),
    ("cut off in a text", b'{"jid":"jid-0123456789","jobtype":"t', JID),
    ("cut off in the jid", b'{"jobtype":"t","jid":"jid-0123', None),
    ("spaces", b'{ "JID" :\n "jid-0123456789", nonsense', JID),
    ("an escaped jid", b'{"jid":"a\\u0062\\"\\/c", nonsense', 'ab"/c'),
    ("a jid of bad UTF-8", b'{"jid":"jid-\xff\xfe", nonsense', None),
    ("a jid with a line break", b'{"jid":"jid-\\n-0123", nonsense', None),
    ("a jid with an escape that JSON has not", b'{"jid":"jid-\\N-0123", nonsense', None),
    ("an empty jid", b'{"jid":"", nonsense', None),
    ("a number for a jid", b'{"jid":12345678, nonsense', None),
    ("bad UTF-8", b'{"jid":"jid-0123456789","jobtype":"t","args":["\xff"]}', JID),
    ("an integer of 5,000 digits", b'{"jid":"jid-0123456789","jobtype":"t","args":[' + b"9" * 5000 + b"]}", JID),
    ("nested 5,000 deep", b'{"jid":"jid-0123456789","args":' + b"[" * 5000 + b"]" * 5000 + b"}", JID),
    ("nested objects", b'{"jid":"jid-0123456789","args":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", JID),
    ("jid last", b'{"args":' + b"[" * 5000 + b"]" * 5000 + b',"jid":"jid-0123456789"}', JID),
    ("the jid of another job in custom", b'{"custom":{"jid":"other-job-1"},"jid":"jid-0123456789", nonsense', JID),
    ("only the jid of another job", b'{"custom":{"jid":"other-job-1"},"args":[{"jid":"other-job-2"}', None),
    ("a jid quoted in a text", b'{"note":"\\"jid\\":\\"other-job-1\\"","jid":"jid-0123456789", nonsense', JID),
    ("brackets in a text", b'{"note":"]}]}{[","jid":"jid-0123456789", nonsense', JID),
]  # fmt: skip


@pytest.mark.parametrize(("data", "jid"), [case[1:] for case in H8], ids=[case[0] for case in H8])
def test_the_jid_of_a_broken_document_is_found(data: bytes, jid: str | None) -> None:
    """H8: and none rather than that of another job, which a FAIL would hit."""
    assert jid_in(data) == jid


def test_the_search_for_a_jid_is_bounded() -> None:
    """H8"""
    assert jid_in(b'{"args":["%b"],"jid":"jid-0123456789"' % (b"x" * 2**20)) is None
    assert jid_in(b'{"args":["%b"],"jid":"jid-0123456789"' % (b"x" * 2**19)) == JID
    long = "j" * 513
    assert jid_in(b'{"jid":"%b", nonsense' % long.encode()) is None
    assert jid_in(b'{"jid":"%b", nonsense' % long[1:].encode()) == long[1:]


@quick
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=20),
    st.dictionaries(st.sampled_from(["jid", "a", "jobtype"]), st.text(max_size=8)),
    st.integers(0, 300),
)
def test_a_jid_found_in_a_broken_document_is_never_another_ones(jid: str, custom: Mapping[str, Any], end: int) -> None:
    """H8"""
    document = json.dumps({"custom": custom, "args": [custom], "jid": jid, "jobtype": "t"}).encode()
    assert jid_in(document[: end % len(document)]) in (None, jid)
    assert jid_in(document[:-1]) == jid


def search(data: bytes) -> None:
    """Look through a document as `Job.decode` does with one that it refuses."""
    try:
        check_depth(data)
    except ValueError:
        assert data.startswith(b"[[")
    jid_in(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[]" * 600 + b'"' + b'\\"' * 100_000,
        b"[]" * 600 + b'"' * 200_001,
        b"[]" * 600 + b'"jid"' * 50_000,
        b"[]" * 600 + b'"jid":"' + b"\\u0061" * 50_000,
        b"[]" * 600 + b'"jid"' + b" " * 200_000,
        b"[" * 300_000,
        b"[]" * 300_000,
        b"[" * 600 + b'"' + b"x" * 2_000_000 + b'"',
    ],
    ids=["quotes", "texts", "jid keys", "a long jid", "spaces", "open", "pairs", "a long text"],
)
def test_a_hostile_document_is_read_in_linear_time(data: bytes) -> None:
    """H8: the first of these took time with the square of its length: hours for a bulk string of the limit."""
    assert seconds_of(lambda: search(data)) < 1.0
