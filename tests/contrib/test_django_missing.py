"""What a contrib says where its library is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_without_django_one_line_says_what_to_install() -> None:
    program = """
import sys
sys.modules["django"] = None
import faktory.contrib.django as ours
try:
    ours.FaktoryBackend
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.stdout == (
        "faktory.contrib.django needs Django, which is not installed: python -m pip install django\n"
    ), done.stderr
