"""Django's own tests of tasks, against our backend: `tox -e django` says where its source distribution is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("django")

import django

from .differences import DIFFERENCES

SCRIPT = Path(__file__).with_name("upstream.py")
KEPT = os.environ.get("FAKTORY_TEST_DJANGO", "")


def source_distribution() -> Path:
    """Return Django's source distribution, downloaded by pip unless it is there."""
    version = django.get_version()
    kept = Path(KEPT)
    for attempt in range(2):
        found = [path for path in kept.glob("*.tar.gz") if path.name.lower() == f"django-{version}.tar.gz"]
        if found:
            return found[0]
        assert attempt == 0, f"pip has brought no source distribution of Django {version}"
        words = ["download", "--quiet", "--no-deps", "--no-binary", "django", "--dest", str(kept), f"django=={version}"]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=110)
    raise AssertionError


@pytest.mark.skipif(not KEPT, reason="FAKTORY_TEST_DJANGO is not set; tox -e django sets it")
@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks from 6.0 on")
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_djangos_own_tests_pass_but_for_the_differences_that_are_named(tmp_path: Path) -> None:
    with tarfile.open(source_distribution()) as archive:
        root = archive.getnames()[0].split("/")[0]
        members = [each for each in archive.getmembers() if each.name.startswith(f"{root}/tests/tasks/")]
        archive.extractall(tmp_path, members, filter="data")
    tests = tmp_path / root / "tests"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(tests)],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[3])},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.stdout, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    failed = {name: text for name, text in outcomes.items() if text and name not in DIFFERENCES}
    assert not failed, "\n\n".join(f"{name}\n{text}" for name, text in failed.items())
    assert not [name for name in DIFFERENCES if not outcomes.get(name)], "they pass, or are not there any more"
    assert len(outcomes) > 60
