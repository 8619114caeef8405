"""`faktoryctl cron` as a process; what it pushes when, the timetable's tests say."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from faktory import App
from faktory.cli import cron, main
from faktory.cli.timetable import Timetable
from faktory.server import Server
from faktory.typed.periodic import Periodic
from tests.cli.conftest import Project, read_until

JOBS = """
from faktory import App
app, empty = App(), App()

@app.periodic("*/5 * * * *", tz="Europe/Berlin", catch_up="last")
@app.job(queue="mail")
def report() -> None: ...

@app.periodic("@daily")
def sweep() -> None: ...
"""


class Clock(Exception):
    """Ends the loop of a test, whose clock has no more moments."""


def run_through(
    app: App, monkeypatch: pytest.MonkeyPatch, moments: list[datetime], between: Callable[[int], None] = lambda _: None
) -> Timetable:
    """Push the jobs of an app by a clock that shows these moments, one after each wait."""
    now = moments[0]

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now

    class Event:
        waits = 0

        def wait(self, seconds: float) -> None:
            nonlocal now
            self.waits += 1
            between(self.waits)
            if self.waits == len(moments):
                raise Clock
            now = moments[self.waits]

    monkeypatch.setattr(cron, "datetime", Frozen)
    table = Timetable(app.periodics(), moments[0])
    with pytest.raises(Clock):
        cron._push_for_ever(table, Event())  # type: ignore[arg-type]
    return table


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-26T{text}+00:00")


def app_of(url: str) -> App:
    app = App(url)
    app.periodic("*/5 * * * *")(app.job(queue="mail")(report))
    return app


def report() -> None: ...


def test_ticks_are_pushed_and_a_server_that_is_away_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def between(wait: int) -> None:
        if wait == 2:
            server.stop()
        if wait == 3:
            server.start()

    app = app_of(server.url)
    moments = [at("08:04:00"), at("08:05:00"), at("08:10:00"), at("08:10:31"), at("08:11:00")]
    with caplog.at_level("INFO"):
        table = run_through(app, monkeypatch, moments, between)
    app.close()
    lines = [line for line in caplog.messages if "report of" in line]
    assert lines[0].startswith("pushed report of 2026-11-26 08:05+00:00 (jid ")
    assert lines[1].startswith("WARNING could not push report of 2026-11-26 08:10+00:00, again in ")
    assert lines[2].endswith(", late")
    assert len(lines) == 3
    assert table.unpushed() == []
    jids = [line.partition("jid ")[2].partition(")")[0] for line in (lines[0], lines[2])]
    assert [job.jid for job in server.queue("mail")][-1] == jids[1]


def test_what_can_never_be_pushed_is_told_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [ValueError("a bug of the app")]

    def refuse(_job: Any, _call_next: Any) -> NoReturn:
        raise errors[0]

    app = app_of(server.url)
    app.on_push(refuse)
    table = run_through(app, monkeypatch, [at("08:04:00"), at("08:05:00"), at("08:05:20")])
    app.close()
    assert caplog.messages == [
        "ERROR could not push report of 2026-11-26 08:05+00:00, and it is not tried again",
    ]
    assert table.unpushed() == []


def test_the_next_ticks_are_listed(project: Project) -> None:
    project.write("jobs.py", JOBS)
    done = project.run("cron", "jobs:app", "--list", "-n", "2", FAKTORY_URL="tcp://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "report  */5 * * * *  Europe/Berlin  catch up: last"
    assert (len(lines), lines[3]) == (6, "sweep  @daily  UTC")
    done = project.call("cron", "jobs:app", "--list", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["jobtype"], first["tz"], first["catch_up"]) == ("report", "Europe/Berlin", "last")
    moments = [datetime.fromisoformat(each) for each in second["next"]]
    assert moments[1] - moments[0] == timedelta(days=1)
    assert moments[0] > datetime.now(UTC)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_to_run_one_and_ends_at_once(project: Project, number: int, code: int) -> None:
    project.write("jobs.py", JOBS)
    process = project.start("cron", "jobs:app")
    assert "run exactly one such process" in read_until(process, "next sweep")
    read_until(process, "next   ")
    process.send_signal(number)
    assert process.wait(5) == code


@pytest.mark.slow
def test_a_minute_brings_a_job_to_the_server(project: Project) -> None:
    """The clock of the process is moved to shortly before a minute: what it waits for is real."""
    moved = "import faktory.cli.cron as c, datetime as d\nreal = d.datetime\nstart = real.now(d.UTC)\n"
    moved += "class D(real):\n    @classmethod\n    def now(cls, tz=None):\n"
    moved += "        return real(2026, 1, 1, 7, 59, 59, tzinfo=d.UTC) + (real.now(tz) - start)\nc.datetime = D\n"
    project.write("jobs.py", moved + JOBS)
    process = project.start("cron", "jobs:app")
    assert "pushed report of 2026-01-01 09:00+01:00" in read_until(process, "pushed report")
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert [job.jobtype for job in project.server.queue("mail")] == ["report"]


@pytest.mark.slow
def test_wrong_calls_and_servers_have_their_statuses(project: Project) -> None:
    project.write("jobs.py", JOBS + "from faktory import ConsumerBuilder\nbuilder = ConsumerBuilder()\n")
    away = "tcp://127.0.0.1:1"
    for words, environment, code, told in (
        (["jobs:app"], {"FAKTORY_URL": away}, 3, "Connection refused"),
        (["jobs:app"], {"FAKTORY_MODE": "background"}, 2, "the mode is background"),
        (["jobs:empty"], {}, 2, "no periodic jobs; write @app.periodic"),
        (["jobs:builder"], {}, 2, "expected an App, got a ConsumerBuilder"),
    ):
        done = project.call("cron", *words, **environment)
        assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


@pytest.mark.slow
def test_without_a_server_it_starts_where_it_may(project: Project) -> None:
    project.write("jobs.py", JOBS)
    process = project.start("cron", "jobs:app", "--wait-server", FAKTORY_URL="tcp://127.0.0.1:1")
    assert "the server is not there yet" in read_until(process, "run exactly one")
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["jobs:app", "more"], "expected one TARGET"),
        ([], "set FAKTORY_CRON_APP"),
        (["jobs:app", "--list", "-n", "0"], "expected 1 to 1000, got 0"),
    ],
)
def test_wrong_words_are_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cron", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_tick_that_was_not_pushed_makes_the_end_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    app = app_of("tcp://127.0.0.1:1")
    table = Timetable(app.periodics(), at("08:04:00"))
    table.turn(at("08:05:00"))
    assert cron._ended([table]) == 1
    assert caplog.messages == ["WARNING ended before report of 2026-11-26 08:05+00:00 was pushed"]
    assert main(["cron"]) == 2
    assert all(isinstance(each, Periodic) for each in app.periodics())
