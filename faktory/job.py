"""The job: what a producer may say, checked before anything is sent, and what the server says back.

`Job(...)` validates; `Job.to_document` validates again (its `args` are a list that anybody may have changed) and gives
the JSON document; `Job.decode` reads one from the server, leniently where the server is (PROTOCOL: client/job.go,
manager/manager.go, manager/retry.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from os import urandom  # secrets would import hashlib, random and more
from typing import Any, Final, Self

from .errors import ConfigurationError, InvalidJob
from .protocol.moments import aware, moment, rfc3339, shown, time_of
from .protocol.values import CONTROL, MAX_DEPTH, MAX_EXACT_INT, check_depth, check_json, check_text, jid_in, parsed

MAX_RESERVE: Final = 86_400
"""Longest reservation the server grants, in seconds (manager/manager.go)."""
MIN_RESERVE: Final = 60
"""Shortest reservation; the server raises lower values to it when the job is fetched (manager/working.go)."""
DEFAULT_RESERVE: Final = 1_800
"""Reservation of a job that names none, in seconds (manager/working.go)."""
MIN_JID_BYTES: Final = 8

_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Failure:
    """What the server remembers of a job's failures (manager/retry.go).

    `retry_count` is 0 on the first retry; `remaining` counts down to 0. Times are None when unreadable.

    >>> def on_death(job: Job, exc: BaseException) -> None:
    ...     print(job.failure.retry_count if job.failure else 0, "retries before this one")
    """

    retry_count: int = 0
    remaining: int = 0
    failed_at: datetime | None = None
    next_at: datetime | None = None
    errtype: str = ""
    message: str = ""
    backtrace: tuple[str, ...] = ()


class Job:
    """A unit of work: a type, arguments that JSON can carry, and how the server should treat it.

    * `jid`: at least 8 bytes, unique; a random one of 96 bits when None. Reusing a jid while a job with the same one is
      stored or running makes the server mix the two up.
    * `retry`: how often a failing job is run again; 0 drops it at its first failure, negative buries it (dead set).
    * `reserve_for`: seconds a worker may hold the job, at most 86,400; below 60 means 60, None means 1,800.
    * `at`: when to run: an aware `datetime`, or a `timedelta` or seconds from now. The server looks every 5 seconds.
    * `backtrace`: how many lines of a failure's backtrace to keep; None leaves it to the worker.
    * `custom`: a JSON object that travels with the job.

    Raises `InvalidJob` for anything the server would refuse, lose or silently change.

    >>> job = Job("resize", ["cat.png", 800], queue="images", retry=3, at=timedelta(minutes=5))
    >>> jid = client.push(job)
    """

    __slots__ = (
        "_at", "_received", "_source", "args", "backtrace", "custom", "jid", "jobtype", "queue", "reserve_for", "retry",
    )  # fmt: skip

    jobtype: str
    args: list[Any]
    jid: str
    queue: str
    retry: int
    reserve_for: int | None
    backtrace: int | None
    custom: dict[str, Any] | None

    def __init__(
        self,
        jobtype: str,
        args: Sequence[Any] = (),
        *,
        jid: str | None = None,
        queue: str = "default",
        retry: int = 25,
        reserve_for: int | None = None,
        at: datetime | timedelta | float | None = None,
        backtrace: int | None = None,
        custom: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(args, (list, tuple)):
            raise InvalidJob(f"args must be a list or tuple of the handler's arguments, got {shown(args)}")
        self.jobtype = jobtype
        self.args = list(args)
        self.jid = urandom(12).hex() if jid is None else jid
        self.queue = queue
        self.retry = retry
        self.reserve_for = reserve_for
        self._at = None if at is None else moment(at)
        self.backtrace = backtrace
        if custom is not None and not isinstance(custom, Mapping):
            raise InvalidJob(f"custom must be a mapping of JSON values, got {shown(custom)}")
        self.custom = None if custom is None else dict(custom)
        self._received: dict[str, Any] = {}
        self._source = b""
        self._check()

    @property
    def at(self) -> datetime | None:
        """When the job is to run; None is at once. Set it to an aware `datetime`, a `timedelta` or seconds from now."""
        return self._at

    @at.setter
    def at(self, when: datetime | timedelta | float | None) -> None:
        self._at = None if when is None else moment(when)

    # -- what the server says back ------------------------------------------------------------------------------

    @property
    def created_at(self) -> datetime | None:
        """When the job was first pushed; None on a job not fetched, or when the text is no time."""
        return time_of(self._received.get("created_at"))

    @property
    def enqueued_at(self) -> datetime | None:
        """When the job last entered its queue; None on a job not fetched."""
        return time_of(self._received.get("enqueued_at"))

    @property
    def failure(self) -> Failure | None:
        """The job's last failure; None when it has never failed."""
        found = self._received.get("failure")
        return _failure(found) if isinstance(found, dict) else None

    @property
    def attempt(self) -> int:
        """Number of this run, from 1."""
        failure = self.failure
        return 1 if failure is None else failure.retry_count + 2

    @property
    def is_last_attempt(self) -> bool:
        """True when a failure of this run is final: the job is dropped (`retry` 0) or goes to the dead set."""
        return self.attempt > self.retry

    @property
    def reservation(self) -> int:
        """Seconds the server reserves this job for one worker (manager/working.go)."""
        seconds = self.reserve_for
        if not seconds:
            return DEFAULT_RESERVE
        # Not above the longest either: a number of hundreds of digits could not be added to a time.
        return MIN_RESERVE if seconds < MIN_RESERVE else seconds if seconds < MAX_RESERVE else MAX_RESERVE

    # -- the Enterprise server's words, which live in `custom` -----------------------------------------------------

    def unique_for(self, seconds: int) -> Self:
        """Refuse another job of the same type, arguments and queue for so many seconds. Enterprise; returns self."""
        return self._set_custom("unique_for", _whole_seconds("unique_for", seconds))

    def unique_until(self, event: str) -> Self:
        """Release the unique lock at `"start"` or at `"success"` (the server's default). Enterprise; returns self."""
        if event not in ("start", "success"):
            raise InvalidJob(f'unique_until must be "start" or "success", got {shown(event)}', self.jid)
        return self._set_custom("unique_until", event)

    def expires_at(self, when: datetime) -> Self:
        """Drop the job if it has not started by then; an aware datetime. Enterprise; returns self."""
        return self._set_custom("expires_at", rfc3339(aware("expires_at", when)))

    def expires_in(self, delay: timedelta | float) -> Self:
        """Drop the job if it has not started within this time, in seconds or a timedelta. Enterprise; returns self."""
        return self._set_custom("expires_at", rfc3339(moment(delay, "expires_in")))

    def _set_custom(self, key: str, value: object) -> Self:
        self.custom = {**(self.custom or {}), key: value}
        return self

    # -- to and from JSON ---------------------------------------------------------------------------------------

    def to_document(self) -> dict[str, Any]:
        """Return the job as the JSON object a push carries, after checking it again. Raises `InvalidJob`."""
        self._check()
        # `retry` always goes out: without it the server stores the last one that anybody pushed (server/commands.go).
        document: dict[str, Any] = {
            "jid": self.jid,
            "jobtype": self.jobtype,
            "args": self.args,
            "queue": self.queue,
            "retry": self.retry,
        }
        if self.reserve_for is not None:
            document["reserve_for"] = self.reserve_for
        if self.at is not None:
            document["at"] = rfc3339(self.at)
        if self.backtrace is not None:
            document["backtrace"] = self.backtrace
        if self.custom is not None:
            document["custom"] = self.custom
        created_at = self._received.get("created_at")
        if created_at is not None:
            document["created_at"] = created_at
        return document

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """Read a job from the server's JSON. Raises `InvalidJob`, with the jid when one can be made out."""
        try:
            if len(data) > MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH:
                check_depth(data)
            document = parsed(data.decode())  # json would guess the encoding first, which takes longer
        except (ValueError, RecursionError) as exc:
            # Nothing of the document is shown: this text is logged, and its args may hold secrets.
            message = f"expected a job as JSON, got {len(data)} bytes that are none: {exc}"
            raise InvalidJob(message, jid_in(data)) from exc
        if not isinstance(document, dict):
            raise InvalidJob(f"expected a job as a JSON object, got {type(document).__name__}")
        job = cls.from_document(document)
        job._source = data
        return job

    def as_fetched(self) -> Job:
        """Return a fetched job as it came, whatever was done to its arguments since; any other as it is."""
        return Job.decode(self._source) if self._source else self

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Job:
        """Read a job from a decoded JSON object. Checks types, not ranges: the server has accepted the job."""
        get = document.get
        job = cls.__new__(cls)
        jid: Any
        jobtype: Any
        args: Any
        try:  # the server's jobs have these four, which is quicker than to ask for each
            jid, jobtype, args, queue = document["jid"], document["jobtype"], document["args"], document["queue"]
        except KeyError:
            jid, jobtype, args, queue = get("jid"), get("jobtype"), get("args"), get("queue")
        job.jid = jid
        job.jobtype = jobtype
        job.args = args
        job.queue = queue = queue or "default"
        retry = get("retry")
        job.retry = retry = 25 if retry is None else retry
        job.reserve_for = reserve_for = get("reserve_for")
        job.backtrace = backtrace = get("backtrace")
        job.custom = custom = get("custom")
        if not (
            type(jid) is str
            and jid
            and type(jobtype) is str
            and jobtype
            and type(args) is list
            and type(queue) is str
            and type(retry) is int
            and (reserve_for is None or type(reserve_for) is int)
            and (backtrace is None or type(backtrace) is int)
            and (custom is None or type(custom) is dict)
        ):
            raise InvalidJob(
                _wrong_field(document), jid if type(jid) is str and jid and not CONTROL.search(jid) else None
            )
        at = get("at")
        job._at = None if at is None else time_of(at)
        job._received = document
        job._source = b""
        return job

    # -- checks -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        jid = self.jid
        # A usual one is known by its looks, at a fifth of the cost of looking closely.
        is_usual = type(jid) is str and len(jid) >= MIN_JID_BYTES and jid.isascii() and jid.isprintable()
        if not is_usual and (
            type(jid) is not str or len(jid.encode("utf-8", "replace")) < MIN_JID_BYTES or CONTROL.search(jid)
        ):
            raise InvalidJob(
                f"jid must be text of at least {MIN_JID_BYTES} bytes without control characters, got {shown(jid)}; "
                "leave it out for a random one"
            )
        if not isinstance(self.jobtype, str) or not self.jobtype:
            raise InvalidJob(f"jobtype must be a non-empty text, got {shown(self.jobtype)}", jid)
        if not isinstance(self.queue, str) or not _QUEUE_NAME.fullmatch(self.queue):
            raise InvalidJob(f"queue must be made of A-Z a-z 0-9 . _ -, got {shown(self.queue)}", jid)
        if type(self.retry) is not int or abs(self.retry) > MAX_EXACT_INT:
            raise InvalidJob(
                f"retry must be an integer (0 drops a failed job, -1 buries it), got {shown(self.retry)}", jid
            )
        reserve_for = self.reserve_for
        if reserve_for is not None and (type(reserve_for) is not int or not 0 < reserve_for <= MAX_RESERVE):
            raise InvalidJob(
                f"reserve_for must be whole seconds from 1 to {MAX_RESERVE}, or None, got {shown(reserve_for)}", jid
            )
        if self.backtrace is not None and (type(self.backtrace) is not int or not 0 <= self.backtrace <= MAX_EXACT_INT):
            raise InvalidJob(f"backtrace must be a number of lines, or None, got {shown(self.backtrace)}", jid)
        try:
            check_text(self.jobtype, "jobtype")
            check_text(jid, "jid")
            if not isinstance(self.args, list):
                raise InvalidJob(f"args must be a list, got {shown(self.args)}")
            check_json(self.args, "args", 1)
            if self.custom is not None:
                if not isinstance(self.custom, dict):
                    raise InvalidJob(f"custom must be a dict, got {shown(self.custom)}")
                check_json(self.custom, "custom", 1)
        except InvalidJob as exc:
            exc.jid = jid
            exc.args = (exc.args[0], jid)
            raise
        except RecursionError as exc:
            raise InvalidJob(
                "args or custom are nested deeper than the caller's stack has room; send a reference instead", jid
            ) from exc

    def __repr__(self) -> str:
        return f"<Job {self.jobtype!r} jid={self.jid!r} queue={self.queue!r}>"  # args may hold secrets


