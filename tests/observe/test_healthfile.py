"""The health file, whole at every moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faktory import ConfigurationError
from faktory.observe.healthfile import HealthFile


def test_it_is_written_by_rename_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "health"
    file = HealthFile(str(path))
    file.write({"is_live": True})
    first = path.stat().st_ino
    file.write({"is_live": True, "busy": 3})
    assert json.loads(path.read_text()) == {"is_live": True, "busy": 3}
    assert path.stat().st_ino != first
    assert [path.name for path in tmp_path.iterdir()] == ["health"]
    file.remove()
    file.remove()
    assert not path.exists()
    assert repr(file) == f"<HealthFile {path}>"


def test_what_an_earlier_worker_left_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.write_text("old")
    HealthFile(str(path))
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    for wrong in (tmp_path / "no" / "health", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be written: expected the path of a file, in a folder"):
            HealthFile(str(wrong))


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "health"
    file = HealthFile(str(path))
    path.mkdir()
    with pytest.raises(OSError):
        file.write({})
    assert [path.name for path in tmp_path.iterdir()] == ["health"]
