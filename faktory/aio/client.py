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
    """Async twin of `faktory.Client`. Any await can be cancelled: an interrupted exchange closes its connection."""

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
        """Async twin of `push`."""
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
        """Async twin of `push_bulk`."""
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
        """Async twin of `info`."""
        return await self._call(Info())

    async def queue_latency(self, *names: str) -> dict[str, float]:
        """Async twin of `queue_latency`."""
        return await self._call(QueueLatency(names))

    # -- queues ---------------------------------------------------------------------------------------------------

    async def pause_queues(self, *names: str) -> None:
        """Async twin of `pause_queues`."""
        await self._call(PauseQueues(names))

    async def resume_queues(self, *names: str) -> None:
        """Async twin of `resume_queues`."""
        await self._call(ResumeQueues(names))

    async def remove_queues(self, *names: str) -> None:
        """Async twin of `remove_queues`."""
        await self._call(RemoveQueues(names))

    async def flush(self) -> None:
        """Async twin of `flush`."""
        await self._call(Flush())

    # -- retries, scheduled, dead ---------------------------------------------------------------------------------

    async def clear(self, target: Target, filter: JobFilter) -> None:  # noqa: A002  # the protocol's own word
        """Async twin of `clear`."""
        await self._call(Mutate("clear", target, filter))

    async def kill(self, target: Target, filter: JobFilter) -> None:  # noqa: A002
        """Async twin of `kill`."""
        await self._call(Mutate("kill", target, filter))

    async def discard(self, target: Target, filter: JobFilter) -> None:  # noqa: A002
        """Async twin of `discard`."""
        await self._call(Mutate("discard", target, filter))

    async def requeue(self, target: Target, filter: JobFilter) -> None:  # noqa: A002
        """Async twin of `requeue`."""
        await self._call(Mutate("requeue", target, filter))

    # -- Enterprise -----------------------------------------------------------------------------------------------

    async def batch(
        self, *, description: str | None = None, success: Job | None = None, complete: Job | None = None
    ) -> Batch:
        """Async twin of `batch`."""
        return Batch(self, await self._call(BatchNew(description=description, success=success, complete=complete)))

    async def open_batch(self, bid: str) -> Batch:
        """Async twin of `open_batch`."""
        return Batch(self, await self._call(BatchOpen(bid)))

    async def batch_status(self, bid: str) -> dict[str, Any]:
        """Async twin of `batch_status`."""
        return await self._call(BatchStatus(bid))

    async def track(self, jid: str) -> dict[str, Any]:
        """Async twin of `track`."""
        return await self._call(TrackGet(jid))

    async def set_track(
        self,
        jid: str,
        *,
        percent: int | None = None,
        description: str | None = None,
        reserve_until: datetime | timedelta | float | None = None,
    ) -> None:
        """Async twin of `set_track`."""
        until = None if reserve_until is None else rfc3339(moment(reserve_until, "reserve_until"))
        await self._call(TrackSet(jid, percent=percent, description=description, reserve_until=until))

    @property
    def edition(self) -> Edition:
        """Async twin of `edition`, which asks nobody either."""
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
        """Async twin of `close`."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client {self.address}>"


class Batch:
    """Async twin of `faktory.Batch`, made by `await client.batch(...)` and `await client.open_batch(bid)`."""

    def __init__(self, client: Client, bid: str) -> None:
        self.bid = bid
        self._client = client

    async def push(self, job: Job) -> str:
        """Async twin of `push`."""
        return await self._client.push(self._joined(job))

    async def push_bulk(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Async twin of `push_bulk`."""
        return await self._client.push_bulk(map(self._joined, drawn_from(jobs)))

    async def batch(
        self, *, description: str | None = None, success: Job | None = None, complete: Job | None = None
    ) -> Batch:
        """Async twin of `batch`."""
        command = BatchNew(description=description, success=success, complete=complete, parent_bid=self.bid)
        return Batch(self._client, await self._client._call(command))

    async def commit(self) -> None:
        """Async twin of `commit`."""
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
