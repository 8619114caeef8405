"""What the system says of this process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from faktory.observe import process


def values() -> dict[str, float]:
    return {family.name: sample.value for family in process.families() for sample in family.samples}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_figures_are_those_of_this_process() -> None:
    found = values()
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_resident_memory_bytes"] > 5_000_000
    assert time.time() - 3_600 * 24 < found["process_start_time_seconds"] <= time.time() + 1
    before = found["process_open_fds"]
    with Path("/dev/null").open():
        assert values()["process_open_fds"] == before + 1


def test_what_the_system_does_not_say_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> str:
        raise OSError

    monkeypatch.setattr(process, "_read", fail)
    monkeypatch.setattr(os, "listdir", fail)
    assert set(values()) == {"process_cpu_seconds_total"}
