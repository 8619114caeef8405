"""Asking for health, by file and by page."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faktory import ConfigurationError
from faktory.observe import probe
from faktory.observe.http import Answer, Server
from faktory.observe.probe import trouble_at, trouble_in_file


def test_a_young_file_that_says_so_is_well(tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.write_text(json.dumps({"is_live": True}))
    assert trouble_in_file(str(path), 60.0) is None
    old = time.time() - 100
    os.utime(path, (old, old))
    assert "is 100 s old, and may be 60 s" in str(trouble_in_file(str(path), 60.0))


@pytest.mark.parametrize("text", ["{}", "[]", '{"is_live": 1}', '{"is_live": false}'])
def test_a_file_that_does_not_say_so_is_not_well(text: str, tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.write_text(text)
    assert "does not say that the worker lives" in str(trouble_in_file(str(path), 60.0))


def test_a_file_that_cannot_be_read_is_not_well(tmp_path: Path) -> None:
    assert "there is no file" in str(trouble_in_file(str(tmp_path / "none"), 60.0))
    assert "cannot be read" in str(trouble_in_file(str(tmp_path), 60.0))
    (tmp_path / "bad").write_text("{")
    assert "cannot be read" in str(trouble_in_file(str(tmp_path / "bad"), 60.0))


def test_a_page_is_well_when_it_answers_200() -> None:
    pages = {"/livez": lambda query: Answer(200, query), "/readyz": lambda _: Answer(503, "the worker is quiet\n")}
    with Server("127.0.0.1", 0, pages) as server:
        for url in (
            f":{server.port}",
            str(server.port),
            f"127.0.0.1:{server.port}",
            server.url,
            f"{server.url}/livez?x",
        ):
            assert trouble_at(url) is None
        assert trouble_at(f"{server.url}/readyz") == "/readyz answers 503: the worker is quiet"
    assert "does not answer" in str(trouble_at(server.url))


def test_a_page_that_says_nothing_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "does not answer: timed out" in str(trouble_at(f"127.0.0.1:{silent.getsockname()[1]}"))


@pytest.mark.parametrize("url", ["", "https://x/livez", "http://", "http://x:y/", "ftp://x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a URL like"):
        trouble_at(url)


def test_a_probe_imports_little() -> None:
    code = "import sys, faktory.observe.probe; print([n for n in sys.modules if n in ('asyncio', 'faktory.client')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
