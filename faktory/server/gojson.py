"""JSON as Go's encoding/json reads and writes it. Pure.

The real server decodes into Go structs and stores what it encodes again, so what comes back differs from what was
sent: keys of objects are sorted, every number went through a float64, `<`, `>` and `&` are escaped.

* `parse` turns bytes into Python values; `read_fields` takes known fields out of an object and checks their types;
* `encode` writes a value.

Anything refused raises `DocumentError`, whose text is what the server says after "invalid JSON: ". Numbers that Python
would write differently are kept as objects of this module between `parse` and `encode`.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, TypeGuard

from .gosyntax import complaint

MAX_DEPTH: Final = 512
"""Deepest nesting of a job's `args` and `custom`; the real server stops at 10,000, Python's own parser near 1,000."""
_INT64: Final = 2**63
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNSAFE: Final = re.compile("[<>&\u2028\u2029]")
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class DocumentError(ValueError):
    """JSON that the server refuses."""


class _Integral(int):
    """A number written as a float, like `25.0`: stored as an integer, refused where an integer is wanted."""

    text: str


class _Number:
    """A number whose text after the server's float64 is not what Python would write."""

    __slots__ = ("source", "text")

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self.text = text


# -- reading -----------------------------------------------------------------------------------------------------


def _read_integer(text: str) -> int | _Number:
    if len(text) < 16 and text != "-0":
        return int(text)
    return _read_unusual(text)


def _read_float(text: str) -> float | _Integral | _Number:
    value = float(text)
    if value.is_integer() and abs(value) < 1e15 and value:
        integral = _Integral(value)
        integral.text = text
        return integral
    if 1e-4 <= abs(value) < 1e15:
        return value
    return _read_unusual(text)


def _read_unusual(text: str) -> int | _Number:
    value = float(text)
    if not isfinite(value):
        raise DocumentError(f"json: cannot unmarshal number {text} into Go value of type float64")
    return _Number(text, _go_float(value))


def _go_float(value: float) -> str:
    """Write a float64 as Go's encoding/json does: the shortest digits, an exponent below 1e-6 and from 1e21."""
    if value == 0:
        return "-0" if str(value)[0] == "-" else "0"
    mantissa, _, exponent = repr(value).partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0)  # how many digits stand before the decimal point
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0") or "0"
    if not 1e-6 <= abs(value) < 1e21:
        power = point - 1
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'-' if power < 0 else '+'}{abs(power)}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(parse_int=_read_integer, parse_float=_read_float, parse_constant=_refuse_constant)


def parse(data: bytes) -> Any:
    """Decode JSON. Bytes that are no UTF-8 become U+FFFD once the value is stored or read by `clean`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
    if not text or text.isspace():
        raise DocumentError("unexpected end of JSON input")
    try:
        return _DECODER.decode(text)
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError("exceeded max depth") from None
    except ValueError as exc:
        raise DocumentError(complaint(data) or str(exc)) from None


def clean(text: str) -> str:
    """Replace lone surrogates, which stand for bytes or escapes that are no characters, as Go does."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def read_fields(value: object, fields: dict[str, str], path: str = "", whole: str = "") -> dict[str, Any]:
    """Return the fields of `value`, an object or null, whose types are named in `fields`.

    Types are Go's: "string", "int", "*int", "uint8", "[]string", "[]interface {}", "map[string]interface {}" and
    "object". Keys match in any case and null leaves a field out, as in Go; so do unknown keys. The first value of a
    wrong type raises `DocumentError`. `path` and `whole` name the place and the type for that error.
    """
    if value is None:
        return {}
    if not is_object(value):
        place = f"{path} of" if path[:1] == "." else "Go value of"  # one of a list, or the whole
        raise DocumentError(f"json: cannot unmarshal {_kind(value).split()[0]} into {place} type {whole}")
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in fields else key.lower().replace("\u017f", "s")
        kind = fields.get(name)
        if kind is None:
            continue
        if item is None:
            if kind[0] in "*[mo":  # a pointer, slice, map or struct pointer becomes nil; null leaves a plain value
                found.pop(name, None)
            continue
        found[name] = _typed(item, kind, f"{path}.{name}" if path else name)
    return found


