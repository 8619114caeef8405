"""Coverage that means something: `python -m tests.coverage [--pure] [ROOM …]`.

The pure rooms must be covered whole, branches too, each by its own test file alone: what only an end-to-end test
reaches is not tested. Each module of the shells must be covered to 95 % by the tests that `tests/rooms.py` names;
that takes long, and `--pure` leaves it out.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import NoDataError

from tests.rooms import PACKAGE, ROOMS, ROOT, Room

AT_A_TIME = 4
"""Most tests wait for a server, not for the processor."""


class Runs:
    """What each test file covers: run once, whatever number of rooms it looks after."""

    def __init__(self, rooms: list[Room], home: Path) -> None:
        self._home = home
        self._number = {tuple(test): n for n, test in enumerate(test for room in rooms for test in room.arguments)}

    def run(self) -> list[str]:
        """Run them all, those of many rooms first, which take longest; returns those that failed."""
        tests = sorted(self._number, key=lambda test: test[0].count("test_"))
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return [text for text in pool.map(self._run, tests) if text]

    def _run(self, test: tuple[str, ...]) -> str:
        folder = self._data(test).parent
        folder.mkdir()
        # What the real server is needed for tells of it, not of our lines.
        command = ["coverage", "run", "--parallel-mode", f"--include={PACKAGE}/*"]
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not real", *test]
        environment = os.environ | {
            "COVERAGE_FILE": str(self._data(test)),
            "PYTHONPYCACHEPREFIX": str(self._home / "pyc"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # every run would compile all of it anew
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(f"{time.monotonic() - started:5.1f} s {' '.join(test)}", flush=True)
        # Processes that a test starts have written files of their own.
        combine([str(folder)], into=self._data(test))
        return "" if done.returncode == 0 else f"{done.stdout[-4000:]}\n{' '.join(test)} failed"

    def _data(self, test: tuple[str, ...]) -> Path:
        return self._home / str(self._number[test]) / "data"

    def report(self, room: Room) -> list[str]:
        """Print what the tests of a room leave out of it; returns the files of which it is too much."""
        whole = self._home / f"of-{room.name.replace('/', '-')}" / "data"
        whole.parent.mkdir()
        covered = combine([str(self._data(tuple(test))) for test in room.arguments], into=whole)
        wrong: list[str] = []
        for file in room.files:
            text = io.StringIO()
            try:
                per_cent = covered.report(show_missing=True, include=[str(file)], file=text)
            except NoDataError:  # nothing in it ran in these tests
                per_cent = 0.0
            if per_cent < room.floor:
                print(text.getvalue())
                wrong.append(f"{file.relative_to(ROOT)} is covered to {per_cent:.1f} %, not to {room.floor} %")
        return wrong


def combine(data: list[str], *, into: Path) -> Coverage:
    """Make one of several files, or of those in a directory."""
    covered = Coverage(data_file=str(into))
    covered.combine(data, strict=True, keep=True)
    covered.save()
    return covered


def main() -> int:
    wanted = [argument for argument in sys.argv[1:] if argument != "--pure"]
    rooms = [room for room in ROOMS if not wanted or room.name in wanted]
    if "--pure" in sys.argv:
        rooms = [room for room in rooms if room.is_pure]
    with tempfile.TemporaryDirectory() as directory:
        runs = Runs(rooms, Path(directory))
        wrong = runs.run() + [text for room in rooms for text in runs.report(room)]
    print("\n".join(wrong) or f"{len(rooms)} rooms are covered as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
