"""Who tells what waits: our own server over the protocol, any other one by its Web UI."""

from __future__ import annotations

import argparse
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from ..client import Client
from ..commands.base import Object
from ..errors import ProtocolError, ServerError
from .connecting import context_of
from .entries import Entry

_AT_ONCE: Final = 500


class Source(Protocol):
    """Where jobs can be looked at. Changes nothing."""

    def paused(self) -> set[str]:
        """Return the names of the paused queues."""
        ...

    def jobs(self, place: str, limit: int) -> tuple[int, list[Entry]]:
        """Return how many jobs a set has, and the first of them."""
        ...

    def queued(self, queue: str, limit: int) -> list[Entry] | None:
        """Return the first jobs of a queue, next one first; None when there is no such queue."""
        ...

    def job(self, place: str, jid: str) -> Entry | None:
        """Return one job of a set, whole; None when none has this jid."""
        ...


class Peek(Object):
    """PEEK: a command of the embedded server alone (`faktory/server/peek.py`)."""

    __slots__ = ()

    def __init__(self, **asked: object) -> None:
        self.line: bytes = b"PEEK %b\r\n" % json.dumps(asked, separators=(",", ":")).encode("ascii")


class Embedded:
    """A server of ours, that tells by itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def paused(self) -> set[str]:
        """Return the names of the paused queues."""
        return set(_checked(self._ask(), "paused", list))

    def jobs(self, place: str, limit: int) -> tuple[int, list[Entry]]:
        """Return how many jobs a set has, and the first of them, in the order of their time."""
        return self._entries(limit, set=place)

    def queued(self, queue: str, limit: int) -> list[Entry] | None:
        """Return the first jobs of a queue, next one first."""
        return self._entries(limit, queue=queue)[1]

    def job(self, place: str, jid: str) -> Entry | None:
        """Return one job of a set; None when none has this jid."""
        return next(iter(self._entries(1, set=place, jid=jid)[1]), None)

    def _entries(self, limit: int, **asked: object) -> tuple[int, list[Entry]]:
        entries: list[Entry] = []
        while True:
            count = min(_AT_ONCE, limit - len(entries))
            told = self._ask(skip=len(entries), count=count, **asked)
            fresh = _checked(told, "entries", list)
            entries += [Entry.of_document(_checked(each, "job", dict), each.get("time")) for each in fresh]
            if len(fresh) < count or len(entries) >= limit:
                return _checked(told, "size", int), entries

    def _ask(self, **asked: object) -> dict[str, Any]:
        return self._client._call(Peek(**asked))


def _checked(told: dict[str, Any], name: str, kind: type) -> Any:
    value = told.get(name) if isinstance(told, dict) else None
    if not isinstance(value, kind):
        raise ProtocolError(f"PEEK: expected {name} as {kind.__name__}, got {value!a:.40}")
    return value


@contextmanager
def source_of(arguments: argparse.Namespace, client: Client) -> Generator[Source, None, None]:
    """Give the server itself where it is ours and no `--web` is given, else its Web UI."""
    if arguments.web is None:
        try:
            client._call(Peek())
        except ServerError as exc:
            if "unknown command" not in exc.text.lower():
                raise
        else:
            yield Embedded(client)
            return
    from .webui import WebUI  # HTTP is slow to import, and most servers of tests are ours

    web = WebUI(arguments.web, client.address, context_of(arguments.ca, client.address) if arguments.ca else None)
    try:
        yield web
    finally:
        web.close()
