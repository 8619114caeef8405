"""What an option is worth: the command line, the environment, the project."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from faktory.cli.config import fill
from faktory.cli.parsing import Usage
from faktory.cli.queues import concurrency_of
from faktory.core.settings import Settings
from faktory.errors import ConfigurationError

NAMES = ("url", "app", "queues", "concurrency", "pool", "burst", "wait-server", "max-jobs")


def filled(words: list[str], environ: dict[str, str] | None = None, **values: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--queues", action="append")
    parser.add_argument("--concurrency", type=concurrency_of)
    parser.add_argument("--max-jobs", type=int)
    parser.add_argument("--pool", choices=("threads", "trio"))
    parser.add_argument("--burst", action="store_true", default=None)
    parser.add_argument("--wait-server", action="store_true", default=None)
    arguments = parser.parse_args(words)
    named = {name.replace("_", "-"): value for name, value in values.items()}
    fill(arguments, parser, "worker", NAMES, environ or {}, Settings(named, dict.fromkeys(named, "p: [t]")))
    return arguments


def test_the_command_line_goes_first_then_the_environment_then_the_project() -> None:
    environ = {"FAKTORY_WORKER_QUEUES": "b,c", "FAKTORY_WORKER_BURST": "yes", "FAKTORY_WORKER_CONCURRENCY": ""}
    found = filled(["--queues", "a"], environ, queues=["d"], concurrency=7, pool="trio", wait_server=False)
    assert (found.queues, found.concurrency, found.pool) == (["a"], 7, "trio")
    assert (found.burst, found.wait_server) == (True, False)
    assert filled([], environ, queues=["d"]).queues == ["b,c"]
    assert filled([], queues=["d", "e"]).queues == ["d", "e"]
    assert filled([], queues="d").queues == ["d"]
    assert filled([], queues={"a": 3, "b": 1}).queues == ["a=3", "b=1"]
    assert filled([], {"FAKTORY_WORKER_MAX_JOBS": "3"}).max_jobs == 3


def test_the_url_of_the_project_comes_after_that_of_the_environment() -> None:
    assert filled([], url="tcp://p").url == "tcp://p"
    assert filled([], {"FAKTORY_URL": "tcp://e"}, url="tcp://p").url is None
    assert filled([], {"FAKTORY_URL": "tcp://e", "FAKTORY_WORKER_URL": "tcp://w"}).url == "tcp://w"


def test_what_is_no_option_is_a_text() -> None:
    assert filled([], app="shop").app == "shop"
    with pytest.raises(ConfigurationError, match=r"p: \[t\]: app: expected a text or a number, got \[\]"):
        filled([], app=[])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"concurrency": 0}, "p: [t]: concurrency: expected a number from 1 to 10,000"),
        ({"pool": "fork"}, "p: [t]: pool: expected one of threads, trio, got 'fork'"),
        ({"wait_server": "maybe"}, "p: [t]: wait-server: expected true or false, got 'maybe'"),
    ],
)
def test_what_is_wrong_is_told_with_where_it_stands(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(Usage) as caught:
        filled([], **values)
    assert str(caught.value).startswith(expected)
