"""`faktoryctl health`: 0 or 4, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faktory.cli import main
from faktory.observe.http import Answer, Server


def test_a_file_is_well_while_it_is_young(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "health"
    assert main(["health", "--file", str(path)]) == 4
    assert "there is no file" in capsys.readouterr().err
    path.write_text(json.dumps({"is_live": True}))
    assert main(["health", "--file", str(path)]) == 0
    os.utime(path, (time.time() - 20,) * 2)
    assert main(["health", "--file", str(path), "--max-age", "10"]) == 4
    assert "is 20 s old" in capsys.readouterr().err
    assert main(["health", "--file", str(path)]) == 0


def test_a_page_is_well_when_it_answers_200(capsys: pytest.CaptureFixture[str]) -> None:
    pages = {"/livez": lambda _: Answer(200, ""), "/readyz": lambda _: Answer(503, "no")}
    with Server("127.0.0.1", 0, pages) as server:
        assert main(["health", "--http", f":{server.port}"]) == 0
        assert main(["health", "--http", f"{server.url}/readyz"]) == 4
    assert "/readyz answers 503: no" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["--file", "a", "--http", "b"], ["--http", "1", "--max-age", "5"], ["--http", "ftp://x"]]
)
def test_a_wrong_call_is_a_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", *words]) == 2
    assert capsys.readouterr().err


def test_no_application_and_no_client_is_imported() -> None:
    code = (
        "import sys; from faktory.cli import main; main(['health', '--file', 'none']); "
        "print([n for n in ('faktory.client', 'faktory.app', 'asyncio') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
