"""The commands that look after a server: INFO, FLUSH, QUEUE, MUTATE. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..errors import ConfigurationError, ProtocolError
from ..job import check_queue_name
from ..protocol.wire import Reply
from .base import Acknowledged, Object, document_of, encode, several

Target = Literal["retries", "scheduled", "dead"]

_NO_FILTER: Final = re.compile(r"[\[\]*?^<>&\\\"\x00-\x1f\u2028\u2029\ud800-\udfff]")


class Info(Object):
    """INFO: the server's figures as a JSON object (PROTOCOL: client/faktory.go).

    >>> print(connection.call(Info())["faktory"]["queues"])
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.line: bytes = b"INFO\r\n"


class Flush(Acknowledged):
    """FLUSH: delete everything the server stores, at once, whoever asks.

    >>> connection.call(Flush())
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.line: bytes = b"FLUSH\r\n"


END: Final = b"END\r\n"
"""The farewell. It has no reply, whatever the specification says: the server closes the connection."""


class _Queues(Acknowledged):
    __slots__ = ()
    word: str

    def __init__(self, names: Iterable[str]) -> None:
        self.line: bytes = _queue_line(self.word, names, wildcard=True)


class PauseQueues(_Queues):
    """QUEUE PAUSE; `*` is all. A queue the server has never seen stays as it is, and the reply is still OK.

    >>> connection.call(PauseQueues(["images", "mail"]))
    """

    __slots__ = ()
    word = "PAUSE"


class ResumeQueues(_Queues):
    """QUEUE RESUME; `*` is all.

    >>> connection.call(ResumeQueues(["*"]))
    """

    __slots__ = ()
    word = "RESUME"


class RemoveQueues(_Queues):
    """QUEUE REMOVE; `*` is all. Deletes the queues with their jobs.

    >>> connection.call(RemoveQueues(["images"]))
    """

    __slots__ = ()
    word = "REMOVE"


class QueueLatency:
    """QUEUE LATENCY: how long the oldest job of each queue has waited, in seconds; 0 for an unknown queue.

    >>> seconds = connection.call(QueueLatency(["images"]))["images"]
    """

    __slots__ = ("line",)

    def __init__(self, names: Iterable[str]) -> None:
        self.line: bytes = _queue_line("LATENCY", names, wildcard=False)

    def decode(self, reply: Reply) -> dict[str, float]:
        """Return seconds by queue. Raises `ServerError`, `ProtocolError`."""
        document = document_of(reply)
        for name, value in document.items():
            # NaN fails the comparison; so do infinities, and integers that float() could not take.
            if type(value) not in (int, float) or not abs(value) < 1e15:
                raise ProtocolError(f"expected seconds for the queue {name!a:.40}, got {value!a:.40}")
        return {name: float(value) for name, value in document.items()}


def _queue_line(word: str, names: Iterable[str], *, wildcard: bool) -> bytes:
    checked = [name if wildcard and name == "*" else check_queue_name(name) for name in several("queues", names)]
    if not checked:
        # Without a name some servers panic inside (server/commands.go).
        raise ConfigurationError(f"expected at least one queue name for QUEUE {word}, got none")
    return f"QUEUE {word} {' '.join(checked)}\r\n".encode()


# -- retries, scheduled and dead sets -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a MUTATE acts on: by `jids`, else by `jobtype` and `regexp`.

    `regexp` is not one: it is a Redis glob over the stored JSON, so it needs `*` on both sides, and `<`, `>`, `&` are
    stored as \\u003c, \\u003e, \\u0026 (server/mutate.go). An empty filter is refused; say `JobFilter.everything()`.

    >>> client.requeue("dead", JobFilter(jobtype="resize"))
    >>> client.discard("retries", JobFilter(jids=["0123456789abcdef"]))
    """

    jobtype: str | None = None
    jids: Sequence[str] | None = None
    regexp: str | None = None
    _everything: bool = False

    def __post_init__(self) -> None:
        if self.jids is not None:
            object.__setattr__(self, "jids", tuple(several("jids", self.jids)))
            if not self.jids:  # a search that found none must not become "all of this type"
                raise ConfigurationError(
                    "jids must name at least one job, got none; leave jids out to filter by the rest"
                )
        for name, value in (("jobtype", self.jobtype), ("regexp", self.regexp)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigurationError(f"{name} must be a non-empty text, got {value!a:.40}")
        for jid in self.jids or ():
            if not isinstance(jid, str) or not jid:
                raise ConfigurationError(f"jids must be non-empty texts, got {jid!a:.40}")
        named = bool(self.jobtype or self.jids or self.regexp)
        if named == self._everything:
            raise ConfigurationError(
                "expected a filter with a jobtype, jids or regexp, got an empty one, which would act on every job; "
                "say JobFilter.everything() to mean that"
            )
        if self.jobtype is not None and _NO_FILTER.search(self.jobtype):
            # The server pastes the text into a glob over escaped JSON: these would match other jobs, or none.
            raise ConfigurationError(
                f"the server cannot filter by the job type {self.jobtype!a:.60}: it holds a character of globs, "
                "HTML or JSON escapes; filter by jids or regexp"
            )

    @classmethod
    def everything(cls) -> JobFilter:
        """Return the filter that every job passes."""
        return cls(_everything=True)

    def to_document(self) -> dict[str, Any]:
        """Return the filter as MUTATE's JSON."""
        pairs = {"jids": self.jids, "regexp": self.regexp, "jobtype": self.jobtype}
        return {key: value for key, value in pairs.items() if value}


class Mutate(Acknowledged):
    """MUTATE: clear, kill, discard or requeue jobs of a set. OK whether or not any job matched.

    >>> connection.call(Mutate("requeue", "dead", JobFilter(jobtype="resize")))
    """

    __slots__ = ()

    def __init__(
        self,
        operation: Literal["clear", "kill", "discard", "requeue"],
        target: Target,
        job_filter: JobFilter,
    ) -> None:
        if operation not in ("clear", "kill", "discard", "requeue"):
            raise ConfigurationError(f"operation must be clear, kill, discard or requeue, got {operation!a:.40}")
        if target not in ("retries", "scheduled", "dead"):
            raise ConfigurationError(f'target must be "retries", "scheduled" or "dead", got {target!a:.40}')
        if not isinstance(job_filter, JobFilter):
            raise ConfigurationError(f"filter must be a JobFilter, got {type(job_filter).__name__}")
        document: dict[str, Any] = {"cmd": operation, "target": target}
        chosen = job_filter.to_document()
        if chosen and operation == "clear":
            raise ConfigurationError(
                "the server ignores a filter for clear and would empty the whole set; use discard, or "
                "JobFilter.everything()"
            )
        if chosen:
            document["filter"] = chosen
        # The server splits the line at its spaces and wants two parts: spaces inside strings go out escaped.
        self.line: bytes = b"MUTATE %b\r\n" % encode(document).replace(" ", "\\u0020").encode("ascii")
