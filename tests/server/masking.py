"""Make replies of two servers comparable: times, lengths and numbers of the moment go, key order does not count."""

from __future__ import annotations

import json
import re
from typing import Any

_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
_OF_THE_MOMENT = {"total_failures", "total_processed", "total_queues", "uptime", "connections", "command_count"}
_MASKED_OBJECTS = {"tasks": "<TASKS>", "queues": "<QUEUES>"}


def masked(reply: bytes) -> Any:
    """A reply as a value that is equal for equal behaviour."""
    kind, body = reply[:1], reply[1:].removesuffix(b"\r\n")
    if kind == b"$" and body != b"-1":
        text = body.partition(b"\r\n")[2]
        try:
            return _masked_value(json.loads(text))
        except ValueError:
            return text
    if kind == b"-":
        # From here on it is the wording of Go's decoders.
        if body.startswith(b"ERR invalid JSON:"):
            return b"-ERR invalid JSON"
        return b"-" + _TIME.sub(b"<TIME>", body.partition(b": parsing time ")[0])
    return kind + body


def masked_recording(reply: str) -> Any:
    """The same for a recorded reply, which is masked already."""
    for name, mark in _MASKED_OBJECTS.items():
        reply = reply.replace(f'"{name}":{mark}', f'"{name}":"{mark}"')
    return masked(reply.replace("<NUM>", "0").replace("<LEN>", "0").encode())


def _masked_value(value: Any, key: str = "") -> Any:
    if key in _MASKED_OBJECTS:
        return _MASKED_OBJECTS[key]
    if key in _OF_THE_MOMENT or key == "used_memory_mb":
        return "<NUM>"
    if isinstance(value, dict):
        return {name: _masked_value(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked_value(item) for item in value]
    if isinstance(value, str):
        if key == "server_utc_time":
            return "<TIME>"
        return _TIME.sub(b"<TIME>", value.partition(": parsing time ")[0].encode()).decode()
    return value
