"""What `generate` writes, and that ruff, mypy and pytest are content with it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faktory.cli import main
from tests.cli.conftest import ROOT

Capture = pytest.CaptureFixture[str]
EVERY_TYPE = [
    "a:str",
    "b:int",
    "c:float",
    "d:bool",
    "e:bytes",
    "f:date",
    "g:datetime",
    "h:timedelta",
    "i:Decimal",
    "j:Path",
    "k:UUID",
    "l:list[str]",
    "m:list[int]",
    "n:dict[str,str]",
    "o",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def generate(*words: str) -> int:
    return main(["generate", *words])


def checked(module: str, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FAKTORY", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write_all() -> None:
    assert generate("app") == 0
    assert generate("job", "plain") == 0
    assert generate("job", "resize", "path:Path", "width:int", "--queue", "images", "--to", "shop/jobs") == 0
    assert generate("job", "fetch", *EVERY_TYPE, "--async", "--to", "shop/jobs") == 0


@pytest.mark.slow
def test_what_is_written_passes_its_own_tests() -> None:
    write_all()
    plugins = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:trio", "-W", "error")
    checked("pytest", "-q", *plugins)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not installed")
def test_what_is_written_passes_ruff() -> None:
    write_all()
    checked("ruff", "check", "--no-cache", "--extend-select", "I,UP,B,RUF,ANN", ".")
    checked("ruff", "format", "--no-cache", "--diff", ".")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_what_is_written_passes_mypy() -> None:
    write_all()
    # What it knows of our own package and of the standard library, it keeps from run to run.
    cache = ("--cache-dir", str(ROOT / ".mypy_cache" / "generated"), "--follow-imports", "silent")
    checked("mypy", "--strict", "--explicit-package-bases", *cache, "app.py", "plain.py", "shop", "tests")


def test_it_tells_what_to_add_and_what_it_wrote(capsys: Capture) -> None:
    assert generate("job", "resize", "path", "--to", "shop/jobs") == 0
    out = capsys.readouterr().out
    assert out.startswith("wrote shop/jobs/resize.py\nwrote tests/test_resize.py\n")
    assert out.endswith("\nfrom shop.jobs import resize\napp.include(resize.app)\n")
    assert generate("job", "plain", "--no-test") == 0
    assert capsys.readouterr().out.endswith("\nimport plain\napp.include(plain.app)\n")
    assert not Path("tests/test_plain.py").exists()


def test_nothing_is_overwritten_and_a_dry_run_writes_nothing(folder: Path, capsys: Capture) -> None:
    assert generate("job", "resize", "--dry-run") == 0
    assert list(folder.iterdir()) == []
    assert "# resize.py\n" in capsys.readouterr().out
    Path("tests").mkdir()
    Path("tests/test_resize.py").write_text("mine")
    assert generate("job", "resize") == 2
    assert "tests/test_resize.py is there already, and nothing is overwritten" in capsys.readouterr().err
    assert not Path("resize.py").exists()
    Path("app.py").write_text("mine")
    assert generate("app") == 2
    assert Path("app.py").read_text() + Path("tests/test_resize.py").read_text() == "minemine"


def test_a_folder_that_cannot_be_made_is_told(capsys: Capture) -> None:
    Path("shop").write_text("a file")
    assert generate("job", "resize", "--to", "shop/jobs") == 1
    assert "cannot write shop/jobs/resize.py: " in capsys.readouterr().err
