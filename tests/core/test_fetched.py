"""What the reply to a FETCH means: pure decisions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faktory import Job, ProtocolError, ServerError, UnknownJobType
from faktory.commands import Fail, Fetch
from faktory.core.fetched import Refused, Trouble, read_fetched
from faktory.options import UNKNOWN_DELAY

FETCH = Fetch(["default"])
HANDLERS = {"resize": object(), "welcome": object()}


def document(**fields: Any) -> bytes:
    return json.dumps({"jid": "job-00001", "jobtype": "resize", "args": [1], "queue": "default", **fields}).encode()


def test_a_job_with_a_handler_is_the_job() -> None:
    job = read_fetched(FETCH, document(), HANDLERS)
    assert isinstance(job, Job)
    assert (job.jid, job.jobtype, job.args) == ("job-00001", "resize", [1])


def test_nil_is_nothing() -> None:
    assert read_fetched(FETCH, None, HANDLERS) is None


def test_a_job_without_a_handler_is_failed_with_names_that_come_near() -> None:
    """W8."""
    fetched = read_fetched(FETCH, document(jobtype="resise"), HANDLERS)
    assert isinstance(fetched, Refused)
    assert (fetched.job.jid, fetched.kind, fetched.pause) == ("job-00001", "unknown resise", UNKNOWN_DELAY)
    message = "no handler is registered for the job type 'resise'; did you mean 'resize'?"
    assert fetched.command.line == Fail("job-00001", "UnknownJobType", message).line
    assert fetched.text == f"job 'job-00001' failed: {message}"
    assert (type(fetched.error), str(fetched.error)) == (UnknownJobType, message)


def test_the_kind_of_an_unknown_type_is_bounded() -> None:
    fetched = read_fetched(FETCH, document(jobtype="x" * 5000), HANDLERS)
    assert isinstance(fetched, Refused)
    assert fetched.kind == "unknown " + "x" * 100


def test_a_job_that_cannot_be_read_is_failed_by_its_jid() -> None:
    """H8, H9."""
    fetched = read_fetched(FETCH, document(args={"no": "list"}), HANDLERS)
    assert isinstance(fetched, Refused)
    assert (fetched.job.jid, fetched.command.jid, fetched.pause) == ("job-00001", "job-00001", 0.0)
    assert fetched.error is None  # there is no job to tell of
    assert json.loads(fetched.command.line[5:])["errtype"] == "MalformedJob"
    assert fetched.kind == "malformed job-00001"
    assert fetched.text.startswith("job 'job-00001' cannot be read and was failed: ")


def test_one_without_a_jid_is_left_to_its_reservation() -> None:
    fetched = read_fetched(FETCH, b"[]", HANDLERS)
    assert isinstance(fetched, Trouble)
    assert (fetched.kind, fetched.needs_pause) == ("unreadable", False)
    assert "without a jid to fail it by; it will come again: " in fetched.text


@pytest.mark.parametrize(
    ("text", "needs_pause"),
    [
        ("context deadline exceeded", True),
        ("cannot unmarshal job payload: odd", False),  # it is gone: the next one may be right behind it
    ],
)
def test_an_error_is_told_and_waited_for(text: str, needs_pause: bool) -> None:
    """D8."""
    fetched = read_fetched(FETCH, ServerError("ERR", text), HANDLERS)
    assert isinstance(fetched, Trouble)
    assert (fetched.kind, fetched.needs_pause) == (f"FETCH {text:.40}", needs_pause)
    assert fetched.text == f"FETCH was answered with an error: {'ERR ' + text!a}"


def test_what_is_no_reply_to_fetch_is_the_servers_fault() -> None:
    with pytest.raises(ProtocolError, match="expected a job"):
        read_fetched(FETCH, "OK", HANDLERS)
