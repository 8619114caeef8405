"""The producer: what is stored, what is refused, and what is not known."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faktory import (
    Client,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    EnterpriseRequired,
    InvalidJob,
    Job,
    JobFilter,
    NotUnique,
    PushOutcomeUnknown,
    ServerError,
)
from faktory.core.hand import in_hand
from faktory.server import Server
from tests.certificates import Certificates
from tests.real_server import RealServer, needs_own_server
from tests.scripted import HI, OK, Firewall, Peer, ScriptedServer
from tests.share import share_of
from tests.waiting import until


def test_push_stores_a_job_and_returns_its_jid(server: Server, client: Client) -> None:
    job = Job("resize", ["cat.png", 640], queue="images", retry=5, reserve_for=120, custom={"tenant": "a"})
    assert client.push(job) == job.jid
    (stored,) = server.queue("images")
    assert (stored.jobtype, stored.args, stored.retry, stored.reserve_for) == ("resize", ["cat.png", 640], 5, 120)
    assert stored.custom == {"tenant": "a"}


def test_push_schedules(server: Server, client: Client) -> None:
    client.push(Job("work", at=60))
    client.push(Job("work", at=timedelta(minutes=2)))
    client.push(Job("work", at=datetime.now(UTC) + timedelta(minutes=3)))
    assert len(server.scheduled) == 3
    server.clock.advance(130)
    assert (len(server.scheduled), len(server.queue("default"))) == (1, 2)


def test_push_wants_a_job(client: Client) -> None:
    with pytest.raises(InvalidJob, match="expected a Job to push, got dict"):
        client.push({"jobtype": "work"})  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="got one; use push"):
        client.push_bulk(Job("work"))  # type: ignore[arg-type]
    with pytest.raises(InvalidJob, match="expected a Job to push, got str"):
        client.push_bulk(["work"])  # type: ignore[list-item]


async def of_async_make(*jobs: Job) -> AsyncIterator[Job]:
    for job in jobs:
        yield job


@pytest.mark.parametrize(
    ("jobs", "text"),
    [
        (None, "in a list or any iterable, got NoneType"),
        (5, "in a list or any iterable, got int"),
        (of_async_make(), "got async_generator; collect what an async generator makes in a list"),
        (Job("work"), "got one; use push, or a list"),
        ([None], "expected a Job to push, got NoneType"),
    ],
)
def test_push_bulk_wants_jobs(client: Client, jobs: Any, text: str) -> None:
    with pytest.raises(InvalidJob, match=text):
        client.push_bulk(jobs)
    with Server(enterprise=True) as server, Client(server.url) as enterprise:
        batch = enterprise.batch(success=Job("done"))
        with pytest.raises(InvalidJob, match=text):
            batch.push_bulk(jobs)
        with pytest.raises(InvalidJob, match="expected a Job to push, got int"):
            batch.push(5)  # type: ignore[arg-type]


def test_a_job_changed_for_the_worse_is_refused_before_anything_is_sent(server: Server, client: Client) -> None:
    """D5, D6."""
    job = Job("work", [1])
    job.args.append(float("nan"))
    before = client.info()["server"]["command_count"]
    with pytest.raises(InvalidJob, match=r"args\[1\] is nan"):
        client.push(job)
    assert client.info()["server"]["command_count"] == before + 1


def test_a_refused_job_raises_what_the_server_said() -> None:
    with Server(enterprise=True) as server, Client(server.url) as client:
        client.push(Job("work", [1]).unique_for(60))
        with pytest.raises(NotUnique) as caught:
            client.push(Job("work", [1]).unique_for(60))
        assert caught.value.code == "NOTUNIQUE"
        twin = Job("work", [1]).unique_for(60)
        other = Job("work", [2])
        refused = client.push_bulk([twin, other])
        assert list(refused) == [twin.jid]
        assert "NOTUNIQUE" in refused[twin.jid]
        assert len(server.queue("default")) == 2


def test_the_job_that_runs_just_now_is_refused(server: Server, client: Client) -> None:
    """J9: it would be two under one jid."""
    job = Job("work", [1])
    token = in_hand.set(SimpleNamespace(job=job))
    try:
        for push in (client.push, lambda job: client.push_bulk([Job("other"), job])):
            with pytest.raises(InvalidJob, match="runs just now"):
                push(job)
    finally:
        in_hand.reset(token)
    assert len(server.queue("default")) == 0


def test_the_edition_of_the_server_is_asked_for_once() -> None:
    with Server(enterprise=True) as server, Client(server.url) as client:
        before = client.info()["server"]["command_count"]
        for n in range(3):
            client.push(Job("work", [n]).unique_for(60))
        assert client.info()["server"]["command_count"] == before + 1 + 1 + 3
        assert client.edition.has_enterprise is True


def test_a_client_speaks_tls_with_the_context_that_it_was_given(certificates: Certificates) -> None:
    with Server(ssl_context=certificates.server_context("127.0.0.1")) as server:
        url = f"tcp+tls://127.0.0.1:{server.port}"
        with Client(url, ssl_context=certificates.client_context()) as client:
            client.push(Job("work"))
        assert len(server.queue("default")) == 1
        with Client(url) as client, pytest.raises(ConnectFailed, match="certificate"):
            client.push(Job("work"))


def test_push_bulk_draws_lazily_a_thousand_at_a_time(server: Server, client: Client) -> None:
    drawn = 0
    stored: list[int] = []

    def jobs() -> Iterator[Job]:
        nonlocal drawn
        for n in range(2500):
            drawn += 1
            if n in (1000, 2000):
                stored.append(len(server.queue("default")))
            yield Job("work", [n])

    assert client.push_bulk(jobs()) == {}
    assert drawn == 2500
    assert stored == [1000, 2000]
    assert [job.args[0] for job in server.queue("default")] == list(range(2500))


def test_push_bulk_sends_large_jobs_in_smaller_batches(server: Server, client: Client) -> None:
    """D7, D9."""
    before = client.info()["server"]["command_count"]
    client.push_bulk(Job("work", ["x" * 3_000_000]) for _ in range(6))
    assert client.info()["server"]["command_count"] == before + 1 + 2
    assert len(server.queue("default")) == 6


def test_push_bulk_of_nothing_sends_nothing(client: Client) -> None:
    assert client.push_bulk([]) == {}


def test_push_bulk_says_how_far_it_came(server: Server, client: Client) -> None:
    def jobs() -> Iterator[Job]:
        for n in range(1500):
            yield Job("work", [n])
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError) as caught:
        client.push_bulk(jobs())
    assert "1000 jobs were stored" in caught.value.__notes__[0]
    assert len(server.queue("default")) == 1000


def test_push_bulk_refuses_a_jid_that_comes_twice(server: Server, client: Client) -> None:
    """J9: the server would store both and mix them up."""
    with pytest.raises(InvalidJob, match="have the jid 'twice-0123'") as caught:
        client.push_bulk([Job("work", jid="twice-0123"), Job("work"), Job("work", jid="twice-0123")])
    assert caught.value.jid == "twice-0123"
    assert len(server.queue("default")) == 0


# -- lost replies ---------------------------------------------------------------------------------------------------


def test_a_lost_reply_is_an_unknown_outcome(server: Server, client: Client) -> None:
    """3.1, PUSH after, before reply."""
    server.faults.drop("PUSHB")
    job = Job("work")
    with pytest.raises(PushOutcomeUnknown, match="stored or not") as caught:
        client.push(job)
    assert caught.value.jids == (job.jid,)
    assert server.queue("default").jids == [job.jid]
    client.push(Job("work"))  # the next one is fine


def test_a_lost_reply_of_a_bulk_names_its_jobs(server: Server, client: Client) -> None:
    """D10."""
    server.faults.drop("PUSHB", every=2)
    jobs = [Job("work") for _ in range(1500)]
    with pytest.raises(PushOutcomeUnknown, match="500 jobs") as caught:
        client.push_bulk(jobs)
    assert caught.value.jids == tuple(job.jid for job in jobs[1000:])
    assert f"500 jobs from {jobs[1000].jid!r} on are stored or not" in str(caught.value)
    assert "1000 jobs were stored" in caught.value.__notes__[0]


def test_push_retries_send_again_under_the_same_jid(server: Server) -> None:
    with Client(server.url, push_retries=3) as client:
        server.faults.drop("PUSHB", times=2)
        jid = client.push(Job("work"))
        assert server.queue("default").jids == [jid] * 3
        server.faults.drop("PUSHB", times=4)
        with pytest.raises(PushOutcomeUnknown):
            client.push(Job("work"))


def test_an_outage_after_a_lost_reply_stays_an_unknown_outcome(server: Server) -> None:
    with Client(server.url, push_retries=1) as client:
        client.info()
        server.faults.drop("PUSHB")
        threading.Timer(0.005, server.kill).start()
        with pytest.raises((PushOutcomeUnknown, ConnectFailed)):
            while True:
                client.push(Job("work"))


def losing_the_first(then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Store a push and lose its reply; then do something else at each later connection."""
    connections = 0

    def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            peer.greet()
            peer.line()
            return
        then(peer)

    return script


