"""`--help` of every command, word by word."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from faktory.cli import COMMANDS, main

GOLDEN = Path(__file__).parent / "help"


def plain(text: str) -> str:
    """Without what Python 3.13 writes otherwise: `-q, --queue Q` for `-q Q, --queue Q`, and its breaks."""
    return re.sub(r"\s+", " ", re.sub(r"(-\w) (\S+), (--[\w-]+) \2", r"\1, \3 \2", text))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_help_is_as_it_was_written(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    path = GOLDEN / f"{command or 'faktoryctl'}.txt"
    if os.environ.get("FAKTORY_TEST_WRITE_HELP"):
        path.write_text(out)
    assert (plain(out), err) == (plain(path.read_text()), "")
    assert all(len(line) <= 120 for line in out.splitlines())
