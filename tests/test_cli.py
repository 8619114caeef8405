"""`faktoryctl push` and `info`; `server` has its tests in tests/server."""

from __future__ import annotations

import json

import pytest

from faktory.cli import main
from faktory.server import Server


def test_push_stores_a_job_with_json_where_it_is_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["push", "resize", "cat.png", "640", "[1, null]", "--url", server.url, "-q", "images", "--retry", "3"])
    assert code == 0
    (job,) = server.queue("images")
    assert capsys.readouterr().out.strip() == job.jid
    assert (job.args, job.retry) == (["cat.png", 640, [1, None]], 3)


def test_push_schedules(server: Server) -> None:
    assert main(["push", "later", "--in", "60", "--url", server.url]) == 0
    assert len(server.scheduled) == 1


def test_push_says_what_is_wrong(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "resize", "-q", "a b", "--url", server.url]) == 1
    assert "queue must be made of" in capsys.readouterr().err
    assert main(["push"]) == 2


def test_info_shows_queues_and_sets(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "work", "--url", server.url]) == 0
    capsys.readouterr()
    assert main(["info", "--url", server.url]) == 0
    out = capsys.readouterr().out
    assert "default    1" in out or "default  1" in out
    assert "retries" in out
    assert main(["info", "--url", server.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faktory"]["queues"] == {"default": 1}


def test_no_server_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Server() as server:
        url = server.url
    assert main(["info", "--url", url]) == 1
    err = capsys.readouterr().err
    assert err.startswith("faktoryctl: cannot connect to")
    assert "Traceback" not in err
