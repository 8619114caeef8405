"""How values of several parts travel: containers, classes with fields, choices, unions. Pure; used by `convert`.

A union's members must be told apart by what JSON brings: those that never can be are refused when it is declared, the
others when a value is sent that would arrive as another member's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from .scalars import EVERY_FORM, BadValue, Converter, NoneType, may_share_a_text, part, served


class Unsupported(Exception):
    """An annotation whose values cannot travel; the text says why and what to do."""


# -- containers -------------------------------------------------------------------------------------------------------
def sequence(name: str, accepted: tuple[type[Any], ...], build: type[Any], item: Converter) -> Converter:
    is_plain, only, dump_item, load_item = item.is_plain, {item.kind}, item.dump, item.load
    is_set = build in (set, frozenset)
    words = name if len(accepted) == 1 else f"{name} (a {' or '.join(kind.__name__ for kind in accepted)})"

    def dump(value: Any) -> Any:
        if type(value) not in accepted:
            raise BadValue(words, value)
        is_ready = is_plain and set(map(type, value)) <= only  # the common case, without a call per item
        found = list(value) if is_ready else _each(value, dump_item)
        if is_set:
            try:
                found.sort()  # one order in all processes: `unique_for` compares the arguments
            except TypeError:
                found.sort(key=repr)
        return found

    def load(value: Any) -> Any:
        if type(value) is not list:
            raise BadValue(f"{name} as a list", value)
        found = value if is_plain and set(map(type, value)) <= only else _each(value, load_item)
        try:
            return found if build is list else build(found)
        except TypeError:
            raise BadValue(name, came="items that no set can hold") from None

    return Converter(name, build, frozenset((list,)), dump, load)


def _each(values: Any, change: Callable[[Any], Any]) -> list[Any]:
    found: list[Any] = []
    try:
        for value in values:
            found.append(change(value))  # noqa: PERF401  # how many there are tells which one is bad
    except BadValue as exc:
        raise exc.within(f"[{len(found)}]") from None
    return found


def row(name: str, kind: type[Any], items: list[Converter], least: int, build: Callable[[list[Any]], Any]) -> Converter:
    dumps, loads = [item.dump for item in items], [item.load for item in items]

    def each(value: Any, changes: list[Callable[[Any], Any]]) -> list[Any]:
        found: list[Any] = []
        try:
            for part_of, change in zip(value, changes, strict=False):
                found.append(change(part_of))
        except BadValue as exc:
            raise exc.within(f"[{len(found)}]") from None
        return found

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            raise BadValue(name, value)
        if len(value) != len(items):
            raise BadValue(name, came=f"{len(value)} items")
        return each(value, dumps)

    def load(value: Any) -> Any:
        if type(value) is not list:
            raise BadValue(f"{name} as a list", value)
        if not least <= len(value) <= len(items):
            raise BadValue(f"{name} as a list", came=f"{len(value)} items")
        return build(each(value, loads))

    return Converter(name, kind, frozenset((list,)), dump, load)


def mapping(key: Converter, item: Converter) -> Converter:
    name = f"dict[{key.name}, {item.name}]"
    if key.forms == {int}:
        write_key, read_key = _int_keys(key)
    elif key.forms == {str} or key.forms == EVERY_FORM:
        write_key, read_key = key.dump, key.load
    else:
        raise Unsupported(f"{name}; keys are text in JSON: use str, int, or a type that travels as one of them")

    def dump(value: Any) -> Any:
        if type(value) is not dict:
            raise BadValue(name, value)
        found: dict[str, Any] = {}
        for a_key, an_item in value.items():
            try:
                text = write_key(a_key)
                if type(text) is not str:
                    raise BadValue("text", a_key)
            except BadValue as exc:
                raise BadValue(f"a dict whose keys are {exc.expected}", came=f"a key of type {exc.came}") from None
            try:
                found[text] = item.dump(an_item)
            except BadValue as exc:
                raise exc.within(part(text)) from None
        if len(found) != len(value):
            raise BadValue(name, came="two keys that are the same text")
        return found

    def load(value: Any) -> Any:
        if type(value) is not dict:
            raise BadValue(name, value)
        found: dict[Any, Any] = {}
        for text, an_item in value.items():
            try:
                a_key = read_key(text)
            except BadValue as exc:
                raise BadValue(f"a dict whose keys are {exc.expected}", came=exc.came) from None
            try:
                found[a_key] = item.load(an_item)
            except BadValue as exc:
                raise exc.within(part(text)) from None
        return found

    return Converter(name, dict, frozenset((dict,)), dump, load)


def _int_keys(key: Converter) -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    def write(value: Any) -> str:
        return str(key.dump(value))

    def read(text: str) -> Any:
        try:
            number = int(text)
        except ValueError:
            number = None
        if str(number) != text:
            raise BadValue(f"{key.name} as text", came="a text that is none")
        return key.load(number)

    return write, read


# -- the converters of classes ----------------------------------------------------------------------------------------


def record(
    name: str,
    kind: type[Any],
    fields: list[tuple[str, Converter, bool]],
    take: Callable[[Any, str], Any],
    build: Callable[[dict[str, Any]], Any],
) -> Converter:
    names = {field for field, _, _ in fields}
    is_dict = kind is dict

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            raise BadValue(name, value)
        if is_dict:
            check_keys(value)
        found: dict[str, Any] = {}
        for field, converter, _ in fields:
            if not is_dict or field in value:
                try:
                    found[field] = converter.dump(take(value, field))
                except BadValue as exc:
                    raise exc.within(part(field)) from None
        return found

    def load(value: Any) -> Any:
        if type(value) is not dict:
            raise BadValue(f"{name} as an object", value)
        check_keys(value)
        found: dict[str, Any] = {}
        for field, converter, _ in fields:
            if field in value:
                try:
                    found[field] = converter.load(value[field])
                except BadValue as exc:
                    raise exc.within(part(field)) from None
        try:
            return build(found)
        except (ValueError, TypeError) as exc:  # its own checks
            raise BadValue(f"what {name} accepts", came=f"{type(exc).__name__}: {exc}") from exc

    def check_keys(value: dict[Any, Any]) -> None:
        for field, _, needed in fields:
            if needed and field not in value:
                raise BadValue(f"{name} with the key {field!a}", came="none")
        unknown = [key for key in value if key not in names]
        if unknown:  # kept silently from the handler it would be lost
            raise BadValue(f"{name}", came=f"the unknown key {unknown[0]!a:.80}")

    return Converter(name, kind, frozenset((dict,)), dump, load)


def enumeration(kind: type[enum.Enum]) -> Converter:
    """An enum travels as its values when all of them are plain, else by its names."""
    name = kind.__name__
    if issubclass(kind, enum.Flag):

        def load_flag(value: Any) -> Any:
            if type(value) is int:
                try:
                    return kind(value)
                except ValueError:
                    pass
            raise BadValue(f"{name} as its number", value)

        return Converter(name, kind, frozenset((int,)), lambda value: _exact(kind, value).value, load_flag)
    members = list(kind)
    by_value = all(type(member.value) in (str, int, bool, float, NoneType) for member in members)
    written = {(kind, member): member.value if by_value else member.name for member in members}
    read = {(type(form), form): member for (_, member), form in written.items()}
    shown = ", ".join(ascii(form) for form in list(written.values())[:10])
    return choice(f"{name} ({shown}{', ...' if len(members) > 10 else ''})", kind, written, read)


def _exact(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise BadValue(kind.__name__, value)
    return value


def choice(
    words: str,
    kind: type[Any] | None,
    written: dict[tuple[type[Any], Any], Any],
    read: dict[tuple[type[Any], Any], Any],
) -> Converter:
    def dump(value: Any) -> Any:
        try:
            return written[type(value), value]
        except (KeyError, TypeError):
            raise BadValue(words, value) from None

    def load(value: Any) -> Any:
        try:
            found = read.get((type(value), value), read)
            if found is read and type(value) is int:
                found = read.get((float, value), read)  # the server writes 1.0 as 1
        except TypeError:
            raise BadValue(words, value) from None
        if found is read:
            raise BadValue(words, came=f"another {type(value).__name__}")
        return found

    forms = frozenset(type(form) for form in written.values())
    texts = frozenset(form for form in written.values() if type(form) is str)
    return Converter(words, kind, forms | ({int} if float in forms else set()), dump, load, texts=texts)


_NUMBERS = frozenset((int, float))


# -- unions -----------------------------------------------------------------------------------------------------------


def union(members: list[Converter]) -> Converter:
    """One of several types. Raises `Unsupported` for members that JSON cannot tell apart."""
    name = " | ".join(member.name for member in members)
    _check_apart(name, members)
    some = [member for member in members if member.kind is not NoneType]
    if len(some) == 1 < len(members):
        return _optional(name, some[0])
    forms = frozenset[type[Any]]().union(*(member.forms for member in members))
    # An int is taken as one where there is an int, and every member that takes some values comes before those that
    # take all: `Literal["all"] | str`, `Item | Any`.
    ordered = sorted(members, key=lambda member: (member.forms == EVERY_FORM, member.kind is str, member.kind is float))

    def dump(value: Any) -> Any:
        kind = type(value)
        exact = [member for member in ordered if member.kind is kind]
        refused: BadValue | None = None
        for member in (*exact, *(other for other in ordered if other.kind is not kind)):
            try:
                form = member.dump(value)
            except BadValue as exc:
                refused = exc if len(exact) == 1 and member is exact[0] else refused
                continue
            return checked(value, form, member)
        raise refused or BadValue(name, value)

    def checked(value: Any, form: Any, member: Converter) -> Any:
        form_there = served(form)
        if sum(type(form_there) in other.forms for other in ordered) > 1:
            found, taker = pick(form_there)
            if taker is not member and not _is_same(found, value):
                raise BadValue(name, came=f"a {member.name} that would arrive as {taker.name}")
        return form

    def pick(form: Any) -> tuple[Any, Converter]:
        candidates = [member for member in ordered if type(form) in member.forms]
        refused: BadValue | None = None
        for member in candidates:
            try:
                return member.load(form), member
            except BadValue as exc:
                refused = exc
        if len(candidates) == 1 and refused is not None:
            raise refused
        raise BadValue(name, form) from refused

    return Converter(name, None, forms, dump, lambda form: pick(form)[0])


def _is_same(found: Any, value: Any) -> bool:
    """Tell whether a value has arrived as it was; a whole float may have become an int where both are wanted."""
    return bool({type(found), type(value)} in ({type(value)}, {int, float}) and found == value)


def _optional(name: str, some: Converter) -> Converter:
    dump, load = some.dump, some.load
    return Converter(
        name,
        None,
        some.forms | {NoneType},
        lambda value: None if value is None else dump(value),
        lambda value: None if value is None else load(value),
    )


def _check_apart(name: str, members: list[Converter]) -> None:
    for index, one in enumerate(members):
        for other in members[index + 1 :]:
            if one.forms == {str} == other.forms and may_share_a_text(one, other):
                shared = "text"
            elif one.forms == {list} == other.forms and one.kind is not other.kind:
                shared = "a list"
            elif one.forms | other.forms <= _NUMBERS and one.forms & other.forms and not _are_numbers(one, other):
                shared = "a number"
            else:
                continue
            raise Unsupported(
                f"{name}, in which {one.name} and {other.name} both travel as {shared}, so that a worker could not "
                "tell them apart; use one of them, or dataclasses that hold them"
            )


def _are_numbers(one: Converter, other: Converter) -> bool:
    return one.kind is other.kind or {one.kind, other.kind} == {int, float}
