"""What counts as a change, and what is done about one: without a process, and without waiting."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from faktory.cli import reload
from faktory.cli.course import Act, Course, Then
from faktory.cli.output import Output
from faktory.cli.reload import Reloader
from faktory.cli.watch import Changes, digest_of, interval_after, scan, syntax_error_in


def names(folder: Path) -> list[str]:
    return sorted(str(Path(path).relative_to(folder)) for path in scan([str(folder)]))


def test_a_scan_sees_python_files_and_skips_what_is_not_the_users(tmp_path: Path) -> None:
    for name in (
        "a.py", "b.txt", "pkg/__init__.py", "pkg/deep/c.py", ".git/x.py", "pkg/__pycache__/x.py", "node_modules/x.py",
        "lib/site-packages/x.py", "env/pyvenv.cfg", "env/x.py",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "broken.py").symlink_to(tmp_path / "gone.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert names(tmp_path) == ["a.py", "pkg/__init__.py", "pkg/deep/c.py"]
    assert scan([str(tmp_path / "gone")]) == {}


def test_changes_are_compared_by_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("1")
    two.write_text("2")
    changes = Changes(scan([str(tmp_path)]))

    def since() -> list[str]:
        return [Path(path).name for path in changes.since(scan([str(tmp_path)]))]

    assert since() == []
    os.utime(one, ns=(1, 1))  # touched
    assert since() == []
    one.write_text("11")
    assert since() == ["one.py"]
    (tmp_path / "new").write_text("22")
    (tmp_path / "new").rename(two)  # as editors save
    assert since() == ["two.py"]
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    one.unlink()
    assert since() == ["one.py", "__init__.py"]
    assert since() == []
    assert digest_of(str(one)) is None


def test_a_scan_takes_two_per_cent_of_a_core_at_most() -> None:
    assert interval_after(0.001) == 0.5
    assert interval_after(0.02) == 1.0


def test_three_thousand_files_are_scanned_in_little_time(tmp_path: Path) -> None:
    for number in range(30):
        folder = tmp_path / f"d{number}"
        folder.mkdir()
        for other in range(100):
            (folder / f"m{other}.py").touch()
    changes = Changes(scan([str(tmp_path)]))
    began = time.process_time()
    found = scan([str(tmp_path)])
    assert changes.since(found) == []
    spent = time.process_time() - began
    assert len(found) == 3_000
    assert spent / (spent + interval_after(spent)) <= 0.02


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = (\n")
    assert "SyntaxError" in (syntax_error_in(str(file)) or "")
    file.write_bytes(b"x\x00")
    assert syntax_error_in(str(file))
    file.write_text("x = 1\n")
    assert syntax_error_in(str(file)) is None
    assert syntax_error_in(str(tmp_path / "gone.py")) is None


class Told(Output):
    def __init__(self) -> None:
        super().__init__("prog")
        self.lines: list[str] = []

    def tell(self, text: str) -> None:
        self.lines += text.splitlines()


def test_files_saved_together_are_one_change_and_a_broken_one_leaves_the_old_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(reload, "monotonic", lambda: now)
    monkeypatch.chdir(tmp_path)
    files = {name: tmp_path / f"{name}.py" for name in "abcde"}
    for file in files.values():
        file.write_text("x = 1\n")
    course, told = Course(lambda code, starts: Then.WAIT, now), Told()
    assert course.due(now) is Act.START
    reloader = Reloader(course, [str(tmp_path)], told)
    assert reloader.look(now) == 100.5
    for file in files.values():
        file.write_text("x = 22\n")
    assert reloader.look(100.2) == 100.5  # not yet
    assert reloader.look(100.5) == 100.1  # the time of the test stands still
    assert course.due(200.0) is None
    reloader.look(100.7)
    assert told.lines == ["changed: a.py, b.py, c.py and 2 more: starting anew"]
    assert course.due(101.0) is Act.TERMINATE
    course.ended(0, 101.0)
    assert course.due(101.0) is Act.START

    def save(name: str, text: str) -> list[str]:
        told.lines.clear()
        files[name].write_text(text)
        reloader.look(200.0)
        reloader.look(201.0)
        return told.lines

    assert save("a", "x = (\n")[-1] == "changed: a.py: it does not compile; the old worker goes on"
    assert told.lines[-2].startswith("SyntaxError")
    assert save("b", "x = 333\n") == ["changed: b.py: it does not compile; the old worker goes on"]  # shown once
    assert course.due(300.0) is None
    assert save("a", "x = 4444\n") == ["changed: a.py: starting anew"]
    assert course.due(201.0) is Act.TERMINATE
    course.ended(0, 201.0)
    assert course.due(201.0) is Act.START
    course.ended(2, 201.0)
    assert save("a", "x = (\n")[-1] == "changed: a.py: it does not compile; waiting for the next change"
