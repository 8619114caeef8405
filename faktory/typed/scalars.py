"""How single values travel: numbers and texts, and what becomes one. Pure; used by `convert`.

A converter's `dump` makes what JSON carries unchanged of a value, its `load` the value of what JSON brought. Both raise
`BadValue`, whose path grows on the way out. Nothing is guessed: a bool is no int, and a text is no number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, NoReturn, Self, cast

NoneType: type[None] = type(None)

ABSENT: Any = object()


class BadValue(Exception):
    """A value that does not fit its annotation; `path` leads to it, the innermost part first."""

    def __init__(self, expected: str, value: object = ABSENT, *, came: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        # Not the value itself: this text is logged, and it may be a secret.
        self.came: str = came or type(value).__name__
        self.path: list[str] = []

    def within(self, part: str) -> Self:
        self.path.append(part)
        return self

    def told(self, root: str) -> str:
        """Return the message, with the path from `root` on."""
        return f"{root}{''.join(reversed(self.path))} must be {self.expected}, got {self.came}"


@dataclass(slots=True, eq=False)
class Converter:
    """How the values of one annotation travel."""

    name: str
    """The type, for messages."""
    kind: type[Any] | None
    """The exact type of its values, None when they have several."""
    forms: frozenset[type[Any]]
    """The types of JSON that it makes and takes, as Python's json names them."""
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    is_plain: bool = False
    """True when a value travels as it is, so that an exact type is all there is to check."""
    texts: frozenset[str] | None = None
    """All the texts it makes, when they are few."""


EVERY_FORM: frozenset[type[Any]] = frozenset((NoneType, bool, int, float, str, list, dict))


def _plain(kind: type[Any], name: str) -> Converter:
    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise BadValue(name, value)

    return Converter(name, kind, frozenset((kind,)), check, check, is_plain=True)


def _number() -> Converter:
    def dump(value: Any) -> Any:
        if type(value) is float or type(value) is int:
            return value
        raise BadValue("float", value)

    def load(value: Any) -> Any:
        if type(value) is float:
            return value
        if type(value) is int:  # the server writes 1.0 as 1
            try:
                return float(value)
            except OverflowError:
                raise BadValue("float", came="a number beyond the range of one") from None
        raise BadValue("float", value)

    return Converter("float", float, frozenset((int, float)), dump, load)


def _anything() -> Converter:
    return Converter("Any", None, EVERY_FORM, plain_json, lambda value: value)


def plain_json(value: Any) -> Any:
    """Return `value` when JSON gives it back as it is, whatever its depth."""
    kind = type(value)
    if kind is list:
        for index, item in enumerate(value):
            try:
                plain_json(item)
            except BadValue as exc:
                raise exc.within(f"[{index}]") from None
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise BadValue("a dict whose keys are text", came=f"the key {key!a:.40}")
            try:
                plain_json(item)
            except BadValue as exc:
                raise exc.within(part(key)) from None
    elif kind not in EVERY_FORM:
        raise BadValue("what JSON gives back as it is (text, a number, a bool, None, a list or a dict)", value)
    return value


def served(form: Any) -> Any:
    """Return a form as the server hands it out: whole floats have become ints."""
    if type(form) is float and form.is_integer():
        return int(form)
    if type(form) is list:
        return [served(item) for item in form]
    if type(form) is dict:
        return {key: served(item) for key, item in form.items()}
    return form


def part(key: str) -> str:
    """Return the part of a path that leads to a key."""
    return f".{key}" if key.isidentifier() else f"[{key!a:.80}]"


def _text(
    kind: type[Any],
    words: str,
    write: Callable[[Any], str],
    read: Callable[[str], Any],
    *,
    is_exact: bool = False,
) -> Converter:
    """A type that travels as text; `read` raises ValueError or ArithmeticError for a text that is none."""
    name = kind.__name__

    def dump(value: Any) -> str:
        if type(value) is not kind and (is_exact or not isinstance(value, kind)):
            raise BadValue(name, value)
        text = ""
        try:
            text = write(value)
            # A subclass may hold more than its text says: nanoseconds, say.
            is_kept = type(value) is kind or read(text) == value
        except (ValueError, ArithmeticError):
            is_kept = False
        if not is_kept:
            raise BadValue(f"a {name} that a text can carry", came="one that would not arrive unchanged")
        return text

    def load(value: Any) -> Any:
        if type(value) is not str:
            raise BadValue(f"{name} as text ({words})", value)
        try:
            return read(value)
        except (ValueError, ArithmeticError):
            raise BadValue(f"{name} as text ({words})", came="a text that is none") from None

    return Converter(name, kind, frozenset((str,)), dump, load)


def _day() -> Converter:
    def write(value: date) -> str:
        if isinstance(value, datetime):  # which Python takes for a date
            _refuse()
        return value.isoformat()

    def read(text: str) -> date:
        if len(text) != 10 or text[4] != "-" or text[7] != "-":
            raise ValueError
        return date.fromisoformat(text)

    return _text(date, "2026-01-31", write, read)


