"""One small class per command: `line`, the bytes to send, and `decode`, what the reply means. Pure.

Whatever a verb is followed by comes from `json` or is checked against a pattern, so no argument can smuggle in a line.
Sources: server/commands.go, server/mutate.go, manager/*.go, client/batch.go and client/tracking.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, Final, Literal, Protocol, TypeVar

from .errors import ConfigurationError, InvalidJob, ProtocolError, ServerError
from .job import Job, check_queue_name
from .options import MAX_BACKTRACE, MAX_ERRTYPE, MAX_MESSAGE
from .wire import MAX_BULK, Reply, refusal, shown

T_co = TypeVar("T_co", covariant=True)

_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_ID: Final = re.compile(r"[!-~]+")
_NO_FILTER: Final = re.compile(r"[\[\]*?^<>&\\\"\x00-\x1f\u2028\u2029\ud800-\udfff]")

Target = Literal["retries", "scheduled", "dead"]
State = Literal["quiet", "terminate"]


class Command(Protocol[T_co]):
    """What a connection can carry out. `line` ends in CR LF; `decode` raises what an error reply stands for."""

    @property
    def line(self) -> bytes: ...

    def decode(self, reply: Reply) -> T_co: ...


def _unexpected(wanted: str, reply: Reply) -> Exception:
    if isinstance(reply, ServerError):
        return reply
    return ProtocolError(f"expected {wanted}, got {shown(reply)}")


def _document(reply: Reply) -> dict[str, Any]:
    """Read a JSON object from a bulk string or a status line: the server has used both."""
    if not isinstance(reply, (bytes, str)):
        raise _unexpected("a JSON object", reply)
    try:
        document = json.loads(reply)
    except (ValueError, RecursionError) as exc:
        raise _unexpected("a JSON object", reply) from exc
    if not isinstance(document, dict):
        raise _unexpected("a JSON object", reply)
    return document


def _several(what: str, values: object) -> list[Any]:
    """Return the values as a list. One text is refused: its letters would be taken for as many names."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigurationError(f"expected {what} in a list, got {type(values).__name__} {values!a:.60}")
    return list(values)


class _Acknowledged:
    """Base of the commands whose only good reply is OK."""

    __slots__ = ("line",)
    line: bytes

    def decode(self, reply: Reply) -> None:
        """Return None for OK. Raises `ServerError`, `ProtocolError`."""
        if reply != "OK":
            raise _unexpected("OK", reply)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Push(_Acknowledged):
    """PUSH of one job. Servers from 1.6 on better get `PushBulk([job])`: their PUSH shares one retry variable."""

    __slots__ = ()

    def __init__(self, job: Job) -> None:
        self.line = b"PUSH %b\r\n" % encode_job(job)


class PushBulk:
    """PUSHB of several jobs. Decodes to what was refused: jid to error; empty when all were stored."""

    __slots__ = ("jids", "line")

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jids = tuple(job.jid for job in jobs)
        self.line = b"PUSHB [%b]\r\n" % b",".join(map(encode_job, jobs))

    @classmethod
    def of_encoded(cls, jids: Sequence[str], documents: Sequence[bytes]) -> PushBulk:
        """Make one of jobs that `encode_job` has turned into bytes already."""
        command = cls.__new__(cls)
        command.jids = tuple(jids)
        command.line = b"PUSHB [%b]\r\n" % b",".join(documents)
        return command

    def decode(self, reply: Reply) -> dict[str, ServerError]:
        """Return the refused jobs. Raises `ServerError` when the server refused the whole batch."""
        if reply == b"{}":
            return {}
        return {jid: refusal(str(text)) for jid, text in _document(reply).items()}


def encode_job(job: Job) -> bytes:
    """Return the job as compact JSON. Raises `InvalidJob`, also for one that no worker of ours would take back."""
    data = _encode(job.to_document()).encode("ascii")
    # The server adds two times of its own, and stores each of < > & in six bytes.
    if len(data) > MAX_BULK // 6 and len(data) + 5 * sum(map(data.count, b"<>&")) + 1024 > MAX_BULK:
        raise InvalidJob(
            f"a job must not exceed {MAX_BULK} bytes, got {len(data)}; store it and send a reference", job.jid
        )
    return data


