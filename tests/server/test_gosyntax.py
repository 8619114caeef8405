"""What the real server (1.10.0) was heard to say of text that is no JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faktory.server.gosyntax import complaint
from tests.share import share_of

HEARD = {
    b"": "unexpected end of JSON input",
    b"{": "unexpected end of JSON input",
    b'{"a"': "unexpected end of JSON input",
    b'"a': "unexpected end of JSON input",
    b'"\\u00': "unexpected end of JSON input",
    b"-": "unexpected end of JSON input",
    b"tru": "unexpected end of JSON input",
    b"{nope": "invalid character 'n' looking for beginning of object key string",
    b"nope": "invalid character 'o' in literal null (expecting 'u')",
    b"trux": "invalid character 'x' in literal true (expecting 'e')",
    b"NaN": "invalid character 'N' looking for beginning of value",
    b"[1,]": "invalid character ']' looking for beginning of value",
    b'{"a":1,}': "invalid character '}' looking for beginning of object key string",
    b"[1 2]": "invalid character '2' after array element",
    b'{"a" 1}': "invalid character '1' after object key",
    b'{"a":1 "b"}': "invalid character '\"' after object key:value pair",
    b"{} x": "invalid character 'x' after top-level value",
    b"01": "invalid character '1' after top-level value",
    b"'a'": r"invalid character '\'' looking for beginning of value",
    b"-x": "invalid character 'x' in numeric literal",
    b"1.x": "invalid character 'x' in numeric literal",
    b"[1e]": "invalid character ']' in numeric literal",
    b"1e+": "unexpected end of JSON input",
    b'"a\tb"': r"invalid character '\t' in string",
    b'"\\+"': r"invalid escape sequence `\+` in string",
    b'"\\u009\\n"': r"invalid escape sequence `\u009\` in string",
    b'"\\u00e\x7f"': r'invalid escape sequence "\\u00e\x7f" in string',
    b'"\\\x98"': r'invalid escape sequence "\\\x98" in string',
    b"\xff": r"invalid character '\xff' looking for beginning of value",
    b"{\xc3\xa9": "invalid character '\N{LATIN SMALL LETTER E WITH ACUTE}' looking for beginning of object key string",
}


@pytest.mark.parametrize("data", HEARD)
def test_the_first_thing_that_cannot_be_is_named(data: bytes) -> None:
    assert complaint(data) == HEARD[data]


@settings(max_examples=share_of(25), deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_not_complained_of(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert complaint(text.encode("utf-8", "surrogatepass")) is None


def test_depth_is_no_limit() -> None:
    assert complaint(b"[" * 100_000 + b"]" * 100_000) is None
    assert complaint(b'{"a":' * 100_000) == "unexpected end of JSON input"


@given(st.binary() | st.text(alphabet='{}[]":,truefalsn0123456789.eE+-\\ ').map(str.encode))
def test_whatever_is_no_json_for_python_is_none_here(data: bytes) -> None:
    try:
        json.loads(data.decode(), parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    except ValueError:
        if not data.strip(b" \t\r\n"):
            assert complaint(data) == "unexpected end of JSON input"
        return
    assert complaint(data) is None
