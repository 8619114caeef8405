"""What processes hold, as the system tells it, or not."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from faktory.runtime.memory import resident_kb


def test_a_process_holds_more_than_a_megabyte_and_less_than_all() -> None:
    assert 1_000 < (resident_kb() or 0) < 10_000_000


def test_others_are_added_and_those_that_have_ended_are_not() -> None:
    own = resident_kb() or 0
    assert (resident_kb([os.getpid()]) or 0) > 1.8 * own
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert (resident_kb([ended.pid]) or 0) < 1.2 * own


@pytest.mark.parametrize("text", [b"", b"1", b"1 x", None])
def test_where_nobody_tells_there_is_no_number(monkeypatch: pytest.MonkeyPatch, text: bytes | None) -> None:
    def nothing(*_: object) -> io.BytesIO:
        if text is None:
            raise FileNotFoundError
        return io.BytesIO(text)

    monkeypatch.setattr("builtins.open", nothing)
    assert resident_kb() is None
