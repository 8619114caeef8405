"""What the settings of a Django project say: `FAKTORY`, and the options of a backend in `TASKS`.

`problems` are told by the system checks, each with its id; who uses a wrong setting without having checked it gets a
`ConfigurationError` that says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

from ...app import App
from ...core.settings import nearest
from ...errors import ConfigurationError, InvalidJob
from ...job import Job
from ...protocol.address import Address

Queues = list[str] | dict[str, int]
"""Queue names in strict order, or each with its weight."""

KEYS: Final = ("URL", "APP", "MODE", "QUEUES")
OPTIONS: Final = ("url", "retry", "reserve_for", "queues")
MODES: Final = ("queue", "foreground", "background")


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong setting: the number of its check, what is wrong, and what to do."""

    number: int
    text: str
    hint: str | None = None

    def __str__(self) -> str:
        return self.text if self.hint is None else f"{self.text}; {self.hint}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """`settings.FAKTORY`, read and checked."""

    url: str | None = None
    app: str | None = None
    mode: Any = None
    queues: Queues | None = None
    problems: tuple[Problem, ...] = field(default=())


def configuration() -> Configuration:
    """Return what `settings.FAKTORY` says; empty when it is not set. Raises `ConfigurationError` for a wrong one."""
    found = read_configuration(getattr(settings, "FAKTORY", None))
    if found.problems:
        raise ConfigurationError(str(found.problems[0]))
    return found


def read_configuration(told: Any) -> Configuration:
    """Read a value of `settings.FAKTORY`. Wrong ones are in the `problems` of what it returns."""
    if told is None:
        return Configuration()
    if not isinstance(told, Mapping):
        return Configuration(problems=(Problem(4, f"FAKTORY must be a dict, got {type(told).__name__}"),))
    problems = list(_unknown("FAKTORY", told, KEYS))
    problems += _wrong_url("FAKTORY['URL']", told.get("URL"))
    problems += _wrong_queues("FAKTORY['QUEUES']", told.get("QUEUES"))
    for key in ("APP", "MODE"):
        if told.get(key) is not None and not isinstance(told[key], str):
            problems.append(Problem(4, f"FAKTORY[{key!r}] must be a text, got {type(told[key]).__name__}"))
    mode = told.get("MODE")
    if isinstance(mode, str) and mode not in MODES:
        problems.append(Problem(4, f"FAKTORY['MODE'] must be one of {', '.join(MODES)}, got {mode!a:.40}"))
    if problems:
        return Configuration(problems=tuple(problems))
    queues = told.get("QUEUES")
    return Configuration(told.get("URL"), told.get("APP"), mode, None if queues is None else as_queues(queues))


def option_problems(alias: str, options: Mapping[str, Any], queues: Iterable[Any]) -> list[Problem]:
    """Return what is wrong with the options of a backend, and with the names of its queues."""
    where = f"TASKS[{alias!r}]['OPTIONS']"
    problems = list(_unknown(where, options, OPTIONS))
    problems += _wrong_url(f"{where}['url']", options.get("url"))
    for name in ("retry", "reserve_for"):
        problems += _wrong_job(f"{where}[{name!r}]", 3, {name: options.get(name)})
    problems += _wrong_queues(f"{where}['queues']", options.get("queues"))
    for queue in queues:
        problems += _wrong_job(f"TASKS[{alias!r}]['QUEUES']", 7, {"queue": queue})
    return problems


def as_queues(told: Any) -> Queues:
    """Return queues as a worker takes them, of a list, a tuple, or a dict of weights that was checked."""
    return dict(told) if isinstance(told, Mapping) else list(told)


def _unknown(where: str, told: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[Problem]:
    for key in told:
        if key not in known:
            yield Problem(2, f"{where} has an unknown key {key!a:.60}{nearest(str(key), known)}", f"use {_any(known)}")


def _wrong_url(where: str, url: Any) -> Iterator[Problem]:
    if url is None:
        return
    try:
        if not isinstance(url, str):
            raise ConfigurationError(f"expected a text, got {type(url).__name__}")
        Address.parse(url)
    except ConfigurationError as exc:
        yield Problem(1, f"{where}: {exc}", "leave it out for FAKTORY_URL, else localhost")


def _wrong_queues(where: str, told: Any) -> Iterator[Problem]:
    if told is None:
        return
    if isinstance(told, str) or not isinstance(told, (Mapping, list, tuple)) or not told:
        yield Problem(7, f"{where} must be a list of names, or a dict of weights, got {told!a:.60}")
        return
    for queue in told:
        yield from _wrong_job(where, 7, {"queue": queue})
    if isinstance(told, Mapping):
        for queue, weight in told.items():
            if type(weight) is not int or weight < 1:
                yield Problem(7, f"{where}[{queue!r}]: a weight must be an integer from 1 on, got {weight!a:.40}")


def _wrong_job(where: str, number: int, fields: Mapping[str, Any]) -> Iterator[Problem]:
    """Try a value in a job, which knows what may be in one."""
    values = {name: value for name, value in fields.items() if value is not None}
    try:
        Job("check", **values)
    except InvalidJob as exc:
        yield Problem(number, f"{where}: {exc}")


def _any(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def app_from_settings() -> App:
    """Return a new `App` whose jobs go where `settings.FAKTORY` says: its URL and MODE, both of which may be left out.

    Write it once, in a module that FAKTORY["APP"] names: `app = app_from_settings()`.
    """
    found = configuration()
    return App(found.url, mode=found.mode)


def load_app(path: str) -> App:
    """Import the app that FAKTORY["APP"] names: `shop.jobs.app`, or `shop.jobs:app`. Raises `ConfigurationError`."""
    try:
        found = import_string(path.replace(":", ".", 1))
    except ImportError as exc:
        raise ConfigurationError(f"FAKTORY['APP']: cannot import {path!a:.80}: {exc}") from exc
    if not isinstance(found, App):
        raise ConfigurationError(f"FAKTORY['APP']: {path!a:.80} must be a faktory.App, got {type(found).__name__}")
    return found
