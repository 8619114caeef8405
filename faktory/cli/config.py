"""What an option is worth when it is not on the command line: the environment, then the project, then its default."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..core.settings import KEYS, Settings
from ..errors import ConfigurationError
from .parsing import Usage

_YES: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_OTHER_KEYS: Final = {"url": "FAKTORY_URL"}
"""Keys of the project that an older variable goes before."""


def variable_of(command: str, name: str) -> str:
    """Return the environment variable that stands for an option of a command."""
    return f"FAKTORY_{command}_{name}".upper().replace("-", "_")


def fill(
    arguments: argparse.Namespace,
    parser: argparse.ArgumentParser,
    command: str,
    names: Sequence[str],
    environ: Mapping[str, str],
    settings: Settings,
) -> None:
    """Give each option of `names` that is not set what the environment, else the project says. Raises `Usage`."""
    options = {action.dest: action for action in parser._actions}
    for name in names:
        dest = name.replace("-", "_")
        if getattr(arguments, dest, None) is not None:
            continue
        action, variable = options.get(dest), variable_of(command, name)
        told = environ.get(variable, "").strip()
        if told:
            setattr(arguments, dest, _value(action, told, variable))
        elif name in settings.values and name in KEYS and not environ.get(_OTHER_KEYS.get(name, ""), "").strip():
            setattr(arguments, dest, _value(action, settings.values[name], f"{settings.where[name]}: {name}"))


def _value(action: argparse.Action | None, told: Any, what: str) -> Any:
    """Return a value as the option's own words would be read."""
    if action is None:  # of no option: a text
        return _text(told, what)
    if action.nargs == 0:
        return _flag(told, what)
    if isinstance(told, Mapping):
        told = [f"{name}={weight}" for name, weight in told.items()]
    if action.__class__.__name__ in ("_AppendAction", "_ExtendAction"):
        words = told if isinstance(told, list) else [told]
        return [_converted(action, _text(word, what), what) for word in words]
    return _converted(action, _text(told, what), what)


def _converted(action: argparse.Action, text: str, what: str) -> Any:
    convert: Callable[[str], Any] = action.type if callable(action.type) else str
    try:
        value = convert(text)
    except (argparse.ArgumentTypeError, ValueError) as exc:
        raise Usage(f"{what}: {exc}") from None
    if action.choices is not None and value not in action.choices:
        raise Usage(f"{what}: expected one of {', '.join(map(str, action.choices))}, got {text!a:.42}")
    return value


def _flag(told: Any, what: str) -> bool:
    if isinstance(told, bool):
        return told
    found = _YES.get(str(told).lower())
    if found is None:
        raise Usage(f"{what}: expected true or false, got {told!a:.42}")
    return found


def _text(told: Any, what: str) -> str:
    if isinstance(told, bool) or not isinstance(told, (str, int, float)):
        raise ConfigurationError(f"{what}: expected a text or a number, got {told!a:.60}")
    return str(told)