def check_queue_name(name: object) -> str:
    """Return `name` when the server could store jobs under it, else raise `ConfigurationError` (storage/redis.go)."""
    if not isinstance(name, str) or not _QUEUE_NAME.fullmatch(name):
        raise ConfigurationError(f"a queue name must be made of A-Z a-z 0-9 . _ -, got {shown(name)}")
    return name


_FIELD_TYPES: Final = {
    "jid": (str, "a non-empty text"),
    "jobtype": (str, "a non-empty text"),
    "args": (list, "a list"),
    "queue": (str, "a text"),
    "retry": (int, "an integer"),
    "reserve_for": (int, "an integer"),
    "backtrace": (int, "an integer"),
    "custom": (dict, "an object"),
}


def _wrong_field(document: dict[str, Any]) -> str:
    for name, (kind, words) in _FIELD_TYPES.items():
        value = document.get(name)
        if value is None and name not in ("jid", "jobtype", "args"):
            continue
        if type(value) is not kind or (value == "" and name != "queue"):
            # args and custom are not shown: this text is logged, and they may hold secrets.
            came = "nothing" if value is None else type(value).__name__ if kind in (list, dict) else shown(value)
            return f"a job's {name} must be {words}, got {came}"
    raise AssertionError("a job was refused without a reason")


def _whole_seconds(name: str, value: object) -> int:
    if type(value) is not int or not 0 < value <= MAX_EXACT_INT:
        raise InvalidJob(f"{name} must be whole seconds, at least 1, got {shown(value)}")
    return value


def _failure(found: dict[str, Any]) -> Failure:
    def number(key: str) -> int:
        value = found.get(key)
        return value if type(value) is int else 0

    backtrace = found.get("backtrace")
    return Failure(
        retry_count=number("retry_count"),
        remaining=number("remaining"),
        failed_at=time_of(found.get("failed_at")),
        next_at=time_of(found.get("next_at")),
        errtype=str(found.get("errtype") or ""),
        message=str(found.get("message") or ""),
        backtrace=tuple(map(str, backtrace)) if isinstance(backtrace, list) else (),
    )
