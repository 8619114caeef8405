"""Coverage that means something: `python -m tests.coverage [ROOM …]`.

The pure rooms must be covered whole, branches too, each by its own test file alone: what only an end-to-end test
reaches is not tested. Each module of the shells must be covered to 95 % by the tests that `tests/rooms.py` names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rooms import ROOMS, ROOT, Room


def run(*arguments: str, data: Path) -> int:
    return subprocess.call(
        [sys.executable, "-m", "coverage", *arguments], cwd=ROOT, env=os.environ | {"COVERAGE_FILE": str(data)}
    )


def measure(room: Room, data: Path) -> list[str]:
    """Run a room's tests; returns what is wrong with them."""
    source = ",".join(map(str, room.files))
    # Processes that a test starts write files of their own, which are combined.
    command = ["run", "--parallel-mode", f"--include={source}", "-m", "pytest", "-q"]
    wrong = [
        f"{room.name}: {' '.join(arguments)} failed"
        for arguments in room.arguments
        if run(*command, *arguments, data=data)
    ]
    run("combine", "-q", data=data)
    wrong += [
        f"{file.relative_to(ROOT)} is covered to less than {room.floor} %"
        for file in room.files
        if run("report", "-m", f"--fail-under={room.floor}", f"--include={file}", data=data)
    ]
    return wrong


def main() -> int:
    wanted = sys.argv[1:] or [room.name for room in ROOMS]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for room in ROOMS:
            if room.name in wanted:
                wrong += measure(room, Path(directory) / room.name.replace("/", "-"))
    print("\n".join(wrong) or "covered as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
