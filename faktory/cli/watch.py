"""Which Python files have changed: by polling, as that works on every file system. `Changes` is pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final

Key = tuple[int, int, int]
"""Modification time in ns, size, inode."""
INTERVAL: Final = 0.5
SHARE: Final = 50
"""A scan is followed by a pause of so many times its processor time: 2 % of a core at most."""
QUIET: Final = 0.1
"""Seconds without another change after which files that were saved together are taken as one change."""
_SKIPPED: Final = ("__pycache__", "node_modules", "site-packages")


def interval_after(cpu_seconds: float) -> float:
    """Return how long to pause after a scan."""
    return max(INTERVAL, SHARE * cpu_seconds)


def scan(folders: Iterable[str]) -> dict[str, Key]:
    """Return the Python files below some folders, each with its key."""
    return dict(entry for folder in folders for entry in _below(folder))


def _below(folder: str) -> Iterator[tuple[str, Key]]:
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                found = list(entries)
        except OSError:  # gone meanwhile, or not ours to read
            continue
        if any(entry.name == "pyvenv.cfg" for entry in found):
            continue  # a virtual environment
        for entry in found:
            try:
                if entry.name.endswith(".py") and entry.is_file():
                    status = entry.stat()
                    yield entry.path, (status.st_mtime_ns, status.st_size, status.st_ino)
                elif entry.name not in _SKIPPED and entry.name[0] != "." and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
            except OSError:
                continue


def digest_of(path: str) -> bytes | None:
    """Return what tells a file's content from another; None when it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return blake2b(file.read(), digest_size=16).digest()
    except OSError:
        return None


class Changes:
    """Compares scans: a file with a new key has changed when its content has, or when it is new, or gone."""

    def __init__(self, keys: Mapping[str, Key], digest: Callable[[str], bytes | None] = digest_of) -> None:
        self._keys = dict(keys)
        self._digest = digest
        self._digests = {path: digest(path) for path in keys}

    def since(self, keys: Mapping[str, Key]) -> list[str]:
        """Return the files that have changed since the last call."""
        changed = [path for path in self._keys if path not in keys]
        for path in changed:
            del self._digests[path]
        for path, key in keys.items():
            if self._keys.get(path) != key:
                digest = self._digest(path)
                if path not in self._digests or self._digests[path] != digest:
                    changed.append(path)
                self._digests[path] = digest
        self._keys = dict(keys)
        return sorted(changed)


def syntax_error_in(path: str) -> str | None:
    """Return what is wrong with a file as Python would say it; None when it compiles, or is gone."""
    import traceback

    try:
        with open(path, "rb") as file:  # noqa: PTH123
            source = file.read()
        compile(source, path, "exec", dont_inherit=True)
    except OSError:
        return None
    except (SyntaxError, ValueError) as exc:
        return "".join(traceback.format_exception_only(exc)).rstrip()
    return None
