"""The commands that jobs travel by: PUSH, PUSHB, FETCH, ACK, FAIL, and the worker's BEAT. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, Final, Literal

from ..errors import ConfigurationError, InvalidJob, ServerError
from ..job import Job, check_queue_name
from ..options import MAX_BACKTRACE, MAX_ERRTYPE, MAX_MESSAGE
from ..protocol.wire import MAX_BULK, Reply, refusal
from ..runtime.interpreter import json_parts
from .base import Acknowledged, document_of, encode, encoder, several, unexpected

State = Literal["quiet", "terminate"]

# What `encode` makes anew at each call, made once: 1 µs of each push. Documents are trees, checked by `Job`: no cycles.
_encode_parts: Final = json_parts(encoder)


class Push(Acknowledged):
    """PUSH of one job. Servers from 1.6 on better get `PushBulk([job])`: their PUSH shares one retry variable.

    >>> connection.call(Push(Job("resize", ["cat.png"])))
    """

    __slots__ = ()

    def __init__(self, job: Job) -> None:
        self.line: bytes = b"PUSH %b\r\n" % encode_job(job)


class PushBulk:
    """PUSHB of several jobs. Decodes to what was refused: jid to error; empty when all were stored.

    >>> refused = connection.call(PushBulk([Job("resize", [path]) for path in paths]))
    """

    __slots__ = ("jids", "line")

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jids: tuple[str, ...] = tuple(job.jid for job in jobs)
        self.line: bytes = b"PUSHB [%b]\r\n" % b",".join(map(encode_job, jobs))

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
        return {jid: refusal(str(text)) for jid, text in document_of(reply).items()}


def encode_job(job: Job) -> bytes:
    """Return the job as compact JSON. Raises `InvalidJob`, also for one that no worker of ours would take back."""
    data = "".join(_encode_parts(job.to_document(), 0)).encode("ascii")
    # The server adds two times of its own, and stores each of < > & in six bytes.
    if len(data) > MAX_BULK // 6 and len(data) + 5 * sum(map(data.count, b"<>&")) + 1024 > MAX_BULK:
        raise InvalidJob(
            f"a job must not exceed {MAX_BULK} bytes, got {len(data)}; store it and send a reference", job.jid
        )
    return data


class Fetch:
    """FETCH from queues, in their order. Decodes to a job, or None when the server had none for about 2 s.

    >>> job = connection.call(Fetch(["images", "default"]))
    """

    __slots__ = ("line",)

    def __init__(self, queues: Iterable[str]) -> None:
        names = [check_queue_name(name) for name in several("queues", queues)]
        if not names:
            raise ConfigurationError('expected at least one queue to fetch from, got none; pass ["default"]')
        self.line: bytes = b"FETCH %b\r\n" % " ".join(names).encode()

    def decode(self, reply: Reply) -> Job | None:
        """Return the job. Raises `InvalidJob` (with the jid where one can be made out) when it cannot be read."""
        if reply is None:
            return None
        if type(reply) is not bytes:
            raise unexpected("a job", reply)
        return Job.decode(reply)


class Ack(Acknowledged):
    """ACK of a job that succeeded. Also OK for a jid the server does not know (manager/working.go).

    >>> connection.call(Ack(job.jid))
    """

    __slots__ = ("jid",)

    def __init__(self, jid: str) -> None:
        self.jid: str = jid
        self.line: bytes = f'ACK {{"jid":{_quote(jid)}}}\r\n'.encode("ascii")


class Fail(Acknowledged):
    """FAIL of a job, with what went wrong; all texts are cut to what the server keeps, on whole characters.

    Its "Job not found" counts as done: the server no longer waits for this job (manager/retry.go).

    >>> connection.call(Fail(job.jid, "ValueError", "no such picture", ["resize.py:7"]))
    """

    __slots__ = ("jid",)

    def __init__(self, jid: str, errtype: str, message: str, backtrace: Sequence[str] = ()) -> None:
        self.jid: str = jid
        document = {
            "jid": jid,
            "errtype": cut(errtype, MAX_ERRTYPE),
            "message": cut(message, MAX_MESSAGE),
            "backtrace": [cut(line, MAX_MESSAGE) for line in backtrace[:MAX_BACKTRACE]],
        }
        self.line: bytes = b"FAIL %b\r\n" % encode(document).encode("ascii")

    def decode(self, reply: Reply) -> None:
        """Return None when the failure is recorded, or the job is unknown. Raises `ServerError`, `ProtocolError`."""
        if reply != "OK" and not is_not_found(reply):
            raise unexpected("OK", reply)


def is_not_found(reply: Reply) -> bool:
    """True for the reply to FAIL that says that the job is settled already."""
    return isinstance(reply, ServerError) and reply.text.lower().startswith("job not found")


def cut(text: str, limit: int) -> str:
    """Shorten `text` to `limit` bytes of UTF-8 on a character, with lone surrogates replaced."""
    # Four bytes a character at most: a text of megabytes is cut before it is encoded.
    return text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


class Beat:
    """BEAT of a worker. Decodes to the state the server wants: None to go on, "quiet" or "terminate".

    >>> wanted = connection.call(Beat(wid, rss_kb=51_200))
    """

    __slots__ = ("line",)

    def __init__(self, wid: str, *, current_state: State | None = None, rss_kb: int | None = None) -> None:
        document: dict[str, Any] = {"wid": wid}
        if current_state is not None:
            document["current_state"] = current_state
        if rss_kb is not None:
            document["rss_kb"] = rss_kb
        self.line: bytes = b"BEAT %b\r\n" % encode(document).encode("ascii")

    def decode(self, reply: Reply) -> str | None:
        """Return the wanted state, as the server spells it. Raises `ServerError` for an unknown worker."""
        if reply == "OK":
            return None
        # The server sends a bulk string, its specification says a status line: both are read.
        state = document_of(reply).get("state")
        return state if isinstance(state, str) else None


def is_unknown_worker(error: ServerError) -> bool:
    """True for the reply to BEAT that asks for a new HELLO; the wording's case has changed between versions."""
    return "unknown worker" in error.text.lower()
