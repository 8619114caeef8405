from __future__ import annotations

from typing import Any

import pytest

from faktory.cli.goliteral import NoLiteral, read_literal, read_pair


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("1.23456789e+09", 1234567890),
        ("1e-07", 1e-07),
        ("1e+21", 1e21),
        ("true", True),
        ("false", False),
        ("<nil>", None),
        ('""', ""),
        (r'"say \"x\" \\ \n é"', 'say "x" \\ \n é'),
        (r'"\x00\a\v\u2028\U0001f600"', "\x00\x07\x0b\u2028\U0001f600"),
        (r'"\\x41\\a"', r"\x41\a"),
        ("[]interface {}{}", []),
        ('[]interface {}{1, "z", interface {}(nil), []interface {}{true}}', [1, "z", None, [True]]),
        ("map[string]interface {}{}", {}),
        ('map[string]interface {}{"a":1, "b: c":map[string]interface {}{"d":"}"}}', {"a": 1, "b: c": {"d": "}"}}),
    ],
)
def test_a_value_is_read_as_json_had_it(text: str, value: Any) -> None:
    found = read_literal(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1 2",
        '"open',
        "[]interface {}{1",
        "[]interface {}{1 2}",
        'map[string]interface {}{"a" 1}',
        "map[string]interface {}{1:1}",
        r'"\U99999999"',
        r'"\q"',
        "[]interface {}{" * 5_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(NoLiteral):
        read_literal(text)


def test_a_key_may_hold_what_ends_one() -> None:
    assert read_pair("h: i: false") == ("h: i", False)
    assert read_pair('b: "x: 1"') == ("b", "x: 1")
    assert read_pair('a: "b: "c"') == ('a: "b', "c")
    for text in ("no pair", "a: ", "a: b: c"):
        with pytest.raises(NoLiteral):
            read_pair(text)
