"""Coverage that means something: `python -m tests.coverage [--quick | --pure] [--table] [ROOM …]`.

The pure rooms must be covered whole, branches too, each by its own test file alone: what only an end-to-end test
reaches is not tested. Each module of the shells must be covered to 95 % by the tests that `tests/rooms.py` names.

All tests run once; `tests/contexts.py` notes for which test file each line has run, also in child processes. `--quick`
leaves out the rooms whose tests take long.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from coverage import Coverage
from coverage.exceptions import NoDataError

from tests.contexts import IMPORTS
from tests.rooms import PACKAGE, ROOMS, ROOT, Room

AT_A_TIME = 4
"""Most tests wait for a server, not for the processor."""


def run(rooms: list[Room], home: Path) -> str:
    """Run the tests of these rooms; returns what pytest says, if some failed twice."""
    paths = sorted({path for room in rooms for path, _ in room.selections})
    folders = tuple(f"{path}/" for path in paths if not path.endswith(".py"))
    paths = [path for path in paths if not path.startswith(folders)]
    first = _pytest(home, "-n", str(AT_A_TIME), *paths)
    if first.returncode == 0:
        return ""
    # A test that fails for want of time on a busy machine passes alone.
    again = _pytest(home, "--last-failed", "--last-failed-no-failures", "none", *paths)
    if again.returncode == 0:
        return ""
    said = first if again.returncode == pytest.ExitCode.NO_TESTS_COLLECTED else again
    return f"{said.stdout[-8000:]}\ntests failed"


def _pytest(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["coverage", "run", "--parallel-mode", f"--include={PACKAGE}/*"]
    # What the real server is needed for tells of it, not of our lines.
    command += ["-m", "pytest", "-q", "-p", "tests.contexts", "-m", "not real", "-o", f"cache_dir={home / 'cache'}"]
    environment = os.environ | {"COVERAGE_FILE": str(home / "parts" / "lines")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"{time.monotonic() - started:.0f} s: {done.stdout.strip().splitlines()[-1]}", flush=True)
    return done


class Covered:
    """What ran for which tests."""

    def __init__(self, home: Path) -> None:
        self._lines = Coverage(data_file=str(home / "lines"))
        self._lines.combine([str(home / "parts")], strict=True)
        self._lines.save()
        self._contexts = self._lines.get_data().measured_contexts()

    def report(self, room: Room, *, table: bool = False) -> list[str]:
        """Print what the tests of a room leave out of it; returns the files of which it is too much."""
        contexts = ["", IMPORTS, *(context for context in self._contexts if context and _is_of(context, room))]
        wrong: list[str] = []
        for file in room.files:
            text = io.StringIO()
            chosen = [f"^{re.escape(each)}$" for each in contexts]
            try:
                per_cent = self._lines.report([str(file)], show_missing=True, contexts=chosen, file=text)
            except NoDataError:  # nothing in it ran, not even its import
                per_cent = 0.0
            if table:
                print(f"{per_cent:5.1f} % {file.relative_to(PACKAGE)}", flush=True)
            if per_cent < (floor := room.floor(file)):
                print(text.getvalue())
                wrong.append(f"{file.relative_to(ROOT)} is covered to {per_cent:.1f} %, not to {floor} %")
        return wrong


def _is_of(context: str, room: Room) -> bool:
    """Tell whether a context of `tests.contexts` is one of a room's tests."""
    file, *names = context.split()
    return any(
        (file == path or file.startswith(f"{path}/")) and (not words or not set(words).isdisjoint(names))
        for path, words in room.selections
    )


def main() -> int:
    """Run the tests, and say what they leave out."""
    parser = argparse.ArgumentParser(prog="python -m tests.coverage", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument(
        "rooms", nargs="*", metavar="ROOM", help="as `tests/rooms.py` calls them; all when none is named"
    )
    parser.add_argument("--pure", action="store_true", help="only the pure rooms")
    parser.add_argument("--quick", action="store_true", help="only the pure rooms, and shells whose tests are quick")
    parser.add_argument("--table", action="store_true", help="print the coverage of every module")
    options = parser.parse_args()
    rooms = [room for room in ROOMS if not options.rooms or room.name in options.rooms]
    if options.pure or options.quick:
        rooms = [room for room in rooms if room.is_pure or (options.quick and room.is_quick)]
    for room in [room for room in rooms if not room.can_be_tested]:
        print(f"{room.name} is left out: {room.needs} is not installed")
        rooms.remove(room)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "parts").mkdir()
        failed = run(rooms, home)
        covered = Covered(home)
        wrong = [text for room in rooms for text in covered.report(room, table=options.table)]
    wrong = [failed, *wrong] if failed else wrong
    print("\n".join(wrong) or f"{len(rooms)} rooms are covered as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
