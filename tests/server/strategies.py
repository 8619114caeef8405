"""Hypothesis strategies for what clients may say: JSON as text, so that odd numbers and escapes survive."""

from __future__ import annotations

from hypothesis import strategies as st

NUMBERS = [
    *("0", "-0", "1", "-1", "25", "1.0", "1.5", "-2.50", "1e3", "1E+2", "1e-4", "0.00001", "1e-6", "1e-7", "123e-9"),
    *("0.1", "3.141592653589793", "9007199254740992", "9007199254740993", "12345678901234567890", "1e15", "1e16"),
    *("123456789012345.6", "1234567890123456.7", "1e20", "1e21", "123456789012345678901234567890", "5e-324"),
    *("1.7976931348623157e308", "999999999999999", "1000000000000000", "-1e21", "-123e-9", "100000000000000000000.0"),
]
TEXTS = [
    *(
        '""',
        '"a"',
        '"two words"',
        '"<b>&</b>"',
        '"\\u003c"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud83d\\ude00"',
        '"😀"',
    ),
    *('"\\u0000\\u0001\\u001f"', '"\\b\\f\\n\\r\\t"', '"\\/\\\\\\""', '"\\u2028\\u2029"', '"\x7f"', '"é"', '"\\u00e9"'),
]
WRONG = ["nul", "tru", "NaN", "Infinity", "-", "01", "1.", ".5", '"\\x"', '"', "[", "{", "{]", "[1,]", '{"a"}', "1e400"]

scalars = st.sampled_from([*NUMBERS, *TEXTS, "null", "true", "false"])


def _array(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def _object(items: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{key}:{value}" for key, value in items) + "}"


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = st.sampled_from(TEXTS)
    pairs = st.lists(st.tuples(keys, inner), max_size=3, unique_by=lambda pair: pair[0])
    return st.lists(inner, max_size=3).map(_array) | pairs.map(_object)


values = st.recursive(scalars, _deeper, max_leaves=6)
"""Any JSON that can be decoded, but for keys of one object that fall together after decoding."""
arrays = st.lists(values, max_size=3).map(_array)
anything = st.one_of(values, st.sampled_from(WRONG))

JIDS = [f"job-{number:08d}" for number in range(6)]
QUEUES = ["default", "high", "low", "q.1_x-Y"]
JOBTYPES = ["resize", "mail", "a<b>", 't"q', "t[1]", "ü"]
TIMES = ['"2099-01-01T00:00:00Z"', '"2098-06-30T23:59:59.123456789+02:00"']
PAST = ['"2001-01-01T00:00:00Z"', '"0000-01-01T00:00:00Z"', '"2001-01-01T1:00:00,5-11:30"']
BAD_TIMES = [
    '"tomorrow"',
    '"2099-01-01 00:00:00Z"',
    '"2099-01-01T00:00:00"',
    '"2099-02-30T00:00:00Z"',
    '"2099-01-01t00:00:00z"',
]
