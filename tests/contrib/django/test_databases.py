"""Connections: one for each thread, none shared between processes, none left behind, none closed inside `atomic`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from typing import Any

import pytest

pytest.importorskip("django")

from django.db import connection, connections, transaction

from faktory.contrib.django import consumer, prepare
from faktory.contrib.django.databases import close_idle, tidied
from faktory.testing import serve
from tests.contrib.django.conftest import Work, fds_of
from tests.contrib.django.probe import jobs, tasks
from tests.contrib.django.probe.models import Seen, note, opened

pytestmark = pytest.mark.usefixtures("database")
DATABASE = os.environ.get("PROBE_DATABASE", "")


def is_open(raw: Any) -> bool:
    try:
        raw.execute("select 1")
    except sqlite3.ProgrammingError:
        return False
    return True


@pytest.mark.slow
def test_hundreds_of_jobs_in_threads_use_one_connection_a_thread_and_leave_none() -> None:
    connections.close_all()
    before = fds_of(DATABASE)
    with serve():
        for number in range(300):
            tasks.row.enqueue(str(number))
        with consumer().workers(5).connect() as running:
            assert running.drain(["default"]).succeeded == 300
    mine = [each for each in opened if each[0] == os.getpid()]
    assert 1 <= len(mine) <= 5, "CONN_MAX_AGE keeps a thread's connection from job to job"
    assert not [raw for _, _, raw in mine if is_open(raw)]
    assert fds_of(DATABASE) == before
    seen = list(Seen.objects.all())
    assert sorted(int(row.what) for row in seen) == list(range(300))
    assert len({(row.thread, row.number) for row in seen}) == len({row.thread for row in seen}) <= 5


@pytest.mark.slow
def test_hundreds_of_jobs_in_children_share_no_connection_between_processes() -> None:
    Seen.objects.count()  # a connection is open here, which no child may have
    mine = connection.connection
    with serve():
        jobs.typed_row.enqueue("-1")  # a typed job of the project's app, beside the tasks
        for number in range(300):
            tasks.row.enqueue(str(number))
        with consumer().processes(3).connect() as running:
            assert running.drain(["typed", "default"]).succeeded == 301
    seen = list(Seen.objects.all())
    assert sorted(int(row.what) for row in seen) == list(range(-1, 300))
    assert all(row.pid == row.opener != os.getpid() for row in seen)
    assert len({(row.pid, row.number) for row in seen}) == len({row.pid for row in seen}) <= 3
    assert is_open(mine)


def test_inside_atomic_nothing_is_closed() -> None:
    connection.settings_dict["CONN_MAX_AGE"] = 0
    connections.close_all()
    try:
        with transaction.atomic():
            raw = connection.connection
            tidied(None, lambda: note("inside"))
            assert connection.connection is raw
            assert is_open(raw)
            assert connection.in_atomic_block
            assert Seen.objects.count() == 1
            transaction.set_rollback(True)
        assert Seen.objects.count() == 0
    finally:
        connection.settings_dict["CONN_MAX_AGE"] = 600


def test_what_is_too_old_is_closed_before_and_after_a_job() -> None:
    connection.settings_dict["CONN_MAX_AGE"] = 0
    connections.close_all()
    try:
        connection.ensure_connection()
        old = connection.connection
        seen: list[Any] = []

        def job() -> None:
            note("with a new one")
            seen.append(connection.connection)

        tidied(None, job)
        assert seen[0] is not old
        assert connection.connection is None
        assert not is_open(old)
        assert not is_open(seen[0])
    finally:
        connection.settings_dict["CONN_MAX_AGE"] = 600


def test_a_connection_that_a_job_has_broken_is_not_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        connection.ensure_connection()
        connection.connection.close()
        connection.errors_occurred = True
        monkeypatch.setattr(connection, "is_usable", lambda: False)  # SQLite's never says so
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError, match="went away"):
        tidied(None, failing)
    tidied(None, lambda: note("healthy"))
    assert Seen.objects.count() == 1


def test_the_next_job_does_not_enter_a_transaction_that_never_ended(work: Work) -> None:
    with serve():
        tasks.broken_off.enqueue()
        worker = work(["default"])
        worker.drain(raise_failures=False)
        tasks.row.enqueue("after it")
        worker.drain()
    assert [row.what for row in Seen.objects.all()] == ["after it"]


def test_connections_of_threads_that_have_ended_are_closed() -> None:
    for _ in range(2):
        thread = threading.Thread(target=tidied, args=(None, lambda: note("in a thread")))
        thread.start()
        thread.join()
    assert [is_open(raw) for _, _, raw in opened[-2:]] == [False, True]
    close_idle()
    assert not is_open(opened[-1][2])


def test_queries_are_not_kept_where_debug_is_on(settings_debug: None) -> None:
    tidied(None, lambda: note("first"))
    assert connection.queries
    tidied(None, lambda: None)
    assert not connection.queries


@pytest.fixture
def settings_debug() -> Any:
    from django.test import override_settings

    with override_settings(DEBUG=True):
        yield


@pytest.mark.parametrize("age", [0, 600])
def test_async_typed_jobs_leave_no_connection(age: int, caplog: pytest.LogCaptureFixture) -> None:
    """They reach it in the thread of `sync_to_async`, where it is tidied; the consumer's end comes on the loop."""
    from tests.contrib.django.probe.async_jobs import aclose, app

    connections.close_all()

    async def main() -> None:
        async with await prepare(app.consumer()).connect_asyncio() as running:
            assert (await running.drain(["default"])).succeeded == 3

    settings = connections.settings["default"]  # those of connections that are made from now on
    settings["CONN_MAX_AGE"] = age
    try:
        with serve():
            for number in range(3):
                aclose.enqueue(str(number))
            asyncio.run(main())
        assert not [raw for _, _, raw in opened if is_open(raw)]
        assert opened
        assert "raised" not in caplog.text
    finally:
        settings["CONN_MAX_AGE"] = 600
    assert Seen.objects.count() == 3
