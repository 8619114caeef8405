from __future__ import annotations

import json

import pytest

from faktory.server.gojson import DocumentError, clean, encode, parse, read_fields, read_list
from faktory.server.goquote import quote


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        *(("0", "0"), ("-0", "-0"), ("-0.0", "-0"), ("1.0", "1"), ("1.50", "1.5"), ("1e3", "1000"), ("25", "25")),
        *(("9007199254740993", "9007199254740992"), ("12345678901234567890", "12345678901234567000")),
        *(("1e-4", "0.0001"), ("1e-5", "0.00001"), ("1e-6", "0.000001"), ("1e-7", "1e-7"), ("123e-9", "1.23e-7")),
        *(("1e20", "100000000000000000000"), ("1e21", "1e+21"), ("-1.5e300", "-1.5e+300"), ("5e-324", "5e-324")),
        *(("123456789012345.6", "123456789012345.6"), ("1234567890123456.7", "1234567890123456.8")),
        *(("999999999999999", "999999999999999"), ("1000000000000000", "1000000000000000")),
    ],
)
def test_numbers_go_through_a_float64(sent: str, stored: str) -> None:
    assert encode(parse(f'[{sent},{{"k":{sent}}}]'.encode())) == f'[{stored},{{"k":{stored}}}]'


def test_text_is_escaped_for_html_and_keys_are_sorted() -> None:
    assert encode(parse('{"b":"<&>\u2028","a":1}'.encode())) == '{"a":1,"b":"\\u003c\\u0026\\u003e\\u2028"}'


def test_lone_surrogates_and_broken_utf8_become_replacement_characters() -> None:
    assert encode(parse(b'["\\ud800x","\xff\xfe","\xe4\xb8","\xed\xa0\x80"]')) == json.dumps(
        ["\ufffdx", "\ufffd\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd"], ensure_ascii=False, separators=(",", ":")
    )
    assert clean("plain") == "plain"
    assert clean("\ud83d\ude00") == "\ufffd\ufffd"


@pytest.mark.parametrize(
    "text", ["", " ", "nul", "NaN", "-Infinity", "[1,]", "{]", "1 2", '"\x01"', "'a'", "01", "[" * 100_000]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse(text.encode())


def test_a_number_beyond_float64_is_refused() -> None:
    with pytest.raises(DocumentError, match="cannot unmarshal number 1e400"):
        parse(b"[1e400]")


def test_null_leaves_plain_fields_and_clears_the_others() -> None:
    fields = {"a": "string", "b": "*int", "c": "[]string", "d": "uint8"}
    assert read_fields(parse(b'{"a":"x","A":null,"b":1,"B":null,"c":["y",null],"d":255}'), fields) == {
        "a": "x",
        "c": ["y", ""],
        "d": 255,
    }
    assert read_fields(None, fields) == {}
    with pytest.raises(DocumentError, match="into Go value of type Thing"):
        read_fields([], fields, "", "Thing")
    with pytest.raises(DocumentError, match="of type uint8"):
        read_fields({"d": 256}, fields)


def test_lists_of_jobs_may_be_null() -> None:
    assert read_list(None, "x") == []
    assert read_list([1], "x") == [1]
    with pytest.raises(DocumentError, match="cannot unmarshal string"):
        read_list("a", "x")


def test_quote_is_gos() -> None:
    assert quote('a"b\\\n\x01\x7f\u200b\U000e0001é<') == '"a\\"b\\\\\\n\\x01\\x7f\\u200b\\U000e0001é<"'
