"""What `App.periodic` takes and refuses."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest

from faktory import App, JobContext
from faktory.errors import ConfigurationError


def told(app: App) -> list[str]:
    return [f"{each} {each.typed.options.queue} {each.catch_up}" for each in app.periodics()]


def test_a_job_is_due_as_it_says() -> None:
    app, other = App(), App()

    @app.periodic("@daily")
    @app.periodic("*/5  * * * *", tz="Europe/Berlin", catch_up="last")
    @app.job(queue="mail")
    def report(ctx: JobContext, day: int = 1) -> None: ...

    @other.periodic("0 8 * * MON")
    def plain() -> str:
        return "ran"

    app.include(other)
    assert told(app) == [
        "report (*/5 * * * *, Europe/Berlin) mail last",
        "report (@daily, UTC) mail none",
        "plain (0 8 * * MON, UTC) default none",
    ]
    assert plain() == "ran"
    assert set(app.jobs) == {"report", "plain"}
    assert app.periodics()[1].zone is UTC


def test_the_decorators_may_stand_the_other_way_round() -> None:
    app = App()

    @app.job(queue="mail")
    @app.periodic("@hourly")
    def report() -> None: ...

    @app.periodic("@daily")
    def other() -> None: ...

    assert told(app) == ["report (@hourly, UTC) mail none", "other (@daily, UTC) default none"]
    assert app.periodics()[0].typed is report


def test_a_module_that_is_imported_again_adds_nothing() -> None:
    app = App()

    def imported() -> None:
        @app.periodic("@hourly")
        def report() -> None: ...

    imported()
    imported()
    assert told(app) == ["report (@hourly, UTC) default none"]


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (
            lambda app: app.periodic("@hourly")(needs),
            "must be callable without arguments, and needs user, kind",
        ),
        (lambda app: app.periodic("@hourly")(app.job(needs)), "give them defaults"),
        (lambda app: app.periodic("@hourly")(5), "takes a function"),
        (lambda app: app.periodic("every day"), "expected the five fields"),
        (lambda app: app.periodic("@hourly", catch_up="all"), 'catch_up must be "none" or "last", got \'all\''),
        (lambda app: app.periodic("@hourly", tz="Europe/Berln"), "got 'Europe/Berln'; did you mean Europe/Berlin"),
        (lambda app: app.periodic("@hourly", tz="../etc"), 'tz must be a time zone like "Europe/Berlin"'),
        (lambda app: app.periodic("@hourly", tz=None), "got None"),
    ],
)
def test_what_is_wrong_is_refused_when_declared(declare: Callable[[App], Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        declare(App())


def test_a_system_without_time_zones_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(ConfigurationError, match="this system has no time zones: install its package of them, or tz"):
        App().periodic("@hourly", tz="Europe/Nowhere")


def needs(user: int, kind: str, count: int = 1) -> None: ...
