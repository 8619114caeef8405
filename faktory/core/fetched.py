"""What the reply to a FETCH means, and what to do about it. Pure; both shells ask here and carry it out.

A worker never dies of a job: what cannot be read, or has no handler, is failed by its jid. What has not even a jid is
left to its reservation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..commands import Fail, Fetch
from ..errors import FaktoryError, InvalidJob, ServerError, UnknownJobType
from ..job import Job
from ..options import UNKNOWN_DELAY
from ..protocol.wire import Reply
from .registry import unknown_jobtype


@dataclass(frozen=True, slots=True)
class Refused:
    """A job that is failed without being run."""

    job: Job
    command: Fail
    kind: str
    """What it has in common with others: such failures are told once in a while."""
    text: str
    """For the log."""
    error: FaktoryError | None = None
    """What `on_failure` and `on_death` are told; None for what is no job to tell of."""
    pause: float = 0.0
    """Seconds before the next FETCH: a queue full of such jobs is no hot loop."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """No job, but not because there was none."""

    kind: str
    """What it has in common with others, as above."""
    text: str
    """For the log."""
    needs_pause: bool
    """True when the next FETCH should wait, longer each time; False when asking at once is right."""


def read_fetched(fetch: Fetch, reply: Reply, handlers: Mapping[str, object]) -> Job | Refused | Trouble | None:
    """Return the job to run, None when there was none, or what is wrong. Raises `ProtocolError` for no reply at all."""
    try:
        job = fetch.decode(reply)
    except InvalidJob as exc:
        return _unreadable(exc)
    except ServerError as exc:
        # An entry that the server itself cannot read is gone from its queue: the next one may be right behind it.
        needs_pause = "unmarshal" not in exc.text
        return Trouble(f"FETCH {exc.text:.40}", f"FETCH was answered with an error: {str(exc)[:500]!a}", needs_pause)
    if job is None or job.jobtype in handlers:
        return job
    message = unknown_jobtype(job.jobtype, handlers)
    error = UnknownJobType(message)
    command = Fail(job.jid, type(error).__name__, message)
    kind, text = f"unknown {job.jobtype:.100}", f"job {job.jid!a} failed: {message}"
    return Refused(job, command, kind, text, error, pause=UNKNOWN_DELAY)


def _unreadable(error: InvalidJob) -> Refused | Trouble:
    if error.jid is None:
        text = f"got a job that cannot be read, without a jid to fail it by; it will come again: {error}"
        return Trouble("unreadable", text, needs_pause=False)
    job = Job.from_document({"jid": error.jid, "jobtype": "malformed", "args": []})
    command = Fail(error.jid, "MalformedJob", str(error))
    return Refused(job, command, f"malformed {error.jid}", f"job {error.jid!a} cannot be read and was failed: {error}")
