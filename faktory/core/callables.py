"""What calling one of the user's functions does, as far as its code and its result tell. Pure.

A call that only makes a generator or a coroutine runs nothing: a job must not be acknowledged for it. What shows when a
function is registered is refused there, the rest when it has been called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import islice
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType
from typing import Any, Final, cast

from ..errors import ConfigurationError

# Flags of code objects, as in inspect, which is slow to import.
_TAKES_ANY = 0x04  # *args
_GENERATOR = 0x20
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200

_LAZY = (map, filter)
_CONTAINERS = (list, tuple, set, frozenset, dict, deque)
_LOOKED_AT = (100, 5)
"""How many items are looked at, of a container and of those in it: a list of coroutines begins with one."""


_DECORATORS: Final[tuple[Callable[[Any], Any], ...]] = (contextmanager, asynccontextmanager)
_CONTEXT_CODES: Final = tuple(decorate(cast(Any, iter)).__code__ for decorate in _DECORATORS)
"""The code that all functions under these decorators share: calling one enters nothing."""
_CONTEXTS: Final = tuple(type(decorate(cast(Any, iter))(())) for decorate in _DECORATORS)
"""The types of what such calls return; their `gen` is the generator."""


def _code(function: object) -> CodeType | None:
    """Return the code that a call would run, None where it cannot be seen."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  # its code is wanted
    return code if isinstance(code, CodeType) else None


def _has_flag(function: object, flags: int) -> bool:
    code = _code(function)
    return code is not None and bool(code.co_flags & flags)


def is_async(function: object) -> bool:
    """True for a function whose call gives a coroutine, however it is wrapped in partials or a callable object."""
    return _has_flag(function, _COROUTINE | _ASYNC_GENERATOR)


def is_generator(function: object) -> bool:
    """Tell whether calling a function would only make a generator, and run nothing."""
    return _has_flag(function, _GENERATOR | _ASYNC_GENERATOR)


def is_context_manager(function: object) -> bool:
    """Tell whether a function stands under `contextmanager` or `asynccontextmanager`: a call would enter nothing."""
    return _code(function) in _CONTEXT_CODES


def is_async_context_manager(function: object) -> bool:
    """Tell whether a function stands under `asynccontextmanager`."""
    return _code(function) is _CONTEXT_CODES[1]


def check_runs(function: object, what: str, advice: str) -> None:
    """Refuse a function whose call would run nothing, with what to write instead. Raises `ConfigurationError`."""
    if is_generator(function):
        reason = "has a yield"
    elif is_context_manager(function):
        reason = "makes a context manager, which nobody enters"
    else:
        return
    raise ConfigurationError(f"{what} {place_of(function)} {reason}, so that calling it would run nothing; {advice}")


def can_take(function: object, arguments: int) -> bool:
    """Tell whether a function can be called with so many positional arguments; True when that cannot be seen."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return True  # a builtin, a class, a partial, a mock: what it takes shows when it is called
    bound = 1 if getattr(function, "__self__", None) is not None else 0
    positional = code.co_argcount - bound
    required = positional - len(getattr(function, "__defaults__", None) or ())
    keywords = code.co_kwonlyargcount - len(getattr(function, "__kwdefaults__", None) or ())
    takes_any = bool(code.co_flags & _TAKES_ANY)
    return required <= arguments and keywords <= 0 and (positional >= arguments or takes_any)


def place_of(function: object) -> str:
    """Return a function's name, and file and line where they are known."""
    if isinstance(function, partial):
        return f"partial of {place_of(function.func)}"
    wrapped = getattr(function, "__wrapped__", None)
    code = _code(wrapped) if is_context_manager(function) and wrapped is not None else _code(function)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else str(name)


def is_awaitable(result: object) -> bool:
    """Tell whether a result can be awaited."""
    return hasattr(result, "__await__")


def _unwrapped(function: object) -> object:
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        function = inner
    return function


def is_same_place(one: object, other: object) -> bool:
    """Tell whether two functions come from one place of the source, as when a module is imported again."""
    codes = [_code(_unwrapped(function)) for function in (one, other)]
    names = [getattr(_unwrapped(function), "__qualname__", None) for function in (one, other)]
    where = [None if code is None else (code.co_filename, code.co_firstlineno) for code in codes]
    return where[0] is not None and where[0] == where[1] and names[0] == names[1]


def unrun(result: object, level: int = 0) -> str | None:
    """Name what there is in a function's result that has not run to its end; None when there is nothing."""
    if isinstance(result, GeneratorType):
        return None if result.gi_frame is None else "a generator"
    if isinstance(result, _LAZY):
        return f"a lazy {type(result).__name__}"
    if isinstance(result, _CONTEXTS):
        return None if unrun(cast(Any, result).gen) is None else "a context manager"
    if isinstance(result, CoroutineType):
        return None if result.cr_frame is None else "an awaitable"
    if isinstance(result, AsyncGeneratorType):
        return None if result.ag_frame is None else "an async iterator"
    if hasattr(type(result), "__anext__") and not isinstance(result, type):
        return "an async iterator"
    if is_awaitable(result):
        is_done = getattr(result, "done", None)  # a future may have its result already
        return None if callable(is_done) and is_done() is True else "an awaitable"
    if isinstance(result, _CONTAINERS) and level < len(_LOOKED_AT):
        for item in islice(_items(result), _LOOKED_AT[level]):
            if (kind := unrun(item, level + 1)) is not None:
                return f"a {type(result).__name__} that holds {kind}"
    return None


def forget(result: object, level: int = 0) -> None:
    """Close the coroutines in a result that nobody is going to await: else Python warns of each."""
    if isinstance(result, CoroutineType):
        if not result.cr_running and not result.cr_suspended:
            result.close()
    elif is_awaitable(result) and callable(close := getattr(result, "close", None)):
        close()
    elif isinstance(result, _CONTAINERS) and level < len(_LOOKED_AT):
        for item in _items(result):
            if isinstance(item, (CoroutineType, *_CONTAINERS)):
                forget(item, level + 1)


def _items(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container
