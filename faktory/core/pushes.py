"""What a push is before it is sent, and what its failure means: for the blocking client and the async one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..commands import encode_job
from ..errors import (
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    FaktoryError,
    InvalidJob,
    PushOutcomeUnknown,
)
from ..job import Job
from ..options import BULK_BYTES, BULK_SIZE
from .backoff import Backoff
from .hand import refuse_in_hand


def check_settings(connect_timeout: float, timeout: float, push_retries: int) -> None:
    """Refuse what a client cannot work with. Raises `ConfigurationError`."""
    if type(push_retries) is not int or not 0 <= push_retries <= 1_000:
        raise ConfigurationError(f"push_retries must be an integer from 0 to 1,000, got {push_retries!a}")
    for name, value in (("connect_timeout", connect_timeout), ("timeout", timeout)):
        if not isinstance(value, (int, float)) or not 0 < value <= 86_400:
            raise ConfigurationError(f"{name} must be seconds, above 0 and at most 86,400, got {value!a}")


class PushAttempts:
    """What is known of a push that is tried up to `retries` times more; a question has no `jids`. For both clients."""

    __slots__ = ("_backoff", "_jids", "_left", "_lost")

    def __init__(self, jids: list[str], retries: int) -> None:
        self._jids = jids
        self._left = retries
        self._lost: ConnectionLost | None = None
        self._backoff: Backoff | None = None

    def next_delay(self, error: FaktoryError) -> float | None:
        """Return when to try again, in seconds, after an attempt that failed; None when its error is the outcome.

        Raises `PushOutcomeUnknown` when there is no other try and this one, or one before, has perhaps stored the jobs,
        whatever a later one met with.
        """
        if self._jids and isinstance(error, ConnectionLost) and error.maybe_executed:
            self._lost = error
        if self._left and isinstance(error, (ConnectionLost, ConnectFailed)):
            self._left -= 1
            self._backoff = self._backoff or Backoff()
            return self._backoff.next_delay()
        if self._lost is None:
            return None
        raise _outcome_unknown(self._jids, self._lost) from error

    def check(self, refused: object) -> None:
        """Doubt a refusal after a lost reply: an attempt before may have been accepted. Raises `PushOutcomeUnknown`.

        It may even be the reason, as for a job with `unique_for`.
        """
        if self._lost is not None and isinstance(refused, dict) and refused:
            raise _outcome_unknown(list(refused), self._lost) from self._lost


def _outcome_unknown(jids: list[str], lost: ConnectionLost) -> PushOutcomeUnknown:
    what = f"job {jids[0]!a} is" if len(jids) == 1 else f"{len(jids)} jobs from {jids[0]!a} on are"
    return PushOutcomeUnknown(
        f"the reply to a push was lost, so {what} stored or not; pushing again under the same jid runs it at "
        f"least once, perhaps twice: {lost}",
        jids,
    )


def check_job(job: object) -> None:
    """Refuse to push what is no job, or the one that runs just now. Raises `InvalidJob`."""
    if not isinstance(job, Job):
        raise InvalidJob(f"expected a Job to push, got {type(job).__name__}; write Job(jobtype, args)")
    refuse_in_hand(job)


def drawn_from(jobs: Iterable[Job]) -> Iterator[Job]:
    """Return the iterator over jobs. Raises `InvalidJob` where there is none."""
    if isinstance(jobs, Job):
        raise InvalidJob("expected several Jobs to push, got one; use push, or a list")
    try:
        return iter(jobs)
    except TypeError:
        hint = "; collect what an async generator makes in a list" if hasattr(jobs, "__aiter__") else ""
        raise InvalidJob(f"expected Jobs to push, in a list or any iterable, got {type(jobs).__name__}{hint}") from None


def chunks_of(jobs: Iterable[Job]) -> Iterator[tuple[list[str], list[bytes], list[Job]]]:
    """Encode jobs and gather them into PUSHBs of bounded count and size."""
    jids: list[str] = []
    documents: list[bytes] = []
    chunk: list[Job] = []
    size = 0
    for job in drawn_from(jobs):
        check_job(job)
        document = encode_job(job)
        jids.append(job.jid)
        documents.append(document)
        chunk.append(job)
        size += len(document)
        if len(jids) >= BULK_SIZE or size >= BULK_BYTES:
            yield _checked(jids), documents, chunk
            jids, documents, chunk, size = [], [], [], 0
    if jids:
        yield _checked(jids), documents, chunk


def _checked(jids: list[str]) -> list[str]:
    # The server's answer is keyed by jid: of two jobs with the same one it could not be told which was refused.
    if len(set(jids)) != len(jids):
        twice = next(jid for jid in jids if jids.count(jid) > 1)
        raise InvalidJob(f"two jobs of one push_bulk have the jid {twice!a}; give each its own", twice)
    return jids
