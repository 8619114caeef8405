"""What jobs are refused, and how the texts look."""

from __future__ import annotations

import re

import pytest

from faktory.cli import main
from faktory.cli.scaffold import planned, text_of_job, text_of_test


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([""], "expected app, or job NAME"),
        (["job"], "expected app, or job NAME"),
        (["app", "shop"], "app takes no words"),
        (["job", "send-mail"], "NAME: expected a name of letters, digits and _, like send_mail, got 'send-mail'"),
        (["job", "class"], "NAME: expected a name"),
        (["job", "json"], "json is the name of a module already"),
        (["job", "app"], "app is the name of a module already"),
        (["job", "mail", "a:strr"], "a: expected a type of str, int, .*, got 'strr'; did you mean str"),
        (["job", "mail", "a:"], "got ''"),
        (["job", "mail", "1:int"], "ARG: expected a name"),
        (["job", "mail", "a", "a:int"], "the argument a comes twice"),
        (["job", "mail", "date:date"], "the module needs the name date"),
        (["job", "mail", "--queue", "a b"], "--queue: "),
        (["job", "mail", "--to", "../up"], "--to: expected a folder below this one"),
        (["job", "mail", "--to", "/tmp"], "--to: expected a folder below this one"),
    ],
)
def test_what_cannot_be_written_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", *words]) == 2
    assert re.search(told, capsys.readouterr().err)


def test_a_job_and_its_test() -> None:
    plan = planned("report", ["day:date", "at:datetime"], queue="mail", is_async=True, folder="shop")
    assert text_of_job(plan).splitlines()[2:] == [
        "from datetime import date, datetime",
        "",
        "from faktory import App",
        "",
        "app = App()",
        "",
        "",
        '@app.job(queue="mail")',
        "async def report(day: date, at: datetime) -> None:",
        '    """Say what the job does, and do it."""',
    ]
    lines = text_of_test(plan).splitlines()
    assert lines[0] == "from datetime import UTC, date, datetime"
    assert "from shop.report import report" in lines
    assert '    assert [(job.jid, job.queue) for job in jobs] == [(jid, "mail")]' in lines
    assert plan.include == "from shop import report\napp.include(report.app)"


def test_long_lines_are_broken_as_ruff_does() -> None:
    names = ["a_rather_long_name", "another_long_name", "a_third_one"]
    plan = planned("prepare_everything", names, queue=None, is_async=False, folder=".")
    assert plan.include == "import prepare_everything\napp.include(prepare_everything.app)"
    assert "(\n    a_rather_long_name: str, another_long_name: str, a_third_one: str\n) -> None:\n" in text_of_job(plan)
    plan = planned("prepare_everything", [*names, "and_the_last_of_them"], queue=None, is_async=False, folder=".")
    assert "(\n    a_rather_long_name: str,\n    another_long_name: str,\n" in text_of_job(plan)
