"""What the type checkers say of calls: the right ones pass, and each wrong one is an error."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


# Both refuse a mark on a line that has no error, so that each wrong call is known to be one.
@pytest.mark.slow
@pytest.mark.timeout(180)  # mypy's first run, without a cache
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_wrong_calls_of_typed_jobs_are_errors_and_right_ones_are_none(checker: str) -> None:
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    result = subprocess.run(
        [sys.executable, "-m", checker, "tests/typing/calls.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
