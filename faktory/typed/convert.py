"""Annotations to converters: what an argument of a typed job becomes on its way through JSON, and back. Pure.

Annotations are read here; `scalars`, `shapes` and `models` make the converters. Abstract containers arrive as list,
dict or frozenset.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections import ChainMap, abc
from collections.abc import Callable, Mapping
from typing import Any, cast

from .models import constructed, model
from .scalars import EVERY_FORM, Converter, scalar
from .shapes import Unsupported, choice, enumeration, mapping, record, row, sequence, union

_SEQUENCES: dict[object, tuple[tuple[type[Any], ...], type[Any]]] = {
    list: ((list,), list),
    set: ((set,), set),
    frozenset: ((frozenset,), frozenset),
    abc.Sequence: ((list, tuple), list),
    abc.MutableSequence: ((list,), list),
    abc.Collection: ((list, tuple), list),
    abc.Iterable: ((list, tuple), list),
    abc.Set: ((frozenset, set), frozenset),
    abc.MutableSet: ((set,), set),
}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")


class Compiler:
    """Makes converters. `names` are local names that the annotations of classes local to `module` may use as text."""

    def __init__(self, names: Mapping[str, Any] | None = None, module: str = "") -> None:
        self._names = dict(names or {})
        self._module = module
        self._known: dict[Any, Converter] = {}  # also those still being made: types can contain themselves

    def of(self, annotation: Any) -> Converter:
        """Return the converter of an annotation. Raises `Unsupported`, and NameError for a name not there yet."""
        found = scalar(annotation) if _is_hashable(annotation) else None
        if found is not None:
            return found
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated or getattr(origin, "_name", None) in _QUALIFIERS:
            return self.of(arguments[0])
        if hasattr(annotation, "__supertype__"):  # a NewType
            return self.of(annotation.__supertype__)
        if hasattr(annotation, "__value__") or hasattr(origin, "__value__"):  # type X = ...
            return self._within(annotation, lambda: self._alias(annotation, origin, arguments))
        if origin is typing.Union or origin is types.UnionType:
            return union([self.of(member) for member in arguments])
        if origin is typing.Literal:
            return self._literal(arguments)
        container = self._container(annotation if origin is None else origin, arguments)
        if container is not None:
            return container
        kind = annotation if origin is None else origin
        if isinstance(kind, type):
            made = self._class(annotation, kind, arguments)
            if made is not None:
                return made
        raise Unsupported(
            f"{name_of(annotation)}, which cannot travel as JSON; use plain types, a dataclass, or a class with "
            "model_dump and model_validate"
        )

    # -- containers ---------------------------------------------------------------------------------------------

    def _container(self, origin: Any, arguments: tuple[Any, ...]) -> Converter | None:
        if origin is tuple:
            return self._tuple(arguments)
        if origin in _SEQUENCES:
            accepted, build = _SEQUENCES[origin]
            item = self.of(arguments[0] if arguments else Any)
            return sequence(f"{origin.__name__}[{item.name}]", accepted, build, item)
        if origin in _MAPPINGS:
            key, value = (self.of(argument) for argument in arguments or (Any, Any))
            return mapping(key, value)
        return None

    def _tuple(self, arguments: tuple[Any, ...]) -> Converter:
        if not arguments:
            arguments = (Any, ...)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = self.of(arguments[0])
            return sequence(f"tuple[{item.name}, ...]", (tuple,), tuple, item)
        items = [self.of(argument) for argument in arguments if argument != ()]
        name = f"tuple[{', '.join(item.name for item in items)}]"
        return row(name, tuple, items, len(items), tuple)

    def _literal(self, arguments: tuple[Any, ...]) -> Converter:
        written: dict[tuple[type[Any], Any], Any] = {}
        read: dict[tuple[type[Any], Any], Any] = {}
        for value in arguments:
            form = self.of(type(value)).dump(value)
            if read.setdefault((type(form), form), value) is not value:
                raise Unsupported(f"a Literal in which {value!a} cannot be told from another once both are JSON")
            written[type(value), value] = form
        return choice(f"one of {', '.join(map(ascii, arguments))}", None, written, read)

    # -- classes --------------------------------------------------------------------------------------------------

    def _class(self, annotation: Any, kind: type[Any], arguments: tuple[Any, ...]) -> Converter | None:
        if issubclass(kind, enum.Enum):
            return enumeration(kind)
        if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):  # a TypedDict, of typing_extensions too
            return self._within(
                annotation, lambda: self._typed_dict(annotation, kind, arguments), dict, frozenset((dict,))
            )
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._within(annotation, lambda: self._named_tuple(kind, arguments), kind, frozenset((list,)))
        if hasattr(kind, "model_dump") and hasattr(kind, "model_validate"):
            return model(name_of(annotation), kind)
        if dataclasses.is_dataclass(kind):
            return self._within(
                annotation, lambda: self._dataclass(annotation, kind, arguments), kind, frozenset((dict,))
            )
        return None

    def _within(
        self,
        annotation: Any,
        make: Callable[[], Converter],
        kind: type[Any] | None = None,
        forms: frozenset[type[Any]] = EVERY_FORM,
    ) -> Converter:
        """Make a converter that its own parts may ask for meanwhile: what it will take and make is known by then."""
        if annotation in self._known:
            return self._known[annotation]
        draft = Converter(name_of(annotation), kind, forms, _unmade, _unmade)
        # Through the draft at each call: `dump` and `load` are not there yet.
        self._known[annotation] = Converter(
            draft.name, kind, forms, lambda value: draft.dump(value), lambda value: draft.load(value)
        )
        try:
            made = make()
        except BaseException:
            del self._known[annotation]
            raise
        draft.dump, draft.load = made.dump, made.load
        self._known[annotation] = made
        return made

    def _alias(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Converter:
        if origin is None:
            return self.of(annotation.__value__)
        return self.of(_filled(origin.__value__, dict(zip(origin.__type_params__, arguments, strict=True))))

    def _hints(self, kind: type[Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
        hints = self._written(kind)
        known = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
        return {name: _filled(hint, known) for name, hint in hints.items()}

    def _written(self, kind: type[Any]) -> dict[str, Any]:
        """Return the annotations of a class, each read where it was written: in its own class, and that in its module.

        Raises NameError for a name not there yet.
        """
        hints: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            written = inspect.get_annotations(base)
            if not written:
                continue
            module: dict[str, Any] = getattr(sys.modules.get(base.__module__), "__dict__", {})
            is_local = "<locals>" in base.__qualname__ and base.__module__ == self._module
            scopes: list[Any] = [{parameter.__name__: parameter for parameter in getattr(base, "__type_params__", ())}]
            if is_local:
                scopes.append(self._names)
            if not hasattr(kind, "__required_keys__"):  # what a TypedDict has inherited knows its module by itself
                scopes += [module, vars(base)]
            hints |= read_hints(written, module, ChainMap(*scopes))
        return hints

    def _dataclass(self, annotation: Any, kind: type[Any], arguments: tuple[Any, ...]) -> Converter:
        missing = dataclasses.MISSING
        taken = inspect.signature(kind.__init__).parameters
        for name in kind.__dataclass_fields__.keys() - {field.name for field in dataclasses.fields(kind)}:
            if name in taken:  # a ClassVar is not
                raise Unsupported(f"{name_of(annotation)}, whose InitVar {name!a} could not be sent")
        hints = self._hints(kind, arguments)
        fields = [
            (field.name, self.of(hints[field.name]), field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(kind)
            if field.init
        ]
        made = record(name_of(annotation), kind, fields, getattr, lambda found: kind(**found))
        kept = [field.name for field in dataclasses.fields(kind) if field.compare and not field.init]
        return constructed(made, kept) if kept or _does_more(kind) else made

    def _typed_dict(self, annotation: Any, kind: type[Any], arguments: tuple[Any, ...]) -> Converter:
        fields: list[tuple[str, Converter, bool]] = []
        required: frozenset[str] = kind.__required_keys__
        for name, hint in self._hints(kind, arguments).items():
            # Looked at here too: Python does not see these words in an annotation that is text.
            word = getattr(typing.get_origin(hint), "_name", None)
            needed = word == "Required" or (word != "NotRequired" and name in required)
            fields.append((name, self.of(hint), needed))
        return record(name_of(annotation), dict, fields, lambda value, name: value[name], dict)

    def _named_tuple(self, kind: type[Any], arguments: tuple[Any, ...]) -> Converter:
        hints = self._hints(kind, arguments)
        items = [self.of(hints.get(name, Any)) for name in kind._fields]
        least = len(items) - len(kind._field_defaults)
        return row(kind.__name__, kind, items, least, lambda found: kind(*found))


def read_hints(
    annotations: Mapping[str, Any], module: dict[str, Any], names: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return annotations with those that are text read, `names` before those of the module. Raises NameError.

    Also for a name within a module that has not got it yet, as in two modules that import each other.
    """
    holder = type("holder", (), {"__annotations__": dict(annotations)})  # of a class: it may have a ClassVar
    try:
        return typing.get_type_hints(holder, module, names, include_extras=True)
    except AttributeError as exc:
        raise NameError(str(exc)) from exc


def _does_more(kind: type[Any]) -> bool:
    """Tell whether making one of these does more than to store the values given."""
    options = vars(kind).get("__dataclass_params__")  # not those of a base, whose `__init__` it may have replaced
    if options is None or not options.init or hasattr(kind, "__post_init__"):
        return True
    return not options.frozen and cast(Any, kind.__setattr__) is not object.__setattr__


def name_of(annotation: Any) -> str:
    """Return the name of a type for a message."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__qualname__.rpartition("<locals>.")[2]
    return str(annotation).replace("typing.", "")


def _is_hashable(annotation: Any) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True


def _unmade(value: Any) -> Any:
    raise AssertionError(f"a converter was used before it was made, for {type(value)}")


def _filled(hint: Any, known: Mapping[Any, Any]) -> Any:
    """Return a hint with its type variables replaced."""
    if isinstance(hint, typing.TypeVar):
        if hint not in known:
            raise Unsupported(f"the type variable {hint}, which nothing says the type of")
        return known[hint]
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint  # a generic class without its parameters says so itself
    open_ones = getattr(hint, "__parameters__", ())
    return cast(Any, hint)[tuple(_filled(variable, known) for variable in open_ones)] if open_ones else hint
