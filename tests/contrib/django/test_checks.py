"""System checks, and the settings that they look at."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("django")

from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from faktory import ConfigurationError
from faktory.contrib.django import app_from_settings, consumer
from faktory.contrib.django.configuration import configuration

BACKEND = "faktory.contrib.django.FaktoryBackend"
PROBE_APP = "tests.contrib.django.probe.jobs.app"


def told(**settings: Any) -> list[tuple[str | None, str]]:
    with override_settings(**settings):
        return [(message.id, str(message.msg)) for message in run_checks() if str(message.id).startswith("faktory.")]


def test_the_tests_own_project_is_healthy() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("found", "number", "message"),
    [
        ({"URL": "localhost:7419"}, "E001", "FAKTORY['URL']: "),
        ({"URL": 7419}, "E001", "expected a text, got int"),
        ({"URl": "tcp://x:1"}, "E002", "did you mean URL?"),
        (["tcp://x:1"], "E004", "FAKTORY must be a dict, got list"),
        ({"MODE": "now"}, "E004", "must be one of queue, foreground, background, got 'now'"),
        ({"APP": 3}, "E004", "FAKTORY['APP'] must be a text, got int"),
        ({"APP": "nowhere.app"}, "E005", "cannot import 'nowhere.app'"),
        ({"APP": "tests.contrib.django.probe.jobs.date"}, "E005", "must be a faktory.App, got type"),
        ({"QUEUES": "default"}, "E007", "must be a list of names, or a dict of weights, got 'default'"),
        ({"QUEUES": ["two words"]}, "E007", "queue must be made of"),
        ({"QUEUES": {"default": 0}}, "E007", "a weight must be an integer from 1 on, got 0"),
    ],
)
def test_a_wrong_setting_is_found(found: Any, number: str, message: str) -> None:
    (problem,) = told(FAKTORY=found)
    assert problem[0] == f"faktory.{number}"
    assert message in problem[1]


@pytest.mark.parametrize(
    ("options", "number", "message"),
    [
        ({"OPTIONS": {"url": "nonsense"}}, "E001", "TASKS['default']['OPTIONS']['url']"),
        ({"OPTIONS": {"retries": 3}}, "E002", "did you mean retry?"),
        ({"OPTIONS": {"retry": "3"}}, "E003", "retry must be an integer"),
        ({"OPTIONS": {"reserve_for": 10**6}}, "E003", "reserve_for must be whole seconds"),
        ({"OPTIONS": {"queues": []}}, "E007", "must be a list of names"),
        ({"QUEUES": ["a b"]}, "E007", "TASKS['default']['QUEUES']: queue must be made of"),
    ],
)
def test_a_wrong_option_is_found(options: Any, number: str, message: str) -> None:
    (problem,) = told(TASKS={"default": {"BACKEND": BACKEND, **options}}, FAKTORY={"APP": PROBE_APP})
    assert problem[0] == f"faktory.{number}"
    assert message in problem[1]


def test_a_backend_without_the_app_is_warned_of() -> None:
    assert [number for number, _ in told(INSTALLED_APPS=["tests.contrib.django.probe"])] == ["faktory.W001"]


def test_a_project_that_pushes_nothing_is_warned_of() -> None:
    dummy = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    assert [number for number, _ in told(TASKS=dummy, FAKTORY=None)] == ["faktory.W002"]


def test_an_app_whose_jobs_cannot_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from faktory import App
    from tests.contrib.django.probe import jobs

    broken = App()

    @broken.job(needs=(dict,))
    def job() -> None: ...

    monkeypatch.setattr(jobs, "app", broken)
    assert [number for number, _ in told()] == ["faktory.E006"]


def test_the_settings_configure_an_app() -> None:
    with override_settings(FAKTORY={"URL": "tcp://localhost:1234", "MODE": "background"}):
        app = app_from_settings()
        assert app.mode == "background"
        assert str(app._delivery._own_address()) == "tcp://localhost:1234"


def test_a_wrong_setting_is_an_error_without_the_checks_too() -> None:
    with (
        override_settings(FAKTORY={"URL": "x"}),
        pytest.raises(ConfigurationError, match=r"leave it out for FAKTORY_URL"),
    ):
        configuration()


def test_queues_of_the_worker() -> None:
    def queues(**settings: Any) -> Any:
        with override_settings(**settings):
            return consumer()._queues

    backend: dict[str, Any] = {"BACKEND": BACKEND, "QUEUES": ["mail", "default"]}
    assert queues() == ["default", "mail", "typed"]
    assert queues(TASKS={"default": backend}, FAKTORY=None) == ["mail", "default"]
    assert queues(TASKS={"default": {**backend, "OPTIONS": {"queues": {"mail": 3, "default": 1}}}}) == {
        "mail": 3,
        "default": 1,
    }
    assert queues(FAKTORY={"QUEUES": ["mail"]}) == ["mail"]


def test_a_worker_of_another_server_than_the_jobs_is_refused() -> None:
    told = {"BACKEND": BACKEND, "QUEUES": ["default", "mail"], "OPTIONS": {"url": "tcp://faktory:1"}}
    elsewhere: dict[str, Any] = {"default": told, "at_once": settings.TASKS["at_once"]}
    with override_settings(TASKS=elsewhere, FAKTORY=None):
        assert str(consumer()._locate(None)) == "tcp://faktory:1"
        with pytest.raises(ConfigurationError, match=r"TASKS\['default'\] pushes to tcp://faktory:1"):
            consumer()._locate("tcp://localhost:2")
    two = {**elsewhere, "other": {"BACKEND": BACKEND, "OPTIONS": {"url": "tcp://faktory:2"}}}
    with override_settings(TASKS=two, FAKTORY=None):
        with pytest.raises(ConfigurationError, match="give this worker one of their servers by --url"):
            consumer()._locate(None)
        assert str(consumer()._locate("tcp://faktory:2")) == "tcp://faktory:2"


def test_a_project_without_jobs_is_told_where_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from faktory.contrib.django import known, worker

    monkeypatch.setattr(worker, "discover", dict[str, Any])
    monkeypatch.setattr(known, "_declared", {})
    with override_settings(FAKTORY=None), pytest.raises(ConfigurationError, match="the project has no jobs; write"):
        consumer()