class Fetch:
    """FETCH from queues, in their order. Decodes to a job, or None when the server had none for about 2 s."""

    __slots__ = ("line",)

    def __init__(self, queues: Iterable[str]) -> None:
        names = [check_queue_name(name) for name in _several("queues", queues)]
        if not names:
            raise ConfigurationError('expected at least one queue to fetch from, got none; pass ["default"]')
        self.line = b"FETCH %b\r\n" % " ".join(names).encode()

    def decode(self, reply: Reply) -> Job | None:
        """Return the job. Raises `InvalidJob` (with the jid where one can be made out) when it cannot be read."""
        if reply is None:
            return None
        if type(reply) is not bytes:
            raise _unexpected("a job", reply)
        return Job.decode(reply)


class Ack(_Acknowledged):
    """ACK of a job that succeeded. Also OK for a jid the server does not know (manager/working.go)."""

    __slots__ = ("jid",)

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.line = b'ACK {"jid":%b}\r\n' % _quote(jid).encode("ascii")


class Fail(_Acknowledged):
    """FAIL of a job, with what went wrong; all texts are cut to what the server keeps, on whole characters.

    Its "Job not found" counts as done: the server no longer waits for this job (manager/retry.go).
    """

    __slots__ = ("jid",)

    def __init__(self, jid: str, errtype: str, message: str, backtrace: Sequence[str] = ()) -> None:
        self.jid = jid
        document = {
            "jid": jid,
            "errtype": cut(errtype, MAX_ERRTYPE),
            "message": cut(message, MAX_MESSAGE),
            "backtrace": [cut(line, MAX_MESSAGE) for line in backtrace[:MAX_BACKTRACE]],
        }
        self.line = b"FAIL %b\r\n" % _encode(document).encode("ascii")

    def decode(self, reply: Reply) -> None:
        """Return None when the failure is recorded, or the job is unknown. Raises `ServerError`, `ProtocolError`."""
        if reply != "OK" and not is_not_found(reply):
            raise _unexpected("OK", reply)


def is_not_found(reply: Reply) -> bool:
    """True for the reply to FAIL that says that the job is settled already."""
    return isinstance(reply, ServerError) and reply.text.lower().startswith("job not found")


def cut(text: str, limit: int) -> str:
    """Shorten `text` to `limit` bytes of UTF-8 on a character, with lone surrogates replaced."""
    # Four bytes a character at most: a text of megabytes is cut before it is encoded.
    return text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


class Beat:
    """BEAT of a worker. Decodes to the state the server wants: None to go on, "quiet" or "terminate"."""

    __slots__ = ("line",)

    def __init__(self, wid: str, *, current_state: State | None = None, rss_kb: int | None = None) -> None:
        document: dict[str, Any] = {"wid": wid}
        if current_state is not None:
            document["current_state"] = current_state
        if rss_kb is not None:
            document["rss_kb"] = rss_kb
        self.line = b"BEAT %b\r\n" % _encode(document).encode("ascii")

    def decode(self, reply: Reply) -> str | None:
        """Return the wanted state, as the server spells it. Raises `ServerError` for an unknown worker."""
        if reply == "OK":
            return None
        # The server sends a bulk string, its specification says a status line: both are read.
        state = _document(reply).get("state")
        return state if isinstance(state, str) else None


def is_unknown_worker(error: ServerError) -> bool:
    """True for the reply to BEAT that asks for a new HELLO; the wording's case has changed between versions."""
    return "unknown worker" in error.text.lower()


class _Object:
    """Base of the commands that are answered with a JSON object."""

    __slots__ = ("line",)
    line: bytes

    def decode(self, reply: Reply) -> dict[str, Any]:
        """Return the object. Raises `ServerError` (also `EnterpriseRequired`), `ProtocolError`."""
        return _document(reply)


class Info(_Object):
    """INFO: the server's figures as a JSON object (PROTOCOL: client/faktory.go)."""

    __slots__ = ()

    def __init__(self) -> None:
        self.line = b"INFO\r\n"


class Flush(_Acknowledged):
    """FLUSH: delete everything the server stores, at once, whoever asks."""

    __slots__ = ()

    def __init__(self) -> None:
        self.line = b"FLUSH\r\n"


