"""`enqueue_on_commit`."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

pytest.importorskip("django")

from django.db import transaction

from faktory import ConfigurationError, ConnectFailed, InvalidJob, Job
from faktory.contrib.django import enqueue_on_commit
from faktory.testing import capture
from tests.contrib.django.probe import jobs as typed
from tests.contrib.django.probe import tasks
from tests.contrib.django.probe.models import Seen

pytestmark = pytest.mark.usefixtures("database")


def test_a_job_is_pushed_when_its_transaction_commits() -> None:
    with capture() as jobs:
        with transaction.atomic():
            jid = enqueue_on_commit(tasks.add, 1, 2)
            other = enqueue_on_commit(typed.close, date(2026, 1, 1))
            assert not jobs
        assert [job.jid for job in jobs] == [jid, other]
    assert jobs[0].args == [{"args": [1, 2], "kwargs": {}}]
    assert jobs[1].args == ["2026-01-01"]


def test_a_job_is_not_pushed_when_it_rolls_back() -> None:
    with capture() as jobs, pytest.raises(RuntimeError), transaction.atomic():
        enqueue_on_commit(tasks.add, 1)
        raise RuntimeError("no")
    assert not jobs


def test_outside_of_a_transaction_it_is_pushed_at_once() -> None:
    with capture() as jobs:
        enqueue_on_commit(tasks.add, 1, using="default")
        assert len(jobs) == 1


def test_arguments_are_checked_and_taken_when_it_is_called() -> None:
    names = ["first"]
    with capture() as jobs, transaction.atomic():
        with pytest.raises(TypeError):
            enqueue_on_commit(tasks.send, object())
        with pytest.raises(InvalidJob):
            enqueue_on_commit(typed.close, "no date")
        enqueue_on_commit(tasks.send, names)
        names.append("second")
    assert jobs.one().args == [{"args": [["first"]], "kwargs": {}}]


def test_a_task_of_another_backend_waits_for_the_commit_too(calls: list[Any]) -> None:
    with transaction.atomic():
        assert enqueue_on_commit(tasks.of_another_backend, "then") is None
        assert not calls
    assert calls == ["then"]


def test_a_push_that_fails_after_the_commit_reaches_the_caller() -> None:
    from django.test import override_settings

    nobody = override_settings(FAKTORY={"URL": "tcp://localhost:1"})
    with nobody, pytest.raises(ConnectFailed), transaction.atomic():
        Seen.objects.create(what="stored")
        enqueue_on_commit(tasks.add, 1)
    assert Seen.objects.count() == 1


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes a typed job or a task, got Job"):
        enqueue_on_commit(Job("add"))
