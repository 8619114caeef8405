"""What a job leaves behind or passes on: copies of its process, descriptors, and work for the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faktory import Client, ConsumerBuilder, Job, Summary
from faktory.server import Server
from tests.isolation import jobs
from tests.isolation.conftest import Journal


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(seed=7, fetch_wait=0.05) as server:
        yield server


def run(server: Server, builder: ConsumerBuilder) -> Summary:
    with builder.connect(server.url) as consumer:
        return consumer.drain(["default"])


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("returns", 0, ""),
        ("raises", 1, "OddError: in the copy"),
        ("exits", 7, ""),
        ("says", 1, "no luck in the copy"),
    ],
)
def test_a_copy_ends_as_python_would_end_and_tells_nothing_of_the_job(
    server: Server,
    client: Client,
    journal: Journal,
    capsys: pytest.CaptureFixture[str],
    how: str,
    code: int,
    said: str,
) -> None:
    """C2: neither reports nor hooks; the original goes on."""
    client.push(Job("fork", [journal.path, how], retry=3))
    client.push(Job("work", [journal.path]))
    builder = ConsumerBuilder().register("fork", jobs.fork_and, timeout=10).register("work", jobs.work)
    summary = run(server, builder.on_failure(jobs.tell_failure).processes(1))
    assert (summary.succeeded, summary.failed) == (2, 0)
    assert journal.words("copy") == [[str(code)]]
    assert journal.words("failure") == []
    assert len(journal.words("work")) == 1
    assert said in capsys.readouterr().err


def test_a_copy_is_terminated_however_soon(server: Server, client: Client, journal: Journal) -> None:
    """C2: the signal may come before the copy knows that it is one."""
    client.push(Job("fork", [100]))
    builder = ConsumerBuilder().register("fork", jobs.fork_and_terminate, timeout=5)
    assert run(server, builder.processes(1)).succeeded == 1


def test_programs_that_jobs_start_get_none_of_our_descriptors(server: Server, client: Client, journal: Journal) -> None:
    """C3."""
    client.push(Job("list", [journal.path]))
    assert run(server, ConsumerBuilder().register("list", jobs.list_descriptors).processes(1)).succeeded == 1
    assert journal.lines() == ["descriptors ['0', '1', '2']", "['0', '1', '2']"]


def test_a_child_waits_for_its_threads_and_does_what_it_is_to_do_at_its_end(
    server: Server, client: Client, journal: Journal
) -> None:
    """C4: what a job has registered and started, not what the application's import has registered."""
    client.push(Job("leave", [journal.path]))
    builder = ConsumerBuilder().register("leave", jobs.leave_work_behind)
    run(server, builder.processes(1, on_child_stop=jobs.child_stop))
    (stop, *later, at_exit) = [line.split()[0] for line in journal.lines()]
    assert (stop, later, at_exit) == ("child-stop", ["later", "later"], "at-exit")
