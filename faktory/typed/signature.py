"""A function's parameters: how the arguments of a call become a job's `args`, and how these become a call again. Pure.

Calls are bound as Python binds them, but everything is sent by position: defaults that lie between are filled in, those
at the end are left to the worker's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import ConfigurationError, InvalidJob
from .convert import Compiler, read_hints
from .scalars import BadValue, Converter
from .shapes import Unsupported

_MISSING = inspect.Parameter.empty


@dataclass(slots=True)
class _Parameter:
    name: str
    annotation: Any
    default: Any
    can_be_named: bool


class Signature:
    """The parameters of one function; the converters are made when they are first needed.

    `context` is a type: a first parameter annotated with it is no argument of the job. `names` are the local names
    that annotations may use. With `by_name` arguments travel as one object, from parameter to value. Raises
    `ConfigurationError` for parameters that a job cannot have.
    """

    def __init__(
        self,
        jobtype: str,
        function: Callable[..., Any],
        context: type[Any],
        names: Mapping[str, Any] | None = None,
        *,
        by_name: bool = False,
    ) -> None:
        self.by_name: bool = by_name
        self._jobtype = jobtype
        self._function = function
        self._names = dict(names or {})
        self._positional: list[_Parameter] = []
        self._rest: _Parameter | None = None
        self._converters: list[Converter] | None = None
        self._rest_converter: Converter | None = None
        self._plain: tuple[type[Any] | None, ...] = ()
        self._annotations: list[Any] = []
        parameters = _parameters_of(function)
        self.takes_context: bool = bool(parameters) and self._is_context(parameters[0], context)
        if parameters and parameters[0].name == "ctx" and parameters[0].annotation is _MISSING:
            raise ConfigurationError(
                f"the first parameter of the job {jobtype!a} is called ctx and not annotated, so that it would be an "
                f"argument of the job; write ctx: {context.__name__}, or call it something else"
            )
        for parameter in parameters[1 if self.takes_context else 0 :]:
            self._add(parameter)
        self._required = sum(parameter.default is _MISSING for parameter in self._positional)
        with suppress(NameError):  # of what is defined further down: it is looked up again when it is needed
            self.compile()
            self._names = {}  # they may keep large things alive

    def _add(self, parameter: inspect.Parameter) -> None:
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.kind is parameter.VAR_KEYWORD:
            stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
            raise ConfigurationError(
                f"the job {self._jobtype!a} has the keyword-only parameter {stars}{parameter.name}, but a job's "
                "arguments travel by position; move it before the *, or take a dataclass"
            )
        found = _Parameter(
            parameter.name,
            Any if parameter.annotation is _MISSING else parameter.annotation,
            parameter.default,
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD,
        )
        if self.by_name and not found.can_be_named:
            raise ConfigurationError(
                f"the job {self._jobtype!a} has the parameter {parameter.name}, whose argument has no name to travel "
                "by; leave out by_name"
            )
        if parameter.kind is parameter.VAR_POSITIONAL:
            self._rest = found
        else:
            self._positional.append(found)

    def _is_context(self, parameter: inspect.Parameter, context: type[Any]) -> bool:
        annotation = parameter.annotation
        try:
            return self._resolved(parameter.name, annotation) is context
        except NameError:  # imported for type checkers only, or not there yet
            return isinstance(annotation, str) and annotation.split(".")[-1] == context.__name__

    def _resolved(self, name: str, annotation: Any) -> Any:
        if annotation is _MISSING or annotation is Any:
            return annotation
        module = getattr(_plain_function(self._function), "__globals__", {})
        return read_hints({name: annotation}, module, self._names or None)[name]

    def compile(self) -> list[Converter]:
        """Make the converters. Raises `ConfigurationError`, and NameError for a name not there yet."""
        compiler = Compiler(self._names, getattr(_plain_function(self._function), "__module__", ""))
        self._rest_converter = None if self._rest is None else self._converter(compiler, self._rest)
        self._annotations = [self._resolved(each.name, each.annotation) for each in self._positional]
        found = [self._converter(compiler, parameter) for parameter in self._positional]
        self._plain = tuple(converter.kind if converter.is_plain else None for converter in found)
        self._converters = found
        return found

    def _converter(self, compiler: Compiler, parameter: _Parameter) -> Converter:
        try:
            return compiler.of(self._resolved(parameter.name, parameter.annotation))
        except Unsupported as exc:
            raise ConfigurationError(
                f"the parameter {parameter.name!a} of the job {self._jobtype!a} has {exc}; what the worker has, a "
                "database say, is no argument: app.manage(Type, factory), and ctx.get(Type) in the job"
            ) from exc

    def check(self, managed: Iterable[type[Any]] = ()) -> list[Converter]:
        """Return the converters, made now if they were not; refuse parameters of a managed type.

        Raises `ConfigurationError`.
        """
        try:
            converters = self._converters or self.compile()
        except NameError as exc:
            raise ConfigurationError(
                f"an annotation of the job {self._jobtype!a} cannot be read: {exc}; import the name at run time, too"
            ) from exc
        for kind in managed:
            if kind in self._annotations:
                name = self.parameters[self._annotations.index(kind)]
                raise ConfigurationError(
                    f"the parameter {name!a} of the job {self._jobtype!a} is a {kind.__qualname__}, which is managed: "
                    f"take it out, and write {name} = ctx.get({kind.__qualname__}) in the job, whose first parameter "
                    f"is ctx: JobContext, or {name} = faktory.managed({kind.__qualname__})"
                )
        return converters

    # -- calls to args ------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, in their order."""
        return [parameter.name for parameter in self._positional]

    @property
    def required(self) -> list[str]:
        """The names of the parameters without a default."""
        return [parameter.name for parameter in self._positional if parameter.default is _MISSING]

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """Return what a call's arguments become in the job. Raises `InvalidJob`, and TypeError for a wrong call."""
        if self.by_name:
            return [self._named(args, kwargs)]
        converters = self._converters or self.check()
        values = list(args)
        if kwargs or not self._required <= len(values) <= len(converters):
            values = self._bound(values, kwargs)
        found: list[Any] = []
        try:
            for value, converter in zip(values, self._for_each(converters, len(values)), strict=True):
                found.append(converter.dump(value))  # how many there are tells which one is bad
        except (BadValue, RecursionError) as exc:
            raise self._refused(exc, len(found)) from None
        return found

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by name; defaults are left to the worker's own."""
        self._bound(list(args), kwargs)  # for its refusals
        given = dict(zip(self.parameters, args, strict=False)) | dict(kwargs)
        found: dict[str, Any] = {}
        for parameter, converter in zip(self._positional, self.check(), strict=True):
            if parameter.name in given:
                try:
                    found[parameter.name] = converter.dump(given[parameter.name])
                except (BadValue, RecursionError) as exc:
                    raise self._refused(exc, parameter.name) from None
        return found

    def _bound(self, values: list[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        most = len(self._positional)
        if len(values) > most and self._rest is None:
            raise TypeError(f"the job {self._jobtype!a} takes at most {most} arguments, got {len(values)}")
        given = dict(kwargs)
        last = max((i for i, parameter in enumerate(self._positional) if parameter.name in given), default=-1)
        for index, parameter in enumerate(self._positional):
            if parameter.can_be_named and parameter.name in given:
                if index < len(values):
                    raise TypeError(f"the job {self._jobtype!a} got two values for the argument {parameter.name!a}")
                values.append(given.pop(parameter.name))
            elif index >= len(values):
                if parameter.default is _MISSING:
                    raise TypeError(f"the job {self._jobtype!a} misses the argument {parameter.name!a}")
                if index > last:
                    break
                values.append(parameter.default)
        if given:
            raise TypeError(f"the job {self._jobtype!a} takes no argument named {next(iter(given))!a}")
        return values

    # -- args to calls ------------------------------------------------------------------------------------------

    def load(self, args: list[Any]) -> list[Any]:
        """Return the arguments to call the function with. Raises `InvalidJob`."""
        converters = self._converters or self.check()
        count = len(args)
        if self.by_name and count == 1 and type(args[0]) is dict and self._may_be_named(args[0], converters):
            return self._load_named(args[0], converters)
        if count == len(converters) and tuple(map(type, args)) == self._plain:
            return args  # nothing to convert: the common case
        if not self._required <= count or (count > len(converters) and self._rest is None):
            least, most = self._required, len(converters)
            wanted = f"at least {least}" if self._rest is not None else f"{least} to {most}" if least < most else most
            raise InvalidJob(f"the job {self._jobtype!a} takes {wanted} args, got {count}")
        found: list[Any] = []
        try:
            for value, converter in zip(args, self._for_each(converters, count), strict=True):
                found.append(converter.load(value))
        except (BadValue, RecursionError) as exc:
            raise self._refused(exc, len(found)) from (exc.__cause__ if isinstance(exc, BadValue) else None)
        return found

    def _may_be_named(self, given: dict[str, Any], converters: list[Converter]) -> bool:
        """Tell an object of names from a job that was pushed by position, before `by_name`, with an object."""
        takes_object = bool(converters) and dict in converters[0].forms
        return not takes_object or given.keys() <= set(self.parameters)

    def _load_named(self, given: dict[str, Any], converters: list[Converter]) -> list[Any]:
        unknown = given.keys() - set(self.parameters)
        if unknown:
            raise InvalidJob(f"the job {self._jobtype!a} takes no argument named {min(unknown)!a:.80}")
        found: list[Any] = []
        for parameter, converter in zip(self._positional, converters, strict=True):
            if parameter.name in given:
                try:
                    found.append(converter.load(given[parameter.name]))
                except (BadValue, RecursionError) as exc:
                    raise self._refused(exc, parameter.name) from None
            elif parameter.default is _MISSING:
                raise InvalidJob(f"the job {self._jobtype!a} misses the argument {parameter.name!a}")
            else:
                found.append(parameter.default)
        return found

    def _for_each(self, converters: list[Converter], count: int) -> list[Converter]:
        """Return a converter for each of so many values."""
        if count <= len(converters) or self._rest_converter is None:
            return converters[:count]
        return converters + [self._rest_converter] * (count - len(converters))

    def _refused(self, exc: BadValue | RecursionError, at: int | str) -> InvalidJob:
        if isinstance(at, str):
            path, name = f"args[0].{at}", at
        else:
            parameter = self._positional[at] if at < len(self._positional) else self._rest
            path, name = f"args[{at}]", "" if parameter is None else parameter.name
        where = f"the argument {name!a} of {self._jobtype!a}" if name else self._jobtype
        if isinstance(exc, BadValue):
            return InvalidJob(f"{exc.told(path)}; it is {where}")
        return InvalidJob(f"{path} is nested deeper than the stack has room; it is {where}")


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters that are left to give: what a partial has bound by name is not."""
    bound = function.keywords if isinstance(function, partial) else {}
    found = inspect.signature(function).parameters.values()
    return [parameter for parameter in found if parameter.name not in bound]


def _plain_function(function: Callable[..., Any]) -> Any:
    """Return what was written with `def`: behind decorators, a partial, or an object's `__call__`."""
    found: Any = inspect.unwrap(function)
    while isinstance(found, partial):
        found = inspect.unwrap(found.func)
    if hasattr(found, "__globals__") or isinstance(found, type):
        return found
    return getattr(type(found), "__call__", found)  # noqa: B004  # its code is wanted


def silent_changes(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what has changed between two `App.signatures` so that jobs pushed before would get others' values.

    A parameter at the same place under a name that was not there has been renamed, which is safe.
    """
    changes: list[str] = []
    for jobtype, old in before.items():
        new = after.get(jobtype)
        if new is None or old["by_name"]:
            continue
        places = {name: place for place, name in enumerate(new["parameters"])}
        changes += [
            f"the argument {name!a} of {jobtype!a} was number {place + 1} and is number {places[name] + 1}; move it "
            "back, or give the job another name="
            for place, name in enumerate(old["parameters"])
            if places.get(name, place) != place
        ]
    return changes
