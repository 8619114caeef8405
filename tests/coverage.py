"""Coverage that means something: `python -m tests.coverage [ROOM …]`.

The pure rooms must be covered whole, branches too, each by its own test file alone: what only an end-to-end test
reaches is not tested. Each module of the shells must be covered to 95 % by the tests that `tests/rooms.py` names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.rooms import PACKAGE, ROOMS, ROOT, Room

AT_A_TIME = 4
"""Most tests wait for a server, not for the processor."""


def coverage(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coverage", *arguments]
    environment = os.environ | {"COVERAGE_FILE": str(data)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


class Runs:
    """What each test file covers: run once, whatever number of rooms it looks after."""

    def __init__(self, rooms: list[Room], home: Path) -> None:
        self._home = home
        self._number = {tuple(test): n for n, test in enumerate(test for room in rooms for test in room.arguments)}

    def run(self) -> list[str]:
        """Run them all; returns those that failed."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return [text for text in pool.map(self._run, self._number) if text]

    def _run(self, test: tuple[str, ...]) -> str:
        # Processes that a test starts write files of their own, which are combined.
        options = ("run", "--parallel-mode", f"--include={PACKAGE}/*", "-m", "pytest", "-q", "-p", "no:cacheprovider")
        done = coverage(*options, *test, data=self._data(test) / "data")
        return "" if done.returncode == 0 else f"{done.stdout[-4000:]}\n{' '.join(test)} failed"

    def _data(self, test: tuple[str, ...]) -> Path:
        folder = self._home / str(self._number[test])
        folder.mkdir(exist_ok=True)
        return folder

    def report(self, room: Room) -> list[str]:
        """Print what the tests of a room cover of it; returns what is missing."""
        whole = self._home / f"of-{room.name}"
        whole.mkdir(parents=True)
        data = whole / "data"  # `combine` takes files of the name that it gives the whole
        coverage("combine", "--keep", "-q", *(str(self._data(tuple(test))) for test in room.arguments), data=data)
        missing: list[str] = []
        for file in room.files:
            done = coverage("report", "-m", f"--fail-under={room.floor}", f"--include={file}", data=data)
            if done.returncode:
                print(done.stdout)
                missing.append(f"{file.relative_to(ROOT)} is covered to less than {room.floor} %")
        return missing


def main() -> int:
    wanted = sys.argv[1:]
    rooms = [room for room in ROOMS if not wanted or room.name in wanted]
    with tempfile.TemporaryDirectory() as directory:
        runs = Runs(rooms, Path(directory))
        wrong = runs.run() + [text for room in rooms for text in runs.report(room)]
    print("\n".join(wrong) or f"{len(rooms)} rooms are covered as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
