"""The async producer: what its sibling in `test_client` does, by the async names."""

from __future__ import annotations

import ssl

import pytest

from faktory import ConfigurationError, EnterpriseRequired, Job, JobFilter, ServerError
from faktory.server import Server
from tests.loops import Loop
from tests.scripted import OK, Peer, ScriptedServer


def test_queues_are_paused_resumed_and_removed(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with loop.Client(server.url) as client:
            await client.push(Job("work", queue="mail"))
            await client.pause_queues("mail")
            assert list(server.paused) == ["mail"]
            await client.resume_queues("*")
            assert list(server.paused) == []
            await client.remove_queues("mail")
            assert len(server.queue("mail")) == 0
            await client.push(Job("work", queue="mail"))
            await client.flush()
            assert len(server.queue("mail")) == 0

    loop.run(main)


def test_sets_are_changed_by_filter(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with loop.Client(server.url) as client:
            keep, drop, dead = [
                await client.push(Job(kind, ["two words"], at=3600)) for kind in ("keep", "drop", "dead")
            ]
            await client.discard("scheduled", JobFilter(jids=[drop]))
            assert sorted(server.scheduled.jids) == sorted([keep, dead])
            await client.kill("scheduled", JobFilter(jobtype="dead"))
            assert server.dead.jids == [dead]
            await client.requeue("scheduled", JobFilter(regexp="*two words*"))
            assert server.queue("default").jids == [keep]
            await client.clear("dead", JobFilter.everything())
            assert len(server.dead) == 0

    loop.run(main)


def test_batches_and_tracking_on_an_enterprise_server(loop: Loop) -> None:
    async def main() -> None:
        with Server(enterprise=True) as server:
            async with loop.Client(server.url) as client:
                async with await client.batch(description="import", success=Job("done")) as batch:
                    jid = await batch.push(Job("work", custom={"track": 1}))
                assert repr(batch) == f"<Batch {batch.bid}>"
                assert (await client.batch_status(batch.bid))["total"] == 1
                assert (await client.open_batch(batch.bid)).bid == batch.bid
                await client.set_track(jid, percent=50, description="half", reserve_until=120)
                await client.set_track(jid, percent=60)
                assert (await client.track(jid))["percent"] == 60

    loop.run(main)


def test_enterprise_words_need_an_enterprise_server(loop: Loop, server: Server) -> None:
    async def main() -> None:
        async with loop.Client(server.url) as client:
            for refused in (client.track("any-jid-1"), client.push(Job("work").unique_for(60))):
                with pytest.raises(EnterpriseRequired):
                    await refused
            assert len(server.queue("default")) == 0

    loop.run(main)


def test_an_old_server_gets_push(loop: Loop) -> None:
    """PUSHB came with 1.6."""
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.greet()
        while line := peer.line():
            seen.append(line)
            if line.startswith(b"PUSHB"):
                peer.say(b"-ERR Unknown command PUSHB\r\n")
            elif b"refused" in line:
                peer.say(b"-ERR no\r\n")
            else:
                peer.say(OK)

    async def main() -> None:
        async with loop.Client(server.url) as client:
            bad = Job("refused")
            assert await client.push_bulk([Job("work"), bad]) == {bad.jid: "ERR no"}
            with pytest.raises(ServerError, match="no"):
                await client.push(Job("refused"))
            assert await client.push_bulk([Job("work"), Job("work")]) == {}

    with ScriptedServer(script) as server:
        loop.run(main)
    assert seen[0].startswith(b"PUSHB ")
    assert [line.split()[0] for line in seen[1:] if line != b"END"] == [b"PUSH"] * 5


def test_a_refusal_of_the_whole_batch_is_raised(loop: Loop) -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"-ERR invalid JSON: no\r\n")

    async def main() -> None:
        async with loop.Client(server.url) as client:
            with pytest.raises(ServerError, match="invalid"):
                await client.push_bulk([Job("work"), Job("work")])

    with ScriptedServer(script) as server:
        loop.run(main)


def test_a_context_of_tls_wants_an_address_of_tls(loop: Loop) -> None:
    with pytest.raises(ConfigurationError, match=r"write tcp\+tls://"):
        loop.Client("tcp://localhost:7419", ssl_context=ssl.create_default_context())