def refuse_hello(peer: Peer) -> None:
    peer.say(HI)
    peer.line()
    peer.say(b"-ERR Invalid password\r\n")


def speak_another_version(peer: Peer) -> None:
    peer.say(b'+HI {"v":3}\r\n')


def have_too_many(peer: Peer) -> None:
    peer.greet()
    peer.line()
    peer.say(b"-ERR too many connections: 2001\r\n")


def shut_down(peer: Peer) -> None:
    peer.greet()
    peer.line()
    peer.say(b"-ERR shutdown in progress\r\n")


def hang_up(peer: Peer) -> None:
    pass


def refuse_all(peer: Peer) -> None:
    peer.greet()
    peer.line()
    peer.say(b"-ERR OOM command not allowed\r\n")


def refuse_each(peer: Peer) -> None:
    peer.greet()
    (job,) = json.loads(peer.line().removeprefix(b"PUSHB "))
    body = json.dumps({job["jid"]: "NOTUNIQUE Job not unique"}).encode()
    peer.say(b"$%d\r\n%b\r\n" % (len(body), body))


def break_the_rules(peer: Peer) -> None:
    peer.greet()
    peer.line()
    peer.say(b"*1\r\n")


@pytest.mark.parametrize(
    "then",
    [
        refuse_hello,
        speak_another_version,
        have_too_many,
        shut_down,
        hang_up,
        refuse_all,
        refuse_each,
        break_the_rules,
    ],
)
def test_a_lost_reply_followed_by_a_refusal_is_an_unknown_outcome(then: Callable[[Peer], None]) -> None:
    """D10: the first attempt may have stored the job, and be the very reason of the refusal."""
    with (
        ScriptedServer(losing_the_first(then)) as server,
        Client(server.url, push_retries=1) as client,
        pytest.raises(PushOutcomeUnknown, match="closed the connection before it replied") as caught,
    ):
        client.push(job := Job("work"))
    assert caught.value.jids == (job.jid,)


