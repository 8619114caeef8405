"""Coverage that means something: `python -m tests.coverage [--whole]`.

The pure rooms must be covered whole, branches too, each by its own test file alone: what only an end-to-end test
reaches is not tested. With `--whole` the package as a whole is measured by the whole suite, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PURE = (
    "job",
    "address",
    "wire",
    "handshake",
    "commands",
    "lifecycle",
    "blotting",
    "lending",
    "slot",
    "outbox",
    "backoff",
    "queues",
    "registry",
    "options",
    "failure",
    "diagnosis",
    "scalars",
    "shapes",
    "convert",
    "signature",
)
WHOLE_AT_LEAST = 93


def run(*arguments: str, data: Path) -> int:
    return subprocess.call(
        [sys.executable, "-m", "coverage", *arguments], env=os.environ | {"COVERAGE_FILE": str(data)}
    )


def main() -> int:
    root = Path(__file__).parent.parent
    os.chdir(root)
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for room in PURE:
            data = Path(directory) / room
            package = root / "faktory" / room
            source = str(package / "*.py") if package.is_dir() else f"{package}.py"
            tests = run("run", f"--include={source}", "-m", "pytest", "-q", f"tests/test_{room}.py", data=data)
            report = run("report", "-m", "--fail-under=100", f"--include={source}", data=data)
            if tests or report:
                missing.append(room)
        if sys.argv[1:] == ["--whole"]:
            data = Path(directory) / "whole"
            tests = run("run", "-m", "pytest", "-q", data=data)
            report = run("report", "--skip-covered", f"--fail-under={WHOLE_AT_LEAST}", data=data)
            if tests or report:
                missing.append("the whole")
    if missing:
        print(f"not covered as they should be: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
