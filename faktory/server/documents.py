"""A job's JSON document as the server reads, checks and stores it. Pure.

`JobDocument.read` takes the known fields out of a decoded value, `JobDocument.encode` gives the text to store, with the
fields in the server's order. Sources: client/job.go and manager/retry.go of contribsys/faktory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .gojson import check_depth, encode, parse, read_fields
from .timestamps import parse_timestamp

_JOB_FIELDS: Final = {
    "retry": "*int",
    "failure": "object",
    "custom": "map[string]interface {}",
    "jid": "string",
    "queue": "string",
    "jobtype": "string",
    "created_at": "string",
    "enqueued_at": "string",
    "at": "string",
    "args": "[]interface {}",
    "reserve_for": "int",
    "backtrace": "int",
}
_FAILURE_FIELDS: Final = {
    "failed_at": "string",
    "next_at": "string",
    "message": "string",
    "errtype": "string",
    "backtrace": "[]string",
    "retry_count": "int",
    "remaining": "int",
}
DEFAULT_RETRY: Final = 25


@dataclass(slots=True)
class FailureDocument:
    """What is remembered of a job's failures."""

    failed_at: str = ""
    next_at: str = ""
    message: str = ""
    errtype: str = ""
    backtrace: list[str] | None = None
    retry_count: int = 0
    remaining: int = 0

    def encode(self) -> str:
        """Write it in the server's order, empty fields left out."""
        parts = [f'"failed_at":{encode(self.failed_at)}']
        if self.next_at:
            parts.append(f'"next_at":{encode(self.next_at)}')
        if self.message:
            parts.append(f'"message":{encode(self.message)}')
        if self.errtype:
            parts.append(f'"errtype":{encode(self.errtype)}')
        if self.backtrace:
            parts.append(f'"backtrace":{encode(self.backtrace)}')
        parts.append(f'"retry_count":{self.retry_count},"remaining":{self.remaining}')
        return "{" + ",".join(parts) + "}"


@dataclass(slots=True)
class JobDocument:
    """A job as the server holds it while it works on it; `retry` None means that the producer did not say."""

    retry: int | None
    failure: FailureDocument | None
    custom: dict[str, Any] | None
    jid: str
    queue: str
    jobtype: str
    created_at: str
    enqueued_at: str
    at: str
    args: list[Any] | None
    reserve_for: int
    backtrace: int

    @classmethod
    def read(cls, value: object, path: str = "Job") -> JobDocument:
        """Take a job out of a decoded value; types are checked, contents are not."""
        get = read_fields(value, _JOB_FIELDS, path, "client.Job").get
        failure = get("failure")
        if failure is not None:
            failure = FailureDocument(**read_fields(failure, _FAILURE_FIELDS, f"{path}.failure"))
        return cls(
            get("retry"),
            failure,
            get("custom"),
            get("jid", ""),
            get("queue", ""),
            get("jobtype", ""),
            get("created_at", ""),
            get("enqueued_at", ""),
            get("at", ""),
            get("args"),
            get("reserve_for", 0),
            get("backtrace", 0),
        )

    @classmethod
    def load(cls, data: bytes) -> JobDocument:
        """Read a job that `encode` wrote."""
        return cls.read(parse(data))

    def encode(self) -> bytes:
        """Write the text that is stored and sent to workers, its fields in the server's order."""
        retry = DEFAULT_RETRY if self.retry is None else self.retry
        parts = [f'{{"retry":{retry}']
        if self.failure is not None:
            parts.append(f'"failure":{self.failure.encode()}')
        if self.custom:
            parts.append(f'"custom":{encode(self.custom)}')
        parts.append(f'"jid":{encode(self.jid)},"queue":{encode(self.queue)},"jobtype":{encode(self.jobtype)}')
        if self.created_at:
            parts.append(f'"created_at":{encode(self.created_at)}')
        if self.enqueued_at:
            parts.append(f'"enqueued_at":{encode(self.enqueued_at)}')
        if self.at:
            parts.append(f'"at":{encode(self.at)}')
        parts.append(f'"args":{encode(self.args)}')
        if self.reserve_for:
            parts.append(f'"reserve_for":{self.reserve_for}')
        if self.backtrace:
            parts.append(f'"backtrace":{self.backtrace}')
        text = ",".join(parts) + "}"
        check_depth(text)
        return text.encode()

    @property
    def due(self) -> float | None:
        """When the job is to run, in seconds since 1970; None when it names no time. Raises `ValueError`."""
        return parse_timestamp(self.at) if self.at else None
