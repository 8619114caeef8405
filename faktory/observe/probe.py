"""The asking side of health: reads the file or the page, and says whether all is well. Imports no application."""

from __future__ import annotations

import http.client
import json
import os
import time
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import ConfigurationError

PATIENCE: Final = 5.0
"""Seconds for a page to answer."""
_LARGEST: Final = 64 * 1024


def trouble_in_file(path: str, max_age: float) -> str | None:
    """Return what is wrong by a health file; None when it is young enough, in seconds, and says that all is well."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib is slow to import
            age = time.time() - os.fstat(file.fileno()).st_mtime
            document: Any = json.loads(file.read(_LARGEST))
    except FileNotFoundError:
        return f"there is no file {path}: no worker lives, or it writes elsewhere"
    except (OSError, ValueError) as exc:
        return f"the file {path} cannot be read: {exc}"
    if age > max_age:
        return f"the file {path} is {age:.0f} s old, and may be {max_age:g} s: the worker has gone, or hangs"
    if not isinstance(document, dict) or document.get("is_live") is not True:
        return f"the file {path} does not say that the worker lives"
    return None


def trouble_at(url: str) -> str | None:
    """Return what is wrong by a page; None for one that answers with 200. A bare host asks for `/livez`.

    Raises `ConfigurationError` for what is no URL.
    """
    text = url.removeprefix(":")
    text = f"127.0.0.1:{text}" if text.isdecimal() else text
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme != "http" or not parts.hostname:
        raise ConfigurationError(f"expected a URL like http://127.0.0.1:9464/livez, got {url!a:.80}")
    path = parts.path or "/livez"
    connection = http.client.HTTPConnection(parts.hostname, port or 80, timeout=PATIENCE)
    try:
        connection.request("GET", f"{path}?{parts.query}" if parts.query else path)
        answer = connection.getresponse()
        if answer.status == 200:
            return None
        body = answer.read(500).decode("utf-8", "replace").strip()
        return f"{path} answers {answer.status}: {body}"
    except (OSError, http.client.HTTPException) as exc:
        return f"{parts.hostname}:{port or 80} does not answer: {exc or type(exc).__name__}"
    finally:
        connection.close()