def read_list(value: object, whole: str) -> list[Any]:
    """Return `value` when it is a list, an empty list for null; else raise `DocumentError`."""
    if is_list(value):
        return value
    if value is None:
        return []
    raise DocumentError(f"json: cannot unmarshal {_kind(value).split()[0]} into Go value of type {whole}")


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """True for a decoded JSON object."""
    return type(value) is dict


def is_list(value: object) -> TypeGuard[list[Any]]:
    """True for a decoded JSON array."""
    return type(value) is list


def _typed(item: Any, kind: str, place: str) -> Any:
    if kind == "string":
        if type(item) is str:
            return clean(item)
    elif kind in ("*int", "int", "uint8"):
        number = integer(item)
        if number is not None and (0 <= number <= 255 if kind == "uint8" else -_INT64 <= number < _INT64):
            return number
        kind = kind.removeprefix("*")
    elif kind == "[]string":
        if is_list(item):
            return [_typed("" if text is None else text, "string", place) for text in item]
    elif is_list(item) if kind == "[]interface {}" else is_object(item):
        return item
    raise DocumentError(f"json: cannot unmarshal {_kind(item)} into Go struct field {place} of type {kind}")


def integer(item: object) -> int | None:
    """Return the integer that `parse` has read; None for anything else, also for one written as a float."""
    if type(item) is int:
        return item
    if isinstance(item, _Number) and len(item.source) <= 20 and item.source.removeprefix("-").isdigit():
        return int(item.source)
    return None


def number(item: object) -> float | None:
    """Return the number that `parse` has read; None for anything else."""
    if isinstance(item, _Number):
        return float(item.source)
    return float(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else None


def _kind(value: object) -> str:
    """Name a JSON value as Go's decoder does in its errors."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (list, dict)):
        return "array" if isinstance(value, list) else "object"
    if isinstance(value, _Integral):
        return f"number {value.text}"
    if isinstance(value, _Number):
        return f"number {value.source}"
    return "number" if value is not None else "null"


# -- writing -----------------------------------------------------------------------------------------------------


class _NeedsCareError(Exception):
    """Raised inside the fast encoder when it meets a number that only the careful one can write."""


def _needs_care(_: object) -> None:
    raise _NeedsCareError


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_needs_care)
_encode_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def encode(value: Any) -> str:
    """Write any value that `parse` gave, or plain text, lists and objects, as Go's encoding/json does."""
    try:
        try:
            text = _ENCODER.encode(value)
        except _NeedsCareError:
            text = _encode_carefully(value)
    except RecursionError:
        raise DocumentError("exceeded max depth") from None
    if _UNSAFE.search(text) is not None:
        text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return clean(text)


def _encode_carefully(value: Any, depth: int = 0) -> str:
    if depth > MAX_DEPTH:
        raise DocumentError("exceeded max depth")
    if isinstance(value, _Number):
        return value.text
    parts: list[str] = []  # filled by loops: a comprehension would take a second frame for each level
    if is_object(value):
        for key in sorted(value):
            parts.append(f"{_encode_text(key)}:{_encode_carefully(value[key], depth + 1)}")  # noqa: PERF401
        return f"{{{','.join(parts)}}}"
    if is_list(value):
        for item in value:
            parts.append(_encode_carefully(item, depth + 1))  # noqa: PERF401
        return f"[{','.join(parts)}]"
    return _ENCODER.encode(value)


def check_depth(text: str) -> None:
    """Refuse JSON that is nested deeper than `MAX_DEPTH`."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKETS.finditer(text):
        mark = match[0]
        if mark in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise DocumentError("exceeded max depth")
        elif mark in ("]", "}"):
            depth -= 1
