"""Classes that convert themselves, known by `model_dump` and `model_validate` alone, and whether values arrive. Pure.

What a model makes of itself need not be all there is to it: secrets that are masked, fields that are left out, the
fields of a subclass, names that are written and not read. So what is about to be sent is read back and compared.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from typing import Any, cast

from .scalars import EVERY_FORM, BadValue, Converter, NoneType, part, plain_json, served


def model(name: str, kind: type[Any]) -> Converter:
    """Return the converter of a class of pydantic's shape."""
    taken = inspect.signature(kind.model_dump).parameters
    wanted = {"mode": "json", "by_alias": True, "round_trip": True}
    options = {key: value for key, value in wanted.items() if key in taken}
    has_json = hasattr(kind, "model_validate_json")  # where strict models take what JSON has no type for

    def load(form: Any) -> Any:
        try:
            return kind.model_validate_json(json.dumps(form)) if has_json else kind.model_validate(form)
        except (ValueError, TypeError, LookupError) as exc:
            raise _told_by_model(name, exc) from exc

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            raise BadValue(name, value)
        form = plain_json(value.model_dump(**options))
        try:
            found = load(served(form))
        except BadValue as exc:
            exc.came += ": its model_dump writes what its model_validate does not read"
            raise
        check_arrives(found, value)
        return form

    return Converter(name, kind, EVERY_FORM - {NoneType}, dump, load)


def _told_by_model(name: str, exc: Exception) -> BadValue:
    errors: Any = getattr(exc, "errors", None)
    first: Any = cast(Any, errors)()[0] if callable(errors) else {}
    bad = BadValue(f"what {name} accepts", came=str(first.get("msg", type(exc).__name__)))
    for step in reversed(first.get("loc", ())):
        bad.within(f"[{step}]" if isinstance(step, int) else part(str(step)))
    return bad


def constructed(made: Converter, kept: list[str]) -> Converter:
    """Return a dataclass's converter that looks whether the class makes the same again of what was sent.

    For those that do more than to store what they are given. `kept` are the fields that are not given.
    """

    def dump(value: Any) -> Any:
        form = made.dump(value)
        found = made.load(served(form))
        check_arrives(made.dump(found), form)
        for name in kept:
            try:
                check_arrives(getattr(found, name, None), getattr(value, name, None))
            except BadValue as exc:
                exc.expected += ", or have compare=False"
                raise exc.within(part(name)) from None
        return form

    return replace(made, dump=dump)


def check_arrives(found: Any, value: Any) -> None:
    """Raise `BadValue` unless what was read back is equal to what is sent; its path leads to the first difference.

    Models, dataclasses and classes that cannot be compared go by their attributes. What a model calls private does not
    travel, and does not count.
    """
    if _are_equal(found, value):
        return
    parts = _parts(found, value) if type(found) is type(value) else []
    for step, found_part, part_of in parts:
        try:
            check_arrives(found_part, part_of)
        except BadValue as exc:
            raise exc.within(step) from None
    if not parts:
        there, here = type(found).__name__, type(value).__name__
        came = "changed" if there == here else f"as {there}"
        raise BadValue("what arrives as it was sent", came=f"a value of type {here} that would arrive {came}")


def _are_equal(found: Any, value: Any) -> bool:
    if isinstance(value, datetime) and isinstance(found, datetime):
        # Python finds a time in the hour that a clock is put back unequal to the same one in another zone.
        return found == value or found.isoformat() == value.isoformat()
    return bool(found == value or (found != found and value != value))  # NaN, which the job refuses


def _parts(found: Any, value: Any) -> list[tuple[str, Any, Any]]:
    """Return what two values of one type are made of, with the steps that lead there; nothing for what is one piece."""
    kind: type[Any] = type(value)
    if kind is list or kind is tuple:
        pairs = zip(found, value, strict=True) if len(found) == len(value) else ()
        return [(f"[{index}]", *pair) for index, pair in enumerate(pairs)]
    if kind is dict:
        keys = value.keys() if value.keys() == found.keys() else ()
        return [(part(str(key)), found[key], value[key]) for key in keys]
    if is_dataclass(kind):
        names = [field.name for field in fields(kind) if field.compare]
        return [(part(name), getattr(found, name, None), getattr(value, name, None)) for name in names]
    is_model = hasattr(kind, "model_dump")
    if not is_model and cast(Any, kind.__eq__) is not object.__eq__:
        return []  # its own word counts
    there, here = (dict(getattr(one, "__dict__", {})) for one in (found, value))
    parts = [(part(key), there.get(key), here.get(key)) for key in {**here, **there}]
    return [*parts, *_extras(found, value)] if is_model else parts


def _extras(found: Any, value: Any) -> list[tuple[str, Any, Any]]:
    """Return what pydantic keeps apart: values that no field is declared for."""
    there, here = (getattr(one, "model_extra", None) for one in (found, value))
    return [] if here is there is None else [("", there, here)]
