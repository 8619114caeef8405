"""The backend: what becomes of a task when it is enqueued, and what is refused."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("django")

import django
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from faktory import InvalidJob
from faktory.contrib import django as ours
from faktory.contrib.django import FaktoryBackend, FaktoryTask, framework
from faktory.contrib.django.framework import InvalidTask, TaskResultStatus, task_backends
from faktory.server import Server
from faktory.testing import capture, inline, serve

ROOT = Path(__file__).parents[3]
PROBE = "tests.contrib.django.probe.tasks"
BACKEND = "faktory.contrib.django.FaktoryBackend"


def tasks() -> Any:
    from tests.contrib.django.probe import tasks

    return tasks


def home() -> Any:
    backend: Any = task_backends["default"]
    return backend.home


def test_a_task_becomes_a_job_of_its_module_path_with_one_argument() -> None:
    with capture() as jobs:
        result = tasks().add.enqueue(1, b=2)
    job = jobs.one()
    assert (job.jobtype, job.args) == (f"{PROBE}.add", [{"args": [1], "kwargs": {"b": 2}}])
    assert (job.jid, job.queue, job.retry, job.reserve_for, job.at) == (result.id, "default", 4, None, None)
    assert result.status == TaskResultStatus.READY
    assert result.enqueued_at is not None
    assert (result.args, result.kwargs, result.backend) == ([1], {"b": 2}, "default")


def test_what_the_decorator_says_goes_before_the_backends_options() -> None:
    with capture() as jobs:
        tasks().send.enqueue("you")
        tasks().send.using(retry=0, queue_name="default").enqueue("you")
    assert [(job.queue, job.retry) for job in jobs] == [("mail", 2), ("default", 0)]
    assert all(job.reserve_for == 3620 for job in jobs)  # long enough for its time limit


def test_run_after_delays_the_job() -> None:
    when = datetime(2031, 1, 1, tzinfo=UTC)
    with serve() as server:
        tasks().add.using(run_after=when).enqueue(1)
        assert [job.at for job in server.scheduled] == [when]


@override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin")
def test_a_naive_time_is_in_the_projects_zone() -> None:
    with capture() as jobs:
        tasks().add.using(run_after=datetime(2031, 1, 1, 12)).enqueue(1)  # noqa: DTZ001
    assert jobs.one().at == datetime(2031, 1, 1, 11, tzinfo=UTC)


async def _enqueued() -> Any:
    return await tasks().add.aenqueue(7)


def test_aenqueue_stores_the_job_too() -> None:
    import asyncio

    with capture() as jobs:
        result = asyncio.run(_enqueued())
    assert jobs.one().jid == result.id


def test_arguments_that_are_no_json_are_refused_before_anything_is_sent() -> None:
    with capture() as jobs:
        with pytest.raises(TypeError, match="Unsupported type"):
            tasks().add.enqueue(datetime.now(UTC))
        with pytest.raises(InvalidJob, match=r"beyond 2\^53"):
            tasks().add.enqueue(2**60)
    assert not jobs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": "often"}, "retry must be an integer"),
        ({"timeout": -1}, "timeout must be seconds"),
        ({"reserve_for": 0}, "reserve_for must be whole seconds"),
        ({"timeout": 600, "reserve_for": 100}, "contradicts a reservation of 100 s"),
        ({"queue_name": "elsewhere"}, "is not valid for backend"),
        ({"priority": 10}, "does not support setting priority"),
    ],
)
def test_a_task_that_could_not_run_is_refused_where_it_is_declared(options: dict[str, Any], message: str) -> None:
    from tests.contrib.django.probe.framework import task

    with pytest.raises(InvalidTask, match=message):
        task(**options)(tasks().add.func)


@override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {}}})
def test_a_queue_that_no_server_takes_is_refused() -> None:
    with pytest.raises(InvalidTask, match=r"queue must be made of A-Z"):
        tasks().add.using(queue_name="two words")


def test_a_task_of_another_backend_can_be_pushed_here() -> None:
    with inline():
        tasks().calls.clear()
        tasks().of_another_backend.using(backend="default", queue_name="mail").enqueue("from afar")
    assert tasks().calls == ["from afar"]


def test_what_it_supports() -> None:
    backend = task_backends["default"]
    assert isinstance(backend, FaktoryBackend)
    assert (backend.supports_defer, backend.supports_async_task) == (True, True)
    assert (backend.supports_get_result, backend.supports_priority) == (False, False)
    assert isinstance(tasks().add, FaktoryTask)
    assert repr(backend) == "<FaktoryBackend 'default'>"
    with pytest.raises(NotImplementedError):
        tasks().add.get_result("0123456789")


def test_signals_whose_receivers_raise_harm_nothing(caplog: pytest.LogCaptureFixture) -> None:
    from faktory.contrib.django.framework import task_enqueued

    seen: list[str] = []

    def broken(task_result: Any, **kwargs: object) -> None:
        seen.append(task_result.id)
        raise RuntimeError("a broken receiver")

    task_enqueued.connect(broken)
    try:
        with capture() as jobs:
            result = tasks().add.enqueue(1)
    finally:
        task_enqueued.disconnect(broken)
    assert seen == [jobs.one().jid] == [result.id]
    assert "a broken receiver" in caplog.text


def test_where_jobs_go_the_options_say_before_the_settings_before_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "tcp://localhost:1"
    monkeypatch.setenv("FAKTORY_URL", other)
    for told, options in (({"URL": server.url}, {}), ({"URL": other}, {"url": server.url})):
        with override_settings(FAKTORY=told, TASKS={"default": {"BACKEND": BACKEND, "OPTIONS": options}}):
            home().app.client.push_bulk([])
            tasks().add.enqueue(1)
            home().app.close()
    assert len(server.queue("default")) == 2


def test_every_thread_pushes_through_the_same_client() -> None:
    import threading

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(home())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_foreground_needs_no_server(calls: list[Any]) -> None:
    with override_settings(FAKTORY={"MODE": "foreground"}):
        tasks().add.enqueue(1, b=1)
        with pytest.raises(ValueError, match="at once"):
            tasks().fail.enqueue("at once")
    assert calls == [(1, 1)]


def test_wrong_settings_are_said_by_whoever_needs_them() -> None:
    with override_settings(FAKTORY={"URl": "tcp://x:1"}), pytest.raises(ValueError, match=r"did you mean URL"):
        tasks().add.enqueue(1)


def test_a_backend_that_is_missing_is_djangos_to_tell() -> None:
    with pytest.raises(ImproperlyConfigured):
        tasks().add.using(backend="nowhere")


@pytest.fixture
def before_django_6(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """Reads the module that chooses the framework as Django 5.2 would have it; returns its names."""
    monkeypatch.setattr(django, "VERSION", (5, 2, 0, "final", 0))
    return lambda: runpy.run_path(framework.__file__)


def test_before_django_6_one_line_says_what_to_install(
    before_django_6: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "django_tasks", None)
    with pytest.raises(ImportError, match="before it the package django-tasks: python -m pip install") as caught:
        before_django_6()
    assert caught.value.name == "django_tasks"


def test_a_package_that_is_broken_is_not_said_to_be_missing(
    before_django_6: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "django_tasks.py").write_text("import a_module_that_it_needs")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "django_tasks", raising=False)
    with pytest.raises(ModuleNotFoundError, match="No module named 'a_module_that_it_needs'"):
        before_django_6()


def test_before_django_6_all_names_are_those_of_the_package(
    before_django_6: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in, where the package is not installed: the next test takes the package itself."""
    homes = {
        "": ("TaskContext", "TaskResult", "TaskResultStatus", "task_backends"),
        ".backends": (),
        ".backends.base": ("BaseTaskBackend",),
        ".base": ("Task", "TaskError"),
        ".exceptions": ("InvalidTaskError",),
        ".signals": ("task_enqueued", "task_finished", "task_started"),
        ".utils": ("normalize_json",),
    }
    for home, names in homes.items():
        module = ModuleType(f"django_tasks{home}")
        vars(module).update({name: f"{home} {name}" for name in names})
        monkeypatch.setitem(sys.modules, module.__name__, module)
    found = before_django_6()
    assert {found[name] for name in framework.__all__} == {
        f"{home} {name}" for home, names in homes.items() for name in names
    }


