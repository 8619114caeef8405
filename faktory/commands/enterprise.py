"""The commands of Faktory Enterprise: batches and tracking. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import ConfigurationError
from ..job import Job
from ..protocol.wire import Reply
from .base import Acknowledged, Object, encode, unexpected

_ID: Final = re.compile(r"[!-~]+")


def _check_id(name: str, value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ConfigurationError(f"{name} must be printable ASCII without spaces, got {value!a:.60}")
    return value


class _BatchId:
    """Base of the commands that are answered with a batch id."""

    __slots__ = ("line",)
    line: bytes

    def decode(self, reply: Reply) -> str:
        """Return the batch id. Raises `EnterpriseRequired`, `ServerError`, `ProtocolError`."""
        if isinstance(reply, bytes):
            reply = reply.decode("utf-8", "replace")
        if not isinstance(reply, str) or not reply:
            raise unexpected("a batch id", reply)
        return reply


class BatchNew(_BatchId):
    """BATCH NEW: begin a batch, whose callbacks are jobs. `parent_bid` nests it.

    >>> bid = connection.call(BatchNew(success=Job("all_resized")))
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        description: str | None = None,
        success: Job | None = None,
        complete: Job | None = None,
        parent_bid: str | None = None,
    ) -> None:
        if success is None and complete is None:
            raise ConfigurationError("a batch needs a success or a complete callback, got neither")
        document: dict[str, Any] = {}
        if parent_bid is not None:
            document["parent_bid"] = _check_id("parent_bid", parent_bid)
        if description is not None:
            document["description"] = description
        if success is not None:
            document["success"] = success.to_document()
        if complete is not None:
            document["complete"] = complete.to_document()
        self.line: bytes = b"BATCH NEW %b\r\n" % encode(document).encode("ascii")


class BatchOpen(_BatchId):
    """BATCH OPEN: reopen a batch from inside one of its jobs.

    >>> connection.call(BatchOpen(bid))
    """

    __slots__ = ()

    def __init__(self, bid: str) -> None:
        self.line: bytes = b"BATCH OPEN %b\r\n" % _check_id("bid", bid).encode()


class BatchCommit(Acknowledged):
    """BATCH COMMIT: no more jobs will be added; the callbacks may run.

    >>> connection.call(BatchCommit(bid))
    """

    __slots__ = ()

    def __init__(self, bid: str) -> None:
        self.line: bytes = b"BATCH COMMIT %b\r\n" % _check_id("bid", bid).encode()


class BatchStatus(Object):
    """BATCH STATUS: the batch's counts and callback states as a JSON object.

    >>> print(connection.call(BatchStatus(bid))["pending"])
    """

    __slots__ = ()

    def __init__(self, bid: str) -> None:
        self.line: bytes = b"BATCH STATUS %b\r\n" % _check_id("bid", bid).encode()


class TrackGet(Object):
    """TRACK GET: a job's progress as a JSON object; the state of an unknown job is "unknown".

    >>> print(connection.call(TrackGet(jid))["percent"])
    """

    __slots__ = ()

    def __init__(self, jid: str) -> None:
        self.line: bytes = b"TRACK GET %b\r\n" % _check_id("jid", jid).encode()


class TrackSet(Acknowledged):
    """TRACK SET: record a job's progress; `reserve_until` (RFC 3339) extends its reservation.

    >>> connection.call(TrackSet(jid, percent=50, description="half of it"))
    """

    __slots__ = ()

    def __init__(
        self,
        jid: str,
        *,
        percent: int | None = None,
        description: str | None = None,
        reserve_until: str | None = None,
    ) -> None:
        if percent is not None and (type(percent) is not int or not 0 <= percent <= 100):
            raise ConfigurationError(f"percent must be an integer from 0 to 100, got {percent!a:.40}")
        document: dict[str, Any] = {"jid": _check_id("jid", jid)}
        pairs = {"percent": percent, "desc": description, "reserve_until": reserve_until}
        document.update((key, value) for key, value in pairs.items() if value is not None)
        self.line: bytes = b"TRACK SET %b\r\n" % encode(document).encode("ascii")
