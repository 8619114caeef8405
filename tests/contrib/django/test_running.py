"""What a worker does with a task."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django")

from faktory import ConfigurationError, InvalidJob, Job, JobTimeout
from faktory.contrib.django import homes
from faktory.contrib.django.framework import TaskResultStatus, task_finished, task_started
from faktory.testing import capture, inline, serve
from tests.contrib.django.conftest import Work
from tests.contrib.django.probe import jobs as typed

PROBE = "tests.contrib.django.probe.tasks"
pytestmark = pytest.mark.usefixtures("database")


def tasks() -> Any:
    from tests.contrib.django.probe import tasks

    return tasks


@pytest.fixture
def signals() -> Any:
    """What `task_started` and `task_finished` told: the status and the number of runs."""
    told: list[tuple[str, str, int]] = []

    def receive(sender: Any, signal: Any, task_result: Any, **kwargs: object) -> None:
        name = "started" if signal is task_started else "finished"
        told.append((name, str(task_result.status), task_result.attempts))

    for signal in (task_started, task_finished):
        signal.connect(receive)
    yield told
    for signal in (task_started, task_finished):
        signal.disconnect(receive)


def test_context_tells_the_run_and_the_call(calls: list[Any]) -> None:
    with capture() as jobs:
        result = tasks().about.enqueue("hello")
        jobs.drain()
    assert calls == [("hello", 1, result.id, ["hello"], {}, "default")]


def test_async_tasks_reach_the_database(work: Work) -> None:
    from tests.contrib.django.probe.models import Seen

    with serve():
        tasks().later.enqueue("in a loop of its own")
        worker = work(["default"])
        assert worker.drain().succeeded == 1
    assert [seen.what for seen in Seen.objects.all()] == ["in a loop of its own"]


def test_an_async_task_is_cancelled_at_its_time_limit() -> None:
    with inline(), pytest.raises(JobTimeout):
        tasks().forever.enqueue()


def test_signals_of_a_success(signals: list[Any]) -> None:
    with inline():
        tasks().add.enqueue(1)
    assert signals == [("started", "RUNNING", 1), ("finished", "SUCCESSFUL", 1)]


def test_a_task_has_finished_when_no_run_follows(signals: list[Any], work: Work) -> None:
    with serve() as server:
        tasks().fail.enqueue("twice")
        worker = work(["default"])
        worker.drain(raise_failures=False)
        assert signals == [("started", "RUNNING", 1)]
        server.clock.advance(3600)
        worker.drain(raise_failures=False)
        assert [job.failure.errtype for job in server.dead if job.failure] == ["ValueError"]
    assert signals[1:] == [("started", "RUNNING", 2), ("finished", "FAILED", 2)]


def test_retry_and_discard_work_in_tasks(signals: list[Any], work: Work) -> None:
    with serve() as server:
        tasks().ask.enqueue("retry")
        tasks().ask.enqueue("discard")
        worker = work(["default"])
        assert worker.drain().failed == 0
        assert len(server.scheduled) == 1
    assert signals == [("started", "RUNNING", 1), ("started", "RUNNING", 1), ("finished", "FAILED", 1)]


def test_a_value_that_is_no_json_fails_nothing(signals: list[Any]) -> None:
    with inline():
        tasks().odd.enqueue()
    assert signals[-1] == ("finished", "SUCCESSFUL", 1)


def test_receivers_that_raise_harm_no_task(calls: list[Any]) -> None:
    def broken(**kwargs: object) -> None:
        raise RuntimeError("a broken receiver")

    for signal in (task_started, task_finished):
        signal.connect(broken)
    try:
        with inline():
            tasks().add.enqueue(3)
    finally:
        for signal in (task_started, task_finished):
            signal.disconnect(broken)
    assert calls == [(3, 0)]


def test_the_result_of_a_failure_has_the_error() -> None:
    found: list[Any] = []

    def receive(task_result: Any, **kwargs: object) -> None:
        found.append(task_result)

    task_finished.connect(receive)
    try:
        with inline(), pytest.raises(ValueError, match="broken"):
            tasks().fail.using(retry=0).enqueue("broken")
    finally:
        task_finished.disconnect(receive)
    (error,) = found[0].errors
    assert found[0].status == TaskResultStatus.FAILED
    assert error.exception_class is ValueError
    assert error.traceback.endswith("ValueError: broken\n")


def test_other_clients_may_leave_parts_of_a_call_out(calls: list[Any], work: Work) -> None:
    with serve() as server:
        for call in ({"args": [1]}, {"kwargs": {"a": 2}}):
            typed.app.push(Job(f"{PROBE}.add", [call]))
        worker = work(["default"])
        worker.drain()
        assert not server.retries
    assert calls == [(1, 0), (2, 0)]


@pytest.mark.parametrize("call", [{"args": 1}, {"kwargs": []}, {"a": 1}])
def test_a_call_that_is_none_fails_and_says_what_was_expected(
    call: dict[str, Any], calls: list[Any], work: Work
) -> None:
    with serve():
        typed.app.push(Job(f"{PROBE}.add", [call]))
        worker = work(["default"])
        with pytest.raises(InvalidJob, match=r'takes one argument like \{"args"'):
            worker.drain()
    assert not calls


def test_a_dotted_path_out_of_a_payload_is_never_imported(work: Work) -> None:
    with serve() as server:
        typed.app.push(Job("os.system", [{"args": ["false"]}]))
        typed.app.push(Job(f"{PROBE}.Seen", [{}]))
        worker = work(["default"])
        summary = worker.drain(raise_failures=False)
        assert summary.failed == 2
        assert {job.failure.errtype for job in server.retries if job.failure} == {"UnknownJobType"}


def test_a_child_process_imports_the_task_that_it_is_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has not read what its worker has: a task may stand beside the tasks.py of an app."""
    path = tmp_path / "beside_tasks.py"
    path.write_text("from tests.contrib.django.probe.framework import task\n\n@task\ndef late() -> None: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(homes, "_working", [homes.home_of(None, "queue")])
    assert getattr(homes.handlers, "beside_tasks/late").jobtype == "beside_tasks.late"
    with pytest.raises(ConfigurationError, match=r"the task 'beside_tasks\.latte' is not declared; put it"):
        getattr(homes.handlers, "beside_tasks/latte")


def test_typed_jobs_of_the_projects_app_run_beside_the_tasks(calls: list[Any], work: Work) -> None:
    typed.calls.clear()
    with serve():
        typed.close.enqueue(date(2026, 11, 26))
        tasks().add.enqueue(5)
        worker = work(["default", "typed"])
        assert worker.drain().succeeded == 2
    assert typed.calls == [date(2026, 11, 26)]
    assert calls == [(5, 0)]
