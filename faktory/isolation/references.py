"""Functions by the name under which another process can import them. Pure but for the imports themselves."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from types import MethodType
from typing import Any

from ..core.callables import place_of
from ..errors import ConfigurationError


def reference_to(thing: Any, what: str) -> str:
    """Return `module:qualified.name` of a function or class; `what` says in an error what it is for.

    Raises `ConfigurationError` for one that another process could not import under that name.
    """
    reason = _hindrance(thing)
    if reason is not None:
        raise ConfigurationError(
            f"{what} {place_of(thing)} {reason}, so that a child process could not import it; define it with `def` at "
            "the top of a module"
        )
    return f"{thing.__module__}:{thing.__qualname__}"


def resolve(reference: str) -> Any:
    """Import what a reference names. A typed job stands for the handler behind it."""
    module, _, path = reference.partition(":")
    found = sys.modules[module] if module == "__main__" else import_module(module)
    return _handler_of(_walk(found, path))


def main_of_program() -> tuple[str, str] | None:
    """Return how to run the program's main file once more: ("module", its name) or ("path", its path).

    None for an interactive session, or code from a pipe: those have no file.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return "module", spec.name
    # A zip archive runs like a file, but its main file is none.
    path = getattr(getattr(main, "__loader__", None), "archive", None) or getattr(main, "__file__", None)
    if path is None or not os.path.exists(path):  # noqa: PTH110  # "<stdin>"
        return None
    return ("path", os.path.abspath(path))  # noqa: PTH100  # pathlib is slow to import


def _hindrance(thing: Any) -> str | None:
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(thing, partial) or not isinstance(module, str) or not isinstance(name, str):
        return "is an object without a name of its own"
    if "<lambda>" in name:
        return "is a lambda"
    if "<locals>" in name:
        return "is defined inside of a function"
    if module == "__main__" and main_of_program() is None:
        return "is defined in a session without a file"
    try:
        found = _handler_of(_walk(sys.modules[module], name))
    except (KeyError, AttributeError):
        return f"is not to be found as {name} in the module {module}"
    if found is not thing and not (isinstance(thing, MethodType) and found == thing):
        return f"is not what the module {module} calls {name}"
    return None


def _walk(found: Any, path: str) -> Any:
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _handler_of(found: Any) -> Any:
    return getattr(found, "__faktory_handler__", found)
