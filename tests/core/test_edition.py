"""`faktory.core.edition`: settings that an open-source server ignores."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from faktory import EnterpriseRequired, Job, ServerError
from faktory.core.again import RETRIED
from faktory.core.edition import QUESTION, Edition, demanding, settings_of


def lacking() -> Edition:
    edition = Edition()
    edition.learn(EnterpriseRequired("ERR", "tracking subsystem is only available in Faktory Enterprise"))
    return edition


def test_the_question_changes_nothing() -> None:
    assert QUESTION.line == b"TRACK GET faktory-sdk-edition\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, True),
        (EnterpriseRequired("ERR", "only available in Faktory Enterprise"), False),
        (ServerError("ERR", "Unknown command TRACK"), False),
        (ServerError("ERR", "Server is shutting down"), None),
    ],
)
def test_the_answer_tells_the_edition(answer: ServerError | None, expected: bool | None) -> None:
    edition = Edition()
    assert edition.has_enterprise is None
    edition.learn(answer)
    assert edition.has_enterprise is expected


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (Job("work"), []),
        (Job("work", custom={"tenant": "a"}), []),
        (Job("work").unique_for(5), ["unique_for"]),
        (Job("work").unique_for(5).unique_until("start"), ["unique_for", "unique_until"]),
        (Job("work").expires_in(5), ["expires_at"]),
        (Job("work").expires_at(datetime(2099, 1, 1, tzinfo=UTC)), ["expires_at"]),
        (Job("work", custom={"expires_in": 5}), ["expires_in"]),
    ],
)
def test_the_settings_of_a_job(job: Job, expected: list[str]) -> None:
    assert settings_of(job) == expected
    assert demanding([Job("other"), job]) == ([job] if expected else [])


def test_a_job_with_such_a_setting_is_refused_by_name() -> None:
    with pytest.raises(EnterpriseRequired, match=r"'work' has the setting unique_for and unique_until.*leave it out"):
        lacking().check([Job("work").unique_for(5).unique_until("start")])


@pytest.mark.parametrize("answer", [None, ServerError("ERR", "busy")])
def test_nothing_is_refused_where_the_server_has_it_or_does_not_say(answer: ServerError | None) -> None:
    edition = Edition()
    edition.learn(answer)
    edition.check([Job("work").unique_for(5)])


def test_a_copy_of_a_job_that_ran_goes_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    edition = lacking()
    for _ in range(2):
        edition.check([Job("work", custom={RETRIED: {"jid": "12345678", "runs": 1}}).expires_in(5)])
    assert [record.getMessage() for record in caplog.records] == [
        "the setting expires_at of jobs 'work': this server is open source and ignores it, it needs Faktory Enterprise"
    ]