def test_the_package_before_django_6_does_as_well() -> None:
    pytest.importorskip("django_tasks")
    program = """
import django
django.VERSION = (5, 2, 0, "final", 0)
django.setup()
from faktory.contrib.django import FaktoryBackend
from faktory.testing import capture
from tests.contrib.django.probe import tasks
from django_tasks.backends.base import BaseTaskBackend
assert issubclass(FaktoryBackend, BaseTaskBackend)
with capture() as jobs:
    result = tasks.about.enqueue("hi")
    tasks.send.using(retry=1).enqueue("you")
    jobs.drain()
assert tasks.calls == [("hi", 1, result.id, ["hi"], {}, "default"), "you"], tasks.calls
from faktory.contrib.django import consumer
assert "tests.contrib.django.probe.tasks.add" in consumer()._handlers()
"""
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.contrib.django.probe.settings",
        "PROBE_AT_ONCE": "django_tasks.backends.immediate.ImmediateBackend",
        "PATH": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr


def test_a_delayed_task_waits_in_a_capture_too() -> None:
    with capture() as jobs:
        tasks().add.using(run_after=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)
        assert jobs.drain() == 0  # not due


# -- the package's names ----------------------------------------------------------------------------------------------


def test_public_names_are_listed_and_others_are_none() -> None:
    assert set(ours.__all__) <= set(dir(ours))
    with pytest.raises(AttributeError, match=r"'faktory\.contrib\.django' has no attribute 'FactoryBackend'"):
        ours.FactoryBackend  # noqa: B018


def test_a_django_that_is_broken_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "django.py").write_text("import a_module_that_it_needs")
    monkeypatch.delattr(ours, "prepare")  # as if it were the first use
    monkeypatch.delitem(sys.modules, "django")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'a_module_that_it_needs'"):
        ours.prepare  # noqa: B018
