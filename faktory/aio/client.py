"""Async twin of `faktory.client`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from .. import override
from ..commands import (
    BatchCommit,
    BatchNew,
    BatchOpen,
    BatchStatus,
    Command,
    Flush,
    Info,
    JobFilter,
    Mutate,
    PauseQueues,
    Push,
    PushBulk,
    QueueLatency,
    RemoveQueues,
    ResumeQueues,
    Target,
    TrackGet,
    TrackSet,
    encode_job,
)
from ..core.edition import QUESTION, Edition, demanding
from ..core.pushes import PushAttempts, check_job, check_settings, chunks_of, drawn_from
from ..errors import (
    ConfigurationError,
    ConnectionLost,
    FaktoryError,
    PushOutcomeUnknown,
    ServerError,
)
from ..job import Job
from ..network.opening import prepare
from ..observe.observer import Observer, Place, Pushing, watch_of
from ..options import CONNECT_TIMEOUT, POOL_SIZE, REPLY_TIMEOUT
from ..protocol.address import Address
from ..protocol.moments import moment, rfc3339
from ..runtime.signalled import was_signalled
from .backend import Backend
from .connection import Connection
from .pool import Pool

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")


class Client:
    """Push jobs to a Faktory server from async code, and administer it.

    Connects when first used, keeps up to `pool_size` connections for each event loop and replaces broken ones. Any
    await can be cancelled: an interrupted exchange closes its connection. After a fork the child opens connections of
    its own. An async context manager.

    >>> async with Client("tcp://localhost:7419") as client:
    ...     await client.push(Job("resize", ["cat.png"], queue="images"))

    * `url`: tcp://:password@host:port, tcp+tls://…, or an `Address`; None takes it from the environment.
    * `connect_timeout`, `timeout`: seconds for opening a connection, and for each reply.
    * `ssl_context`: used for tcp+tls; by default one that verifies chain and host name.
    * `push_retries`: how often a push whose reply was lost is sent again under the same jid. With 0 it raises
      `PushOutcomeUnknown`; otherwise the job is stored at least once, perhaps twice.
    * `observers`: who sees the pushes; see `faktory.observe.Observer`.

    Calls raise `ConnectFailed`, `ConnectionLost`, `HandshakeError`, `ProtocolError` or `ServerError`.
    """

    _backend: ClassVar[Backend]
    _connection: ClassVar[type[Connection]]

    def __init__(
        self,
        url: str | Address | None = None,
        *,
        pool_size: int = POOL_SIZE,
        connect_timeout: float = CONNECT_TIMEOUT,
        timeout: float = REPLY_TIMEOUT,
        ssl_context: SSLContext | None = None,
        push_retries: int = 0,
        observers: Iterable[Observer] = (),
    ) -> None:
        check_settings(connect_timeout, timeout, push_retries)
        self.address: Address = url if isinstance(url, Address) else Address.resolve(url)
        if ssl_context is not None and not self.address.tls:
            raise ConfigurationError(f"an ssl_context was given, but {self.address} is without TLS; write tcp+tls://")
        prepare(self.address)
        self._push_retries = push_retries
        self._watch = watch_of(observers)
        self._has_bulk = True  # until a server older than 1.6 says otherwise

        def pool_for(address: Address) -> Pool:
            context = ssl_context if address.tls else None

            async def connect() -> Connection:
                return await self._connection.open(
                    address, connect_timeout=connect_timeout, timeout=timeout, ssl_context=context
                )

            return Pool(self._backend, connect, pool_size)

        self._pool_for = pool_for
        self._pool = pool_for(self.address)

    # -- pushing --------------------------------------------------------------------------------------------------

    async def push(self, job: Job) -> str:
        """Store one job and return its jid.

        >>> jid = await client.push(Job("resize", ["cat.png", 800], retry=3, at=timedelta(minutes=5)))

        Arguments are a list of what JSON carries: texts, numbers (integers to 2^53), None, booleans, lists and dicts
        with keys of text, up to 500 deep. Raises `InvalidJob` before anything is sent, also for the job that runs just
        now; `EnterpriseRequired` for `unique_for` and the like on an open-source server; another `ServerError`,
        `NotUnique` say, when it refuses the job; `PushOutcomeUnknown` when the reply was lost, and `ProtocolError` for
        a reply that is none: then the job is stored or not. Any other error: not stored. Cancelled while it waits, it
        is stored or not, too.
        """
        check_job(job)
        if self._watch is None:
            return await self._push(job)
        with self._watch.pushing(Pushing([job], self._place)):
            return await self._push(job)

    async def _push(self, job: Job) -> str:
        document = encode_job(job)
        await self._check_edition([job])
        for error in (await self._store([job.jid], [document], [job])).values():
            if "deadline exceeded" in error.text:  # the server lost patience with its own storage (server/server.go)
                raise PushOutcomeUnknown(f"the server could not tell whether it stored the job: {error}", [job.jid])
            raise error
        return job.jid

    async def push_bulk(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Store many jobs, drawn from any iterable as they are sent, 1,000 at a time. Not atomic.

        >>> refused = await client.push_bulk(Job("resize", [path]) for path in paths)

        Returns the refused ones, jid to reason; empty when all were stored. An error ends it: the jobs sent before stay
        stored, and a note on the exception says how many those are. The iterable is drawn on the loop: it must not
        block.
        """
        refused: dict[str, str] = {}
        stored = 0
        try:
            for jids, documents, chunk in chunks_of(jobs):
                found = await self._push_chunk(jids, documents, chunk)
                refused.update((jid, str(error)) for jid, error in found.items())
                stored += len(jids) - len(found)
        except Exception as exc:
            exc.add_note(
                f"push_bulk: before this error {stored} jobs were stored and {len(refused)} refused; those drawn since "
                "then were not sent"
            )
            raise
        return refused

    async def _push_chunk(self, jids: list[str], documents: list[bytes], chunk: list[Job]) -> dict[str, ServerError]:
        """Push one PUSHB of encoded jobs, observed or not, and return the refused ones."""
        if self._watch is None:
            await self._check_edition(chunk)
            return await self._store(jids, documents, chunk)
        pushing = Pushing(chunk, self._place)
        with self._watch.pushing(pushing):
            await self._check_edition(chunk)
            found = await self._store(jids, pushing.encoded(documents, encode_job), chunk)
            pushing.refused.update((jid, str(error)) for jid, error in found.items())
            return found

    @property
    def _place(self) -> Place:
        return Place(self.address.host, self.address.port)

    async def _store(self, jids: list[str], documents: list[bytes], jobs: list[Job]) -> dict[str, ServerError]:
        """Push encoded jobs as one PUSHB and return the refused ones."""
        if not self._has_bulk:
            return await self._store_singly(jobs)
        try:
            return await self._send_push(PushBulk.of_encoded(jids, documents), jids)
        except ServerError as exc:
            if "unknown command" not in exc.text.lower():
                raise
        self._has_bulk = False
        return await self._store_singly(jobs)

    async def _check_edition(self, jobs: list[Job]) -> None:
        """Refuse jobs with settings that the server ignores, which is asked once. Raises `EnterpriseRequired`."""
        found = demanding(jobs)
        if not found or override.taker() is not None:
            return
        edition = self.edition
        if edition.has_enterprise is None:
            try:
                await self._send_push(QUESTION, [])
            except ServerError as exc:
                edition.learn(exc)
            else:
                edition.learn(None)
        edition.check(found)

    async def _store_singly(self, jobs: list[Job]) -> dict[str, ServerError]:
        refused: dict[str, ServerError] = {}
        for job in jobs:
            try:
                await self._send_push(Push(job), [job.jid])
            except ServerError as exc:
                refused[job.jid] = exc
        return refused

    async def _send_push(self, command: Command[T], jids: list[str]) -> T:
        attempts = PushAttempts(jids, self._push_retries)
        while True:
            try:
                result = await self._call(command)
            except FaktoryError as exc:
                if was_signalled(exc):
                    raise  # no word of this push
                delay = attempts.next_delay(exc)
                if delay is None:
                    raise
            else:
                attempts.check(result)
                return result
            await self._backend.sleep(delay)

    # -- looking --------------------------------------------------------------------------------------------------

    async def info(self) -> dict[str, Any]:
        """Return the server's figures: queue sizes, set sizes, totals, version, connections.

        >>> waiting = (await client.info())["faktory"]["queues"]

        Ask rarely: an INFO that meets a push to a new queue can crash servers up to 1.10.
        """
        return await self._call(Info())

    async def queue_latency(self, *names: str) -> dict[str, float]:
        """Return for each queue how long its oldest job has waited, in seconds; 0 for an unknown queue."""
        return await self._call(QueueLatency(names))

    # -- queues ---------------------------------------------------------------------------------------------------

    async def pause_queues(self, *names: str) -> None:
        """Stop handing out jobs of these queues; "*" is all. Queues never pushed to stay as they are, silently.

        >>> await client.pause_queues("images", "mail")
        """
        await self._call(PauseQueues(names))

    async def resume_queues(self, *names: str) -> None:
        """Hand out jobs of these queues again; "*" is all."""
        await self._call(ResumeQueues(names))

    async def remove_queues(self, *names: str) -> None:
        """Delete these queues with all their jobs; "*" is all. There is no way back."""
        await self._call(RemoveQueues(names))

    async def flush(self) -> None:
        """Delete every job the server stores. There is no way back."""
        await self._call(Flush())

    # -- retries, scheduled, dead ---------------------------------------------------------------------------------

    async def clear(self, target: Target, filter: JobFilter) -> None:  # noqa: A002  # the protocol's own word
        """Delete every job of a set; only `JobFilter.everything()` is accepted, as the server ignores any other.

        >>> await client.clear("retries", JobFilter.everything())
        """
        await self._call(Mutate("clear", target, filter))

    async def kill(self, target: Target, filter: JobFilter) -> None:  # noqa: A002
        """Move the jobs that match from a set to the dead set. The server does not say how many."""
        await self._call(Mutate("kill", target, filter))

    async def discard(self, target: Target, filter: JobFilter) -> None:  # noqa: A002
        """Delete the jobs of a set that match. The server does not say how many."""
        await self._call(Mutate("discard", target, filter))

    async def requeue(self, target: Target, filter: JobFilter) -> None:  # noqa: A002
        """Move the jobs of a set ("retries", "scheduled" or "dead") that match to their queues at once.

        >>> await client.requeue("dead", JobFilter(jobtype="resize"))

        The server does not say how many.
        """
        await self._call(Mutate("requeue", target, filter))

    # -- Enterprise -----------------------------------------------------------------------------------------------

    async def batch(
        self, *, description: str | None = None, success: Job | None = None, complete: Job | None = None
    ) -> Batch:
        """Begin a batch: its callbacks are pushed by the server when all its jobs have succeeded, or have run.

        >>> async with await client.batch(success=Job("all_resized")) as batch:
        ...     await batch.push(Job("resize", ["cat.png"]))

        It commits at the end of the block, and not at all when that raises. Raises `ConfigurationError` without any
        callback, and `EnterpriseRequired` on an open-source server.
        """
        return Batch(self, await self._call(BatchNew(description=description, success=success, complete=complete)))

    async def open_batch(self, bid: str) -> Batch:
        """Reopen a batch from inside one of its jobs, to add more. Enterprise."""
        return Batch(self, await self._call(BatchOpen(bid)))

    async def batch_status(self, bid: str) -> dict[str, Any]:
        """Return a batch's counts and the states of its callbacks. Enterprise."""
        return await self._call(BatchStatus(bid))

    async def track(self, jid: str) -> dict[str, Any]:
        """Return a job's state and progress; the state of an unknown job is "unknown". Enterprise."""
        return await self._call(TrackGet(jid))

    async def set_track(
        self,
        jid: str,
        *,
        percent: int | None = None,
        description: str | None = None,
        reserve_until: datetime | timedelta | float | None = None,
    ) -> None:
        """Record a job's progress (0 to 100) and, with `reserve_until`, extend its reservation. Enterprise.

        >>> await client.set_track(jid, percent=50, description="half of it", reserve_until=timedelta(minutes=30))

        `reserve_until` is an aware datetime, a timedelta, or seconds from now.
        """
        until = None if reserve_until is None else rfc3339(moment(reserve_until, "reserve_until"))
        await self._call(TrackSet(jid, percent=percent, description=description, reserve_until=until))

    @property
    def edition(self) -> Edition:
        """What is known of the server's edition: `has_enterprise` is None before it mattered. Asks nobody."""
        return self._current_pool().edition

    # -- plumbing -------------------------------------------------------------------------------------------------

    async def _call(self, command: Command[T]) -> T:
        taker = override.taker()
        if taker is not None:
            return taker.call(command)  # type: ignore[no-any-return]
        pool = self._current_pool()
        try:
            async with pool.lend() as connection:
                return await connection.call(command)
        except ConnectionLost as exc:
            if exc.maybe_executed:
                raise
        # The pooled socket was found dead before the last byte was written: nothing ran, so once more is safe.
        async with pool.lend() as connection:
            return await connection.call(command)

    def _current_pool(self) -> Pool:
        active = override.active()
        address = self.address if active is None else active.address(self.address)
        if active is None or address == self.address or self._pool._closed:
            return self._pool
        return active.keep(self, lambda: self._pool_for(address))

    async def close(self) -> None:
        """Close the connections; other event loops close theirs soon. The client cannot be used again."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client {self.address}>"


class Batch:
    """An open batch: jobs pushed through it belong to it. Made by `Client.batch` and `Client.open_batch`.

    >>> async with await client.batch(success=Job("all_resized")) as batch:
    ...     await batch.push(Job("resize", ["cat.png"]))
    """

    def __init__(self, client: Client, bid: str) -> None:
        self.bid = bid
        self._client = client

    async def push(self, job: Job) -> str:
        """Store one job as part of this batch and return its jid. Raises what `Client.push` raises."""
        return await self._client.push(self._joined(job))

    async def push_bulk(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Store many jobs as part of this batch; see `Client.push_bulk`."""
        return await self._client.push_bulk(map(self._joined, drawn_from(jobs)))

    async def batch(
        self, *, description: str | None = None, success: Job | None = None, complete: Job | None = None
    ) -> Batch:
        """Begin a batch inside this one, which waits for it."""
        command = BatchNew(description=description, success=success, complete=complete, parent_bid=self.bid)
        return Batch(self._client, await self._client._call(command))

    async def commit(self) -> None:
        """Say that no more jobs will follow, so that the callbacks may run."""
        await self._client._call(BatchCommit(self.bid))

    def _joined(self, job: Job) -> Job:
        check_job(job)
        job.custom = {**(job.custom or {}), "bid": self.bid}
        return job

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is None:
            await self.commit()

    def __repr__(self) -> str:
        return f"<Batch {self.bid}>"
