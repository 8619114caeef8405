"""`faktoryctl metrics`: what a server says, for Prometheus, asked rarely."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from urllib.request import urlopen

import pytest

from faktory import Client, ConnectFailed, Job
from faktory.cli import main
from faktory.cli import metrics as command
from faktory.cli.metrics import Figures, families_of
from faktory.cli.output import Output
from faktory.observe.exposition import text_of
from faktory.server import Server


def test_the_sizes_of_a_servers_queues_are_served() -> None:
    with Server() as server, Client(server.url) as client:
        client.push_bulk([Job("a"), Job("a", queue="images"), Job("a", queue="images")])
        figures = Figures(client)
        figures.ask()
    lines = figures.page().splitlines()
    assert 'faktory_queue_size{queue="default"} 1' in lines
    assert 'faktory_queue_size{queue="images"} 2' in lines
    assert 'faktory_set_size{set="dead"} 0' in lines
    assert "faktory_up 1" in lines
    assert any(line.startswith('faktory_queue_latency_seconds{queue="images"} ') for line in lines)


def test_what_a_server_says_oddly_is_left_out() -> None:
    odd: dict[str, Any] = {"faktory": {"queues": {"a": "many", "b": 2}, "sets": None, "total_processed": True}}
    assert text_of(families_of(odd, {})) == (
        "# HELP faktory_queue_size Jobs that wait in a queue.\n# TYPE faktory_queue_size gauge\n"
        'faktory_queue_size{queue="b"} 2\n'
    )
    assert text_of(families_of({}, {})) == ""


def test_a_server_that_is_away_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Server() as server, Client(server.url) as client:
        figures = Figures(client)
        figures.ask()
        figures.forget("gone", Output("faktoryctl"))
        figures.forget("gone", Output("faktoryctl"))
        assert figures.page().endswith("faktory_up 0\n")
        figures.ask()
        assert "faktory_up 1" in figures.page()
    assert capsys.readouterr().err == "the server cannot be asked: gone\n"


def test_the_command_serves_and_asks_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waits: list[float] = []
    pages: list[str] = []
    with ExitStack() as stack:
        server = stack.enter_context(Server())

        def look(seconds: float) -> None:
            waits.append(seconds)
            if not pages:
                pages.append(capsys.readouterr().err.split()[-1])
            with urlopen(pages[0], timeout=10) as answer:
                pages.append(answer.read().decode())
            if len(waits) == 2:
                stack.close()
            if len(waits) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(command, "sleep", look)
        assert main(["metrics", "--url", server.url, "--http", ":0"]) == 130
    assert waits == [15.0, 15.0, 15.0]
    assert "faktory_up 1" in pages[1]
    assert pages[3].endswith("faktory_up 0\n")


@pytest.mark.parametrize("words", [["--interval", "5"], ["--http", "nowhere"]])
def test_a_wrong_call_is_a_2(words: list[str]) -> None:
    assert main(["metrics", *words]) == 2


def test_no_server_is_a_3() -> None:
    with Server() as server:
        url = server.url
    assert main(["metrics", "--url", url, "--http", "0"]) == 3
    with pytest.raises(ConnectFailed), Client(url) as client:
        Figures(client).ask()