def _moment() -> Converter:
    def read(text: str) -> datetime:
        if len(text) <= 10:
            raise ValueError
        return datetime.fromisoformat(text)

    return _text(datetime, "2026-01-31T12:00:00+00:00", lambda value: cast(str, value.isoformat()), read)


def _clock() -> Converter:
    def write(value: time) -> str:
        if value.tzinfo is not None and value.utcoffset() is None:  # a zone whose offset depends on the day
            raise ValueError
        return value.isoformat()

    def read(text: str) -> time:
        if ":" not in text:
            raise ValueError
        return time.fromisoformat(text)

    return _text(time, "12:00:00", write, read)


def _span() -> Converter:
    def dump(value: Any) -> Any:
        if not isinstance(value, timedelta):
            raise BadValue("timedelta", value)
        seconds = value.total_seconds()
        try:
            is_kept = timedelta(seconds=seconds) == value
        except OverflowError:  # rounded up beyond the longest one
            is_kept = False
        if not is_kept:
            raise BadValue("a timedelta that a number of seconds can carry", came="one that would be rounded")
        return int(seconds) if seconds == int(seconds) else seconds

    def load(value: Any) -> Any:
        if type(value) is not int and type(value) is not float:
            raise BadValue("timedelta in seconds", value)
        try:
            return timedelta(seconds=value)
        except (ValueError, OverflowError):
            raise BadValue("timedelta in seconds", came="a number out of range") from None

    return Converter("timedelta", timedelta, frozenset((int, float)), dump, load)


def _bytes() -> Converter:
    from binascii import a2b_base64, b2a_base64

    def read(text: str) -> bytes:
        return a2b_base64(text, strict_mode=True) if text else b""

    return _text(bytes, "base64", lambda value: b2a_base64(value, newline=False).decode(), read, is_exact=True)


def _uuid(kind: type[Any]) -> Converter:
    def read(text: str) -> Any:
        found = kind(text)
        if str(found) != text.lower():
            raise ValueError
        return found

    return _text(kind, "8-4-4-4-12 hexadecimal digits", str, read)


def _decimal(kind: type[Any]) -> Converter:
    def write(value: Any) -> str:
        return str(value) if value.is_finite() else _refuse()

    def read(text: str) -> Any:
        found = kind(text)
        return found if found.is_finite() else _refuse()

    return _text(kind, "19.90", write, read)


def _refuse() -> NoReturn:
    raise ValueError


def _path(kind: type[Any]) -> Converter:
    def dump(value: Any) -> str:
        if not isinstance(value, kind):
            raise BadValue(kind.__name__, value)
        return str(value)

    def load(value: Any) -> Any:
        if type(value) is not str:
            raise BadValue(f"{kind.__name__} as text", value)
        return kind(value)

    return Converter(kind.__name__, kind, frozenset((str,)), dump, load)


_MAKERS: dict[object, Callable[[], Converter]] = {
    Any: _anything,
    object: _anything,
    None: lambda: _plain(NoneType, "None"),
    NoneType: lambda: _plain(NoneType, "None"),
    bool: lambda: _plain(bool, "bool"),
    int: lambda: _plain(int, "int"),
    str: lambda: _plain(str, "str"),
    float: _number,
    bytes: _bytes,
    date: _day,
    datetime: _moment,
    time: _clock,
    timedelta: _span,
}


def scalar(annotation: Any) -> Converter | None:
    """Return the converter of a type of single values, None for any other annotation."""
    maker = _MAKERS.get(annotation)
    if maker is not None:
        return maker()
    if not isinstance(annotation, type):
        return None
    # By their names: uuid, decimal and pathlib are slow to import, and here whoever has the type has imported them.
    module = annotation.__module__.split(".")[0]
    if (module, annotation.__name__) == ("uuid", "UUID"):
        return _uuid(annotation)
    if (module, annotation.__name__) == ("decimal", "Decimal"):
        return _decimal(annotation)
    if module == "pathlib" and hasattr(annotation, "__fspath__"):
        return _path(annotation)
    return None


_TEXTS_APART = frozenset(("date", "datetime", "time", "UUID", "Decimal"))


def may_share_a_text(one: Converter, other: Converter) -> bool:
    """Tell whether two types that travel as text could make the same one of different values."""
    if one.texts is not None or other.texts is not None:
        few, many = (one, other) if one.texts is not None else (other, one)
        return any(_takes_otherwise(many, few, text) for text in few.texts or ())
    return not (one.name in _TEXTS_APART and other.name in _TEXTS_APART)


def _takes_otherwise(many: Converter, few: Converter, text: str) -> bool:
    try:
        found = many.load(text)
    except BadValue:
        return False
    mine = few.load(text)
    return type(found) is not type(mine) or bool(found != mine)
