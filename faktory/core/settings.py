"""`[tool.faktory]` of `pyproject.toml`: what a project sets for its workers, per environment. Read only when asked to.

Without an environment the keys of `[tool.faktory]` count; those of `[tool.faktory.env.NAME]` go before them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import ConfigurationError

KEYS: Final = (
    "url",
    "ca",
    "app",
    "app-dir",
    "mode",
    "queues",
    "concurrency",
    "pool",
    "workers",
    "max-jobs",
    "max-jobs-per-child",
    "max-rss-mb",
    "shutdown-timeout",
    "log-level",
    "log-format",
    "log-jobs",
    "label",
    "wait-server",
    "reload-dir",
    "port",
)
"""What may be set, by the long names of the worker's options."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project has set. `where` names the file and table of each value, for errors."""

    values: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """Return a value that must be a text; None when it is not set. Raises `ConfigurationError`."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{self.where[key]}: {key} must be a text, got {value!a:.60}")
        return value


def read_settings(folder: str | None = None, env: str | None = None) -> Settings:
    """Read the nearest `pyproject.toml`, from `folder` (the current one when None) upwards.

    `env` is the environment to use; None is none. Raises `ConfigurationError` for a file that cannot be read, an
    unknown key, an environment that is not there, and a URL with a password, which is no place for one.
    """
    path = _nearest(os.path.realpath(folder or "."))
    if path is None:
        return Settings()
    return settings_of(_parsed(path), path, env)


def for_app(env: str | None = None, environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """Return the url and the mode for an app: None where the environment says it, or nobody does."""
    environ = os.environ if environ is None else environ
    settings = read_settings(None, env or environ.get("FAKTORY_ENV") or None)
    has_url = any(environ.get(name, "").strip() for name in ("FAKTORY_PROVIDER", "FAKTORY_URL"))
    mode = None if environ.get("FAKTORY_MODE") else settings.text("mode")
    return None if has_url else settings.text("url"), mode


def settings_of(document: Mapping[str, Any], path: str, env: str | None = None) -> Settings:
    """Return what a parsed `pyproject.toml` sets. Pure."""
    tool = document.get("tool")
    table = tool.get("faktory") if isinstance(tool, Mapping) else None
    if table is None:
        return Settings()
    what = f"{path}: [tool.faktory]"
    common = dict(_table(table, what))
    environments = _table(common.pop("env", {}), f"{path}: [tool.faktory.env]")
    if env is not None and env not in environments:
        known = ", ".join(sorted(environments)) or "none"
        raise ConfigurationError(f"{path}: there is no [tool.faktory.env.{env}]; there are: {known}")
    values: dict[str, Any] = {}
    where: dict[str, str] = {}
    for name, found in environments.items():
        own = f"{path}: [tool.faktory.env.{name}]"
        _check(_table(found, own), own)
    _check(common, what)
    for found, own in ((common, what), (environments[env] if env else {}, f"{path}: [tool.faktory.env.{env}]")):
        values.update(found)
        where.update(dict.fromkeys(found, own))
    return Settings(values, where)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" when something known is near, else nothing."""
    from difflib import get_close_matches  # slow to import, and only needed here

    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _check(table: Mapping[str, Any], what: str) -> None:
    for key in table:
        if key not in KEYS:
            raise ConfigurationError(f"{what} has an unknown key {key[:60]!a}{nearest(key, KEYS)}")
    url = table.get("url")
    if isinstance(url, str) and "@" in url:
        raise ConfigurationError(
            f"{what}: the url has a password, which does not belong into this file; set FAKTORY_URL instead"
        )


def _table(found: object, what: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{what} must be a table, got {found!a:.60}")
    return found


def _nearest(folder: str) -> str | None:
    while True:
        path = os.path.join(folder, "pyproject.toml")  # noqa: PTH118  # pathlib is slow to import
        if os.path.isfile(path):  # noqa: PTH113
            return path
        above = os.path.dirname(folder)  # noqa: PTH120
        if above == folder:
            return None
        folder = above


def _parsed(path: str) -> dict[str, Any]:
    import tomllib  # slow to import, and only needed here

    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return tomllib.load(file)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}") from exc