def test_a_lost_reply_followed_by_no_server_is_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedServer(losing_the_first(hang_up))
    client = Client(server.url, push_retries=1)
    monkeypatch.setattr("faktory.client.sleep", lambda delay: server.close())
    with client, pytest.raises(PushOutcomeUnknown) as caught:
        client.push(Job("work"))
    assert isinstance(caught.value.__cause__, ConnectFailed)


def test_refusals_that_follow_no_loss_are_what_they_are(server: Server) -> None:
    with Client(server.url, push_retries=3) as client:
        server.faults.refuse("PUSHB", text="OOM command not allowed")
        with pytest.raises(ServerError, match="OOM"):
            client.push(Job("work"))
    with ScriptedServer(refuse_each) as scripted, Client(scripted.url, push_retries=3) as client:
        with pytest.raises(NotUnique):
            client.push(Job("work"))
        assert scripted.connections == 1


def test_a_server_without_patience_is_an_unknown_outcome() -> None:
    """PROTOCOL 45."""

    def script(peer: Peer) -> None:
        peer.greet()
        (job,) = json.loads(peer.line().removeprefix(b"PUSHB "))
        body = json.dumps({job["jid"]: "context deadline exceeded"}).encode()
        peer.say(b"$%d\r\n%b\r\n" % (len(body), body))

    with ScriptedServer(script) as server, Client(server.url) as client:
        job = Job("work")
        with pytest.raises(PushOutcomeUnknown) as caught:
            client.push(job)
        assert caught.value.jids == (job.jid,)


def test_a_socket_that_died_in_the_pool_costs_nothing(server: Server, client: Client) -> None:
    """N14: found dead before anything is written."""
    client.push(Job("work"))
    server.disconnect_all()
    until(lambda: server.info["server"]["connections"] == 0)
    client.push(Job("work"))
    server.stop()
    server.start()
    client.push(Job("work"))
    assert len(server.queue("default")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 3])
