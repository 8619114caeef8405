"""The kit in unittest: `TestCase`."""

from __future__ import annotations

import unittest
from typing import Any

from faktory import App, override
from faktory import testing as kit

app = App("tcp://never.invalid:7419")
ran: list[Any] = []


@app.job
def work(number: int) -> None:
    ran.append(number)


def outcome_of(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    ran.clear()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert override.active() is None
    return result


def test_jobs_are_captured_before_set_up_and_until_after_the_cleanups() -> None:
    class Case(kit.TestCase):
        def setUp(self) -> None:  # without a word to its parent
            work.enqueue(1)
            self.addCleanup(work.enqueue, 3)

        def test_captured(self) -> None:
            work.enqueue(2)
            self.assert_enqueued(work, times=2)
            self.faktory_jobs.clear()
            self.refute_enqueued(work)

        def test_again(self) -> None:
            assert len(self.faktory_jobs) == 1

    result = outcome_of(Case)
    assert (result.testsRun, result.wasSuccessful(), ran) == (2, True, [])


def test_jobs_can_run_inline() -> None:
    class Case(kit.TestCase):
        faktory_mode = "inline"

        def test_inline(self) -> None:
            work.enqueue(1)
            assert ran == [1]
            assert self.faktory_jobs == []

    assert outcome_of(Case).wasSuccessful()


def test_jobs_can_be_served_to_async_tests_too() -> None:
    class Case(kit.TestCase, unittest.IsolatedAsyncioTestCase):
        faktory_mode = "serve"

        async def test_served(self) -> None:
            await work.aenqueue(1)
            assert len(self.faktory_server.queue("default")) == 1
            assert (await kit.Worker(app).adrain()).succeeded == 1

        async def test_fails(self) -> None:
            self.assert_enqueued(work)

    result = outcome_of(Case)
    assert (result.testsRun, len(result.errors), len(result.failures)) == (2, 0, 1)
    assert "nothing was enqueued" in result.failures[0][1]


def test_every_name_is_there_and_no_other() -> None:
    assert {name for name in kit.__all__ if getattr(kit, name) is None} == set()
    assert set(kit.__all__) <= set(dir(kit))
    assert not hasattr(kit, "captured")
