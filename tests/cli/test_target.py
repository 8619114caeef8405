"""TARGET: what it means, how it is imported, and what is said when that fails."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faktory import App, ConsumerBuilder
from faktory.cli import main
from faktory.cli.parsing import TargetError
from faktory.cli.target import load, place_of_target

APP = "from faktory import App\napp = App()\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def write(path: Path, text: str = APP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def failure(words: str, app_dir: str | None = None) -> TargetError:
    with pytest.raises(TargetError) as caught:
        load(words, app_dir)
    return caught.value


def test_a_path_is_a_dotted_name_below_what_is_no_package(folder: Path) -> None:
    write(folder / "shop" / "__init__.py", "")
    write(folder / "shop" / "jobs.py")
    write(folder / "alone" / "work.py")
    place = place_of_target("shop/jobs.py:app", folder)
    assert (place.module, place.attribute, place.root) == ("shop.jobs", "app", folder)
    assert place_of_target("alone/work.py", folder).module == "work"
    assert place_of_target("shop/", folder).module == "shop"
    assert place_of_target("shop.jobs", folder).module == "shop.jobs"


def test_the_only_app_is_found_and_the_module_is_never_main(folder: Path) -> None:
    write(folder / "tgt_one.py", f"{APP}other = app\nassert __name__ == 'tgt_one'\ninner = App()\napp.include(inner)\n")
    assert isinstance(load("tgt_one.py"), App)
    assert load("tgt_one") is load("tgt_one:app") is load("tgt_one:other")


def test_a_builder_or_a_factory_will_do(folder: Path) -> None:
    write(folder / "tgt_b.py", "from faktory import ConsumerBuilder\nbuilder = ConsumerBuilder()\n")
    write(folder / "tgt_f.py", "from faktory import App\ndef create_app():\n    return App()\ndef other(): ...\n")
    write(folder / "tgt_g.py", "import faktory\ndef shop() -> faktory.App:\n    return faktory.App()\n")
    write(folder / "tgt_h.py", "def create_app():\n    return 5\n")
    write(folder / "tgt_i.py", "def create_app():\n    return 1 / 0\n")
    write(folder / "tgt_j.py", "def create_app(): ...\ndef make_app(x): ...\ndef make_consumer(): ...\n")
    assert isinstance(load("tgt_b"), ConsumerBuilder)
    assert isinstance(load("tgt_f"), App)
    assert isinstance(load("tgt_g"), App)
    assert "expected an App or a ConsumerBuilder, got int" in str(failure("tgt_h"))
    assert "tgt_i: create_app() failed" in str(failure("tgt_i"))
    assert "ZeroDivisionError" in failure("tgt_i").shown
    assert str(failure("tgt_j")) == "tgt_j: tgt_j has several: create_app, make_consumer; write one of them"


def test_a_program_of_a_project_has_its_target_and_defaults_already(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "inner" / "tgt_own.py", f"{APP}@app.job\ndef add(a: int) -> None: ...\n")

    def told(call: str, **defaults: object) -> str:
        assert main(call.split(), "shopctl", target="tgt_own", defaults={"app_dir": "inner", **defaults}) == 0
        return capsys.readouterr().out

    assert told("worker --check") == "jobs    add(a: int)\nqueues  default\npool    threads, 10 at a time\n"
    assert "threads, 3 at a time" in told("worker --check", concurrency=3, unknown_to_this_command=1)
    assert "threads, 4 at a time" in told("worker --check -c 4", concurrency=3)
    help_text = told("worker --help")
    assert "usage: shopctl worker [options]" in help_text
    assert "TARGET" not in help_text
    assert "faktory-sdk" in told("--version")


def test_several_are_listed_and_none_is_told(folder: Path) -> None:
    write(folder / "tgt_two.py", "from faktory import App\nfirst = App()\nsecond = App()\n")
    write(folder / "tgt_no.py", "x = 5\n")
    assert str(failure("tgt_two")) == (
        "tgt_two: tgt_two has several: first, second; write one of them, like tgt_two:first"
    )
    assert "tgt_two has no frist; did you mean first?" in str(failure("tgt_two:frist"))
    assert "there is no App in tgt_no" in str(failure("tgt_no"))
    assert "expected an App, a ConsumerBuilder or a factory, got int" in str(failure("tgt_no:x"))


def test_a_typo_in_the_target_is_one_line_with_a_hint(folder: Path) -> None:
    write(folder / "src" / "shopp" / "__init__.py", "")
    write(folder / "src" / "shopp" / "jobs.py")
    missing = failure("shopp.jobs")
    assert str(missing) == (
        "cannot import shopp.jobs: No module named 'shopp' (looked first in the current folder; did you mean "
        "--app-dir src?)"
    )
    assert missing.shown == ""
    assert isinstance(load("shopp.jobs", "src"), App)
    assert "No module named 'shopp.jbs'; did you mean jobs?" in str(failure("shopp.jbs", "src"))
    write(folder / "work.py")
    assert "did you mean work?" in str(failure("wrok"))
    assert f"there is no file {folder / 'wrok.py'}; did you mean work.py?" in str(failure("wrok.py"))
    assert "there is no file" in str(failure("nowhere/wrok.py"))
    assert str(folder / "src") in str(failure("zzz", "src"))
    assert "expected a TARGET like" in str(failure("a b"))
    assert "there is no folder" in str(failure("work", "nowhere"))


def test_an_error_inside_shows_the_users_frames_alone(folder: Path) -> None:
    write(folder / "tgt_bad.py", "def deep():\n    import tgt_missing\n\ndeep()\n")
    error = failure("tgt_bad")
    assert str(error) == "cannot import tgt_bad: an error in it at tgt_bad.py:2, shown above"
    lines = error.shown.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ModuleNotFoundError: No module named 'tgt_missing'"
    files = [line for line in lines if line.startswith("  File")]
    assert len(files) == 2
    assert all("tgt_bad.py" in line for line in files)
    write(folder / "tgt_syntax.py", "x = (\n")
    error = failure("tgt_syntax.py")
    assert "an error in it at tgt_syntax.py:1" in str(error)
    assert "SyntaxError" in error.shown


def test_sys_exit_at_import_is_one_line(folder: Path) -> None:
    write(folder / "tgt_exit.py", "import sys\nsys.exit(3)\n")
    assert str(failure("tgt_exit")) == (
        "cannot import tgt_exit: it called sys.exit(3) at tgt_exit.py:2 when it was imported"
    )


def test_a_name_that_is_taken_is_told(folder: Path) -> None:
    write(folder / "json.py")
    assert "the name json is taken by" in str(failure("json.py"))
    write(folder / "a.b.py")
    assert "has no dot" in str(failure("a.b.py"))
