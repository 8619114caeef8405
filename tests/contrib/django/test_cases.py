"""The test kit beside Django's test cases."""

from __future__ import annotations

import unittest

import pytest

pytest.importorskip("django")

import django.test
from django.db import transaction

import faktory.testing
from faktory.contrib.django import enqueue_on_commit

from .probe import tasks
from .probe.models import Seen


class InTestCase(faktory.testing.TestCase, django.test.TestCase):
    """Django's `TestCase` never commits: `captureOnCommitCallbacks` says what would be pushed."""

    def test_jobs_wait_for_a_commit_that_never_comes(self) -> None:
        enqueue_on_commit(tasks.add, 1)
        assert not self.faktory_jobs

    def test_captured_callbacks_push(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            enqueue_on_commit(tasks.add, 1)
        self.assert_enqueued(tasks.add.module_path, {"args": [1], "kwargs": {}})

    def test_jobs_run_inside_of_the_tests_transaction(self) -> None:
        Seen.objects.all().delete()
        Seen.objects.create(what="before")
        tasks.row.enqueue("row")
        assert self.faktory_jobs.drain() == 1
        assert sorted(seen.what for seen in Seen.objects.all()) == ["before", "row"]


class InTransactionTestCase(faktory.testing.TestCase, django.test.TransactionTestCase):
    """`TransactionTestCase` does commit, and a worker's threads see what it has stored."""

    faktory_mode = "serve"

    def test_a_workers_threads_see_what_was_committed(self) -> None:
        from faktory.contrib.django import consumer

        Seen.objects.all().delete()
        with transaction.atomic():
            Seen.objects.create(what="before")
            enqueue_on_commit(tasks.row, "row")
        worker = faktory.testing.Worker(consumer(), ["default"])
        assert worker.drain().succeeded == 1
        worker.close()
        assert sorted(seen.what for seen in Seen.objects.all()) == ["before", "row"]


@pytest.mark.parametrize("case", [InTestCase, InTransactionTestCase])
def test_the_cases_run_under_unittest_as_well(case: type[unittest.TestCase]) -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    assert result.testsRun >= 1
    assert result.wasSuccessful()