END: Final = b"END\r\n"
"""The farewell. It has no reply, whatever the specification says: the server closes the connection."""


class _Queues(_Acknowledged):
    __slots__ = ()
    word: str

    def __init__(self, names: Iterable[str]) -> None:
        self.line = _queue_line(self.word, names, wildcard=True)


class PauseQueues(_Queues):
    """QUEUE PAUSE; `*` is all. A queue the server has never seen stays as it is, and the reply is still OK."""

    __slots__ = ()
    word = "PAUSE"


class ResumeQueues(_Queues):
    """QUEUE RESUME; `*` is all."""

    __slots__ = ()
    word = "RESUME"


class RemoveQueues(_Queues):
    """QUEUE REMOVE; `*` is all. Deletes the queues with their jobs."""

    __slots__ = ()
    word = "REMOVE"


class QueueLatency:
    """QUEUE LATENCY: how long the oldest job of each queue has waited, in seconds; 0 for an unknown queue."""

    __slots__ = ("line",)

    def __init__(self, names: Iterable[str]) -> None:
        self.line = _queue_line("LATENCY", names, wildcard=False)

    def decode(self, reply: Reply) -> dict[str, float]:
        """Return seconds by queue. Raises `ServerError`, `ProtocolError`."""
        document = _document(reply)
        for name, value in document.items():
            # NaN fails the comparison; so do infinities, and integers that float() could not take.
            if type(value) not in (int, float) or not abs(value) < 1e15:
                raise ProtocolError(f"expected seconds for the queue {name!a:.40}, got {value!a:.40}")
        return {name: float(value) for name, value in document.items()}


def _queue_line(word: str, names: Iterable[str], *, wildcard: bool) -> bytes:
    checked = [name if wildcard and name == "*" else check_queue_name(name) for name in _several("queues", names)]
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
    """

    jobtype: str | None = None
    jids: Sequence[str] | None = None
    regexp: str | None = None
    _everything: bool = False

    def __post_init__(self) -> None:
        if self.jids is not None:
            object.__setattr__(self, "jids", tuple(_several("jids", self.jids)))
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


class Mutate(_Acknowledged):
    """MUTATE: clear, kill, discard or requeue jobs of a set. OK whether or not any job matched."""

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
        self.line = b"MUTATE %b\r\n" % _encode(document).replace(" ", "\\u0020").encode("ascii")


# -- Enterprise: batches and tracking -------------------------------------------------------------------------------


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
            raise _unexpected("a batch id", reply)
        return reply


class BatchNew(_BatchId):
    """BATCH NEW: begin a batch, whose callbacks are jobs. `parent_bid` nests it."""

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
        self.line = b"BATCH NEW %b\r\n" % _encode(document).encode("ascii")


class BatchOpen(_BatchId):
    """BATCH OPEN: reopen a batch from inside one of its jobs."""

    __slots__ = ()

    def __init__(self, bid: str) -> None:
        self.line = b"BATCH OPEN %b\r\n" % _check_id("bid", bid).encode()


class BatchCommit(_Acknowledged):
    """BATCH COMMIT: no more jobs will be added; the callbacks may run."""

    __slots__ = ()

    def __init__(self, bid: str) -> None:
        self.line = b"BATCH COMMIT %b\r\n" % _check_id("bid", bid).encode()


class BatchStatus(_Object):
    """BATCH STATUS: the batch's counts and callback states as a JSON object."""

    __slots__ = ()

    def __init__(self, bid: str) -> None:
        self.line = b"BATCH STATUS %b\r\n" % _check_id("bid", bid).encode()


class TrackGet(_Object):
    """TRACK GET: a job's progress as a JSON object; the state of an unknown job is "unknown"."""

    __slots__ = ()

    def __init__(self, jid: str) -> None:
        self.line = b"TRACK GET %b\r\n" % _check_id("jid", jid).encode()


class TrackSet(_Acknowledged):
    """TRACK SET: record a job's progress; `reserve_until` (RFC 3339) extends its reservation."""

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
        self.line = b"TRACK SET %b\r\n" % _encode(document).encode("ascii")