def test_connections_that_died_silently_cost_one_push(retries: int) -> None:
    """N14: a firewall was started anew; of five idle connections none works, and nothing says so."""
    firewall = Firewall(together=5)
    with (
        ScriptedServer(firewall) as server,
        Client(server.url, timeout=0.3, push_retries=retries) as client,
    ):
        threads = [threading.Thread(target=client.push, args=[Job("work")]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (server.connections, firewall.pushes) == (5, 5)
        firewall.restart()
        if retries == 0:
            with pytest.raises(PushOutcomeUnknown, match=r"no reply from .* within 0.3 s"):
                client.push(Job("work"))
        else:
            client.push(Job("work"))
        for _ in range(5):
            client.push(Job("work"))
        assert (server.connections, firewall.pushes) == (6, 5 + 1 + (retries > 0) + 5)


def test_a_command_refused_in_a_shutdown_is_tried_on_a_new_connection() -> None:
    """3.1: `shutdown in progress` is certain not to have been executed."""
    tries: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.greet()
        tries.append(peer.line())
        peer.say(b"-ERR shutdown in progress\r\n" if len(tries) == 1 else b"$2\r\n{}\r\n")
        peer.wait_for_end()

    with ScriptedServer(script) as server, Client(server.url) as client:
        client.push(Job("work"))
    assert len(tries) == 2
    assert tries[0] == tries[1]


def test_no_server_is_an_error_within_the_deadline() -> None:
    """N1."""
    with Server() as server:
        url = server.url
    started = time.monotonic()
    with Client(url) as client, pytest.raises(ConnectFailed):
        client.push(Job("work"))
    assert time.monotonic() - started < 3


def test_a_certain_loss_is_not_an_unknown_outcome() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"-ERR shutdown in progress\r\n")

    with ScriptedServer(script) as server, Client(server.url) as client, pytest.raises(ConnectionLost) as caught:
        client.push(Job("work"))
    assert not isinstance(caught.value, PushOutcomeUnknown)
    assert not caught.value.maybe_executed


def test_an_old_server_gets_push() -> None:
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

    with ScriptedServer(script) as server, Client(server.url) as client:
        client.push(Job("work"))
        bad = Job("refused")
        assert client.push_bulk([Job("work"), bad]) == {bad.jid: "ERR no"}
        with pytest.raises(ServerError, match="no"):
            client.push(Job("refused"))
    assert [line.split()[0] for line in seen] == [b"PUSHB"] + [b"PUSH"] * 4 + [b"END"]


def test_a_refusal_of_the_whole_batch_is_raised() -> None:
    def script(peer: Peer) -> None:
        peer.greet()
        peer.line()
        peer.say(b"-ERR invalid JSON: no\r\n")

    with ScriptedServer(script) as server, Client(server.url) as client, pytest.raises(ServerError, match="invalid"):
        client.push_bulk([Job("work")])


# -- administration -------------------------------------------------------------------------------------------------


def test_info_tells_of_queues(client: Client) -> None:
    client.push(Job("work", queue="mail"))
    assert client.info()["faktory"]["queues"]["mail"] == 1


def test_queues_are_paused_resumed_and_removed(server: Server, client: Client) -> None:
    client.push(Job("work", queue="mail"))
    client.pause_queues("mail")
    assert list(server.paused) == ["mail"]
    client.resume_queues("*")
    assert list(server.paused) == []
    assert client.queue_latency("mail", "nope")["nope"] == 0
    client.remove_queues("mail")
    assert len(server.queue("mail")) == 0
    client.push(Job("work", queue="mail"))
    client.flush()
    assert len(server.queue("mail")) == 0


@pytest.mark.parametrize("name", ["a b", "x\r\nFLUSH", "", "ü", "a/b"])
def test_names_that_would_be_other_commands_are_refused(client: Client, name: str) -> None:
    """D1, D2."""
    for call in (client.pause_queues, client.resume_queues, client.remove_queues, client.queue_latency):
        with pytest.raises(ConfigurationError, match="queue name"):
            call(name)
    with pytest.raises(InvalidJob, match="queue"):
        client.push(Job("work", queue=name))


def test_sets_are_changed_by_filter(server: Server, client: Client) -> None:
    keep, drop, dead = (client.push(Job(kind, ["two words"], at=3600)) for kind in ("keep", "drop", "dead"))
    client.discard("scheduled", JobFilter(jids=[drop]))
    assert sorted(server.scheduled.jids) == sorted([keep, dead])
    client.kill("scheduled", JobFilter(jobtype="dead"))
    assert server.dead.jids == [dead]
    client.requeue("scheduled", JobFilter(regexp="*two words*"))
    assert server.queue("default").jids == [keep]
    client.clear("dead", JobFilter.everything())
    assert len(server.dead) == 0


def test_an_empty_filter_is_not_taken_for_everything(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"JobFilter\.everything"):
        client.discard("retries", JobFilter())
    with pytest.raises(ConfigurationError, match="ignores a filter"):
        client.clear("retries", JobFilter(jobtype="work"))


def test_enterprise_words_need_an_enterprise_server(client: Client) -> None:
    callback = Job("done")
    for call in (
        lambda: client.batch(success=callback),
        lambda: client.open_batch("b-123"),
        lambda: client.batch_status("b-123"),
        lambda: client.track("job-12345"),
        lambda: client.set_track("job-12345", percent=5),
    ):
        with pytest.raises(EnterpriseRequired):
            call()


def test_batches_and_tracking_on_an_enterprise_server() -> None:
    with Server(enterprise=True) as server, Client(server.url) as client:
        with client.batch(description="import", success=Job("done"), complete=Job("over")) as batch:
            jid = batch.push(Job("work", custom={"tenant": "a", "track": 1}))
            assert batch.push_bulk([Job("work"), Job("work")]) == {}
            with batch.batch(success=Job("inner")) as inner:
                inner.push(Job("work"))
            assert inner.bid != batch.bid
        (first, *_) = server.queue("default")
        assert first.custom == {"tenant": "a", "track": 1, "bid": batch.bid}
        assert client.batch_status(batch.bid)["total"] == 3
        assert client.open_batch(batch.bid).bid == batch.bid
        with pytest.raises(RuntimeError), client.batch(success=Job("never")) as failed:
            raise RuntimeError("not committed")
        assert client.batch_status(failed.bid)["total"] == 0
        client.set_track(jid, percent=50, description="half", reserve_until=120)
        assert client.track(jid)["percent"] == 50


# -- the client itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push_retries": -1}, "push_retries"),
        ({"push_retries": True}, "push_retries"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"pool_size": 0}, "pool_size"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Client("tcp://localhost", **options)


def test_the_environment_says_where_the_server_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKTORY_PROVIDER", "MY_FAKTORY")
    monkeypatch.setenv("MY_FAKTORY", server.url)
    with Client() as client:
        client.push(Job("work"))
    assert len(server.queue("default")) == 1


def test_the_password_is_not_shown() -> None:
    assert "hunter2" not in repr(Client("tcp://:hunter2@localhost"))


def test_a_closed_client_says_so(server: Server) -> None:
    client = Client(server.url)
    client.close()
    client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        client.info()


def test_many_threads_share_a_client(server: Server) -> None:
    """T13, in small."""
    with Client(server.url, pool_size=4) as client:
        pushed: list[str] = []

        def push() -> None:
            pushed.extend([client.push(Job("work")) for _ in range(50)])

        threads = [threading.Thread(target=push) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(server.queue("default").jids) == sorted(pushed)
    assert len(set(pushed)) == 800


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_client_works_on_both_sides_of_a_fork(server: Server, client: Client) -> None:
    """W7, P8."""
    client.push(Job("before"))
    children = []
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            try:
                client.push(Job("child"))
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(pid)
        client.push(Job("parent"))
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
    kinds = [job.jobtype for job in server.queue("default")]
    assert (kinds.count("parent"), kinds.count("child"), len(kinds)) == (10, 10, 21)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def steady() -> Iterator[tuple[Server, Client]]:
    with Server() as server, Client(server.url) as client:
        yield server, client


@settings(max_examples=share_of(50), deadline=None)
@given(args=st.lists(json_values, max_size=4))
def test_what_is_accepted_arrives_unchanged(steady: tuple[Server, Client], args: list[Any]) -> None:
    server, client = steady
    try:
        job = Job("work", args)
    except InvalidJob:
        return  # text with lone surrogates and the like
    client.push(job)
    assert server.queue("default")[-1].args == args


@needs_own_server
def test_the_retry_of_another_producer_never_leaks_into_ours() -> None:
    """T19, in small. Concurrent producers with retry 25 and 0, each stored as it was pushed."""
    with RealServer() as real, Client(real.url) as client:

        def push(retry: int) -> None:
            with Client(real.url) as own:
                for _ in range(300):
                    own.push(Job(f"retry{retry}", retry=retry))

        threads = [threading.Thread(target=push, args=(retry,)) for retry in (25, 0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        from faktory.blocking.connection import Connection
        from faktory.commands import Fetch

        with Connection(real.url) as connection:
            for _ in range(600):
                job = connection.call(Fetch(["default"]))
                assert job is not None
                assert job.jobtype == f"retry{job.retry}"
        assert client.info()["faktory"]["queues"]["default"] == 0
