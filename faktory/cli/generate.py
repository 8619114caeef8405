"""`faktoryctl generate`: write an app, or a job with its test, to begin with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from .output import FAILED, OK, Output
from .parsing import Parser, Usage
from .scaffold import APP, planned, text_of_job, text_of_test

SETTINGS: Final = ()
WORDS: Final = "app | job NAME [ARG:TYPE...]"
EPILOG: Final = """\
app writes app.py. job writes NAME.py and tests/test_NAME.py, which passes as it is, and prints what to add to an app.
TYPE is str (also when left out), int, float, bool, bytes, date, datetime, timedelta, Decimal, Path, UUID, list[str],
list[int] or dict[str,str].
Nothing is ever overwritten: where a file is there already, nothing is written, and the status is 2."""


def describe(parser: Parser) -> None:
    """Say what the command takes."""
    parser.add_argument("--async", dest="is_async", action="store_true", help="job: an async function")
    parser.add_argument("-q", "--queue", metavar="Q", help="job: where it is pushed to")
    parser.add_argument("--to", metavar="DIR", default=".", help="where to write; default: here")
    parser.add_argument("--no-test", action="store_true", help="job: write no test")
    parser.add_argument("--dry-run", action="store_true", help="print what would be written")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write files, or print them."""
    what, *words = arguments.words or [""]
    folder, hint = Path(arguments.to), ""
    if what == "app":
        if words or arguments.is_async or arguments.queue or arguments.no_test:
            raise Usage("app takes no words, and of the options --to and --dry-run alone")
        files = {folder / "app.py": APP}
    elif what == "job" and words:
        plan = planned(words[0], words[1:], queue=arguments.queue, is_async=arguments.is_async, folder=arguments.to)
        files = {folder / f"{plan.name}.py": text_of_job(plan)}
        if not arguments.no_test:
            files[Path("tests", f"test_{plan.name}.py")] = text_of_test(plan)
        hint = f"\nadd to your app:\n\n{plan.include}"
    else:
        raise Usage("expected app, or job NAME [ARG:TYPE...]")
    there = [str(path) for path in files if path.exists() or path.is_symlink()]
    if there:
        raise Usage(f"{' and '.join(there)} is there already, and nothing is overwritten; take another name or --to")
    if arguments.dry_run:
        output.result("\n".join(f"# {path}\n{text}" for path, text in files.items()) + hint)
        return OK
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as exc:
            output.error(f"cannot write {path}: {exc.strerror or exc}")
            return FAILED
        output.result(f"wrote {path}")
    if hint:
        output.result(hint)
    return OK
