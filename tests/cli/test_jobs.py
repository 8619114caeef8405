"""`faktoryctl jobs`: what an app's jobs are, without a server."""

from __future__ import annotations

import json

from .conftest import Project

BUILDER = "from faktory import ConsumerBuilder\nbuilder = ConsumerBuilder().register('resize', print)\n"


def test_the_jobs_of_an_app_are_printed_as_they_are_called(project: Project) -> None:
    done = project.run("jobs", "app.py", FAKTORY_URL="tcp://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "add(a: int, b: int)",
        "boom()",
        "nap(seconds: float = 0.5)  in slow",
        "welcome(to: Address, since: date | None = None)",
    ]


def test_with_json_each_job_is_a_line(project: Project) -> None:
    done = project.call("jobs", "--json", FAKTORY_JOBS_APP="app")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {"jobtype": "add", "signature": "(a: int, b: int)", "queue": "default"}
    assert [line["queue"] for line in lines] == ["default", "default", "slow", "default"]


def test_a_builder_says_what_it_has_registered(project: Project) -> None:
    project.write("plain.py", BUILDER)
    assert project.call("jobs", "plain").stdout == "resize(job)\n"


def test_calls_that_are_wrong_end_with_2(project: Project) -> None:
    none, several, missing = (project.call("jobs", *words) for words in ([], ["app", "other"], ["nothing"]))
    assert [done.returncode for done in (none, several, missing)] == [2, 2, 2]
    assert "expected a TARGET" in none.stderr
    assert "got 2 words" in several.stderr
    assert "No module named 'nothing'" in missing.stderr
