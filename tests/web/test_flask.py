"""`examples/flask_app.py`: pushed from a view, run within the application's context."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("flask")

from flask import current_app, has_app_context

from examples import flask_app
from faktory.testing import Worker, capture, run, serve


def test_the_view_stores_a_job_and_answers_with_its_jid() -> None:
    with capture() as jobs:
        answer = flask_app.create_app().test_client().post("/welcome", json={"email": "ada@example.org"})
    assert (answer.status_code, answer.get_json()) == (202, {"jid": jobs.one().jid})
    assert (jobs[0].queue, jobs[0].args) == ("mail", ["ada@example.org"])


def test_a_job_finds_the_application() -> None:
    assert run(flask_app.welcome, "ada@example.org") == "shop@example.org to ada@example.org"
    assert not has_app_context()


def test_a_worker_leaves_the_context_after_each_job(caplog: pytest.LogCaptureFixture) -> None:
    with serve(), caplog.at_level("INFO", "shop"):
        for name in ("ada", "grace"):
            flask_app.welcome.enqueue(name)
        worker = Worker(flask_app.jobs, ["mail"])
        assert worker.drain().succeeded == 2
        worker.close()
    assert caplog.messages == ["shop@example.org welcomes ada", "shop@example.org welcomes grace"]


@pytest.fixture
def other() -> Iterator[None]:
    with flask_app.create_app(SENDER="other@example.org").app_context():
        yield


def test_a_job_that_runs_in_a_request_has_the_context_of_its_own_application(other: None) -> None:
    assert run(flask_app.welcome, "ada") == "shop@example.org to ada"
    assert current_app.config["SENDER"] == "other@example.org"
