"""A file that says how the worker is, for probes that run a command: there and young only while the worker lives.

It is written beside its place and renamed, so that nobody reads half of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ..errors import ConfigurationError

EVERY: Final = 5.0
"""Seconds between two writes."""


class HealthFile:
    """The file at `path`. Raises `ConfigurationError` at once where it could not be written."""

    def __init__(self, path: str) -> None:
        self.path: str = os.path.abspath(path)  # noqa: PTH100  # pathlib is slow to import
        folder = os.path.dirname(self.path)  # noqa: PTH120
        if not os.path.isdir(folder) or os.path.isdir(self.path) or not os.access(folder, os.W_OK):  # noqa: PTH112
            raise ConfigurationError(
                f"the health file {path!a} cannot be written: expected the path of a file, in a folder that is "
                "there and may be written to"
            )
        self.remove()  # one that an earlier worker has left behind says nothing of this one

    def write(self, document: Mapping[str, Any]) -> None:
        """Write the document. Raises `OSError`."""
        beside = f"{self.path}.{os.getpid()}.tmp"
        try:
            with open(beside, "w", encoding="utf-8") as file:  # noqa: PTH123
                json.dump(document, file)
                file.write("\n")
            os.replace(beside, self.path)  # noqa: PTH105
        except OSError:
            with suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
            raise

    def remove(self) -> None:
        """Take the file away, as at a clean end."""
        with suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108

    def __repr__(self) -> str:
        return f"<HealthFile {self.path}>"
