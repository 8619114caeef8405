"""Run a page: its blocks in order, in a folder and a module of its own, with a server in memory.

A `python` block runs in the page's module; one whose first line is `# name.py` becomes that file, and is imported, or
run by pytest when it is called `test_*.py`. A `text` block is what the block before it has printed. Of a `console`
block each `$ command` is run, and its output compared; `dev`, and what ends with `&`, runs on until a `^C`.
`# fragment` or `# not run` on the first line mark what cannot be run; Python is compiled all the same, and
`# fragment of FILE` must stand in that file. With
FAKTORY_TEST_WRITE_HELP=1 outputs that differ are written into the page.
"""

from __future__ import annotations

import ast
import importlib
import io
import os
import re
import shlex
import sqlite3
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from itertools import permutations
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pexpect

from faktory import App
from faktory.cli import main
from tests.guides.pages import Block, blocks_of, calls_of, matches, pattern_of

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "examples" / "guides").glob("*.md")),
)
PATIENCE: Final = 10.0
"""Seconds that a command may take."""
_CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "toml": tomllib.loads,
    "yaml": str,
    "ini": str,
    "dockerfile": str,
    "html": str,
}
"""Other languages, and how a block in them is checked."""
_APART: Final = ("worker", "dev", "server", "top")
"""Commands that run in a process and a terminal of their own; the others do the same here, at a tenth of the cost."""
_PROGRAMS: Final = ("faktoryctl", "python", "pytest", "echo", "export", "kill")
"""What pages may run here; whatever installs something or needs the network is marked as not run."""

RunTests = Callable[[str], str]
"""Runs pytest on a file, with an empty environment, and returns what it printed; raises for tests that fail."""


class Page:
    """A page while it runs."""

    def __init__(self, path: Path, folder: Path, run_tests: RunTests) -> None:
        self.path = path
        self.folder = folder
        self.printed = ""
        self._run_tests = run_tests
        self._module = ModuleType("page")
        self._line = 0
        self._changes: list[tuple[int, str, str]] = []
        self._url = os.environ["FAKTORY_URL"]
        self._running: pexpect.spawn[str] | None = None
        self._write_commands()

    def run(self) -> None:
        """Run every block. What fails says where it stands."""
        sys.modules["page"] = self._module
        try:
            for block in blocks_of(self.path.read_text()):
                self._line = block.line
                try:
                    self._run_block(block)
                except BaseException as exc:
                    exc.add_note(f'in the block at "{self.path}:{block.line}"')
                    raise
            self._write_changes()
            assert self._running is None, f"{self.path.name}: a program is left running; end it by a line ^C"
        finally:
            self._close()

    def _run_block(self, block: Block) -> None:
        if block.kind == "python":
            self._run_python(block)
        elif block.kind == "console":
            if not block.is_fragment:
                for command, shown in calls_of(block.text):
                    self._run_command(command, shown)
        elif block.kind == "text":
            self._compare(block.text, "text")
        else:
            assert block.kind in _CHECKS, f"expected a block in python, console, text, {', '.join(_CHECKS)}"
            _CHECKS[block.kind](block.text)
            self._write(block)

    def _compare(self, shown: str, command: str = "", like: Callable[[str], str] = str) -> None:
        if matches(like(shown), like(self.printed)):
            return
        if not os.environ.get("FAKTORY_TEST_WRITE_HELP"):
            raise AssertionError(f"{command}\nexpected\n{shown}\ngot\n{self.printed}")
        self._changes.append((self._line, f"{command}\n{shown}", f"{command}\n{self.printed.rstrip()}\n"))

    def _write_changes(self) -> None:
        lines = self.path.read_text().splitlines(keepends=True)
        for line, old, new in reversed(self._changes):  # from the last, so that lines keep their numbers
            lines[line - 2 :] = "".join(lines[line - 2 :]).replace(old, new, 1).splitlines(keepends=True)
        if self._changes:
            self.path.write_text("".join(lines))

    # -- Python -----------------------------------------------------------------------------------------------------

    def _run_python(self, block: Block) -> None:
        if block.is_fragment:
            first, _, rest = block.text.partition("\n")
            ast.parse(rest)
            if first.startswith("# fragment of "):
                file = self.path.parent / first.split()[-1]
                assert _unindented(rest) in _unindented(file.read_text()), f"{file} does not have\n{rest}"
            return
        out = io.StringIO()
        name = self._write(block)
        if name is not None and Path(name).name.startswith("test_"):
            self.printed = self._run_tests(name)
            return
        with redirect_stdout(out):
            if name is not None:
                self._import(name)
            else:
                assert "def test_" not in block.text, "tests belong into a block that is a file: # test_name.py"
                source = "\n" * (block.line - 1) + block.text
                exec(compile(source, str(self.path), "exec"), self._module.__dict__)
        self.printed = out.getvalue()

    def _write(self, block: Block) -> str | None:
        if block.file is None:
            return None
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return block.file

    def _import(self, name: str) -> None:
        module = name.removesuffix(".py").replace("/", ".")
        importlib.invalidate_caches()
        sys.modules.pop(module, None)
        importlib.import_module(module)

    # -- commands ---------------------------------------------------------------------------------------------------

    def _run_command(self, command: str, shown: str) -> None:
        words = shlex.split(command, comments=True)
        if not words:
            self._go_on(shown)
            return
        program = next((word for word in words if not word.startswith("FAKTORY_")), "")
        assert program in _PROGRAMS, (
            f"expected one of {_PROGRAMS}, got {program}; begin its block with `# not run: why`"
        )
        assert words[:2] != ["python", "-m"], "what python -m runs may change this machine"
        if words[0] == "export":
            os.environ.update((name, value) for name, _, value in (word.partition("=") for word in words[1:]))
        elif words[-1] == "&" or (words[:2] == ["faktoryctl", "dev"] and "--help" not in words):
            assert self._running is None, "one program at a time"
            self._running = self._start(command.partition("#")[0].rstrip(" &"))
            self._go_on(shown)
        else:
            self.printed = self._output_of(command, words)
            self._compare(shown, command, like=_reflowed if "--help" in words else str)

    def _output_of(self, command: str, words: list[str]) -> str:
        if words[0] == "pytest":
            return self._run_tests(" ".join(words[1:]))
        is_plain = words[0] == "faktoryctl" and not set(words) & {"|", "<", ">", "||", "&&", ";"}
        if is_plain and (words[1] not in _APART or set(words) & {"--help", "--check"}):
            return self._call(words[1:])
        program = self._start(command)
        program.expect(pexpect.EOF)
        program.close()
        return _plain(program.before)

    def _call(self, words: list[str]) -> str:
        """Call `faktoryctl` in this process, which is told nothing by the environment that it did not know."""
        out = io.StringIO()
        environment = dict(os.environ)
        os.environ["COLUMNS"] = "100"
        try:
            with redirect_stdout(out), redirect_stderr(out), chdir(self.folder):
                main(words)
        finally:
            os.environ.clear()
            os.environ.update(environment)
        return out.getvalue()

    def _start(self, command: str) -> pexpect.spawn[str]:
        environment = os.environ | {"NO_COLOR": "1", "TERM": "xterm", "FAKTORY_DEV_PORT": "0"}
        program = pexpect.spawn(
            "/bin/sh",
            ["-c", command],
            cwd=str(self.folder),
            env=environment,
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(40, 120),
            echo=False,
        )
        program.ptyproc.delayafterclose = 0
        return program

    def _go_on(self, shown: str) -> None:
        """Wait until the program that is running has printed what is shown; `^C` is pressed."""
        program = self._running
        assert program is not None, "expected a line that begins with $, or a program that is running"
        program.logfile_read = log = io.StringIO()
        before, has_end, after = shown.partition("^C\n")
        try:
            program.expect(r"\A" + pattern_of(before).replace(r"\n", r"\r?\n"))
            found = _plain(program.after)
            if "Faktory server in memory: " in found:
                os.environ["FAKTORY_URL"] = _url_in(found)
            if has_end:
                time.sleep(0.25)  # nobody is as quick as to press it between a job's line and its acknowledgement
                program.sendintr()
                program.expect(pexpect.EOF)
                program.close()
                self._running = None
                os.environ["FAKTORY_URL"] = self._url
                lines = _plain(program.before).splitlines(keepends=True)  # told by two threads, in either order
                assert any(matches(after, "".join(order)) for order in permutations(lines[:5])), program.before
        except (pexpect.TIMEOUT, pexpect.EOF):
            raise AssertionError(f"expected\n{shown}\ngot\n{_plain(log.getvalue())}") from None

    def _write_commands(self) -> None:
        """Have `faktoryctl` and `python` found, whatever is installed."""
        folder = self.folder / ".bin"
        folder.mkdir()
        program = f'exec "{sys.executable}" -c "import sys; from faktory.cli import main; sys.exit(main())" "$@"'
        for name, line in {"faktoryctl": program, "python": f'exec "{sys.executable}" "$@"'}.items():
            (folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / name).chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["PYTHONPATH"] = f"{self.folder}{os.pathsep}{ROOT}"
        sys.path.insert(0, str(self.folder))

    def _close(self) -> None:
        if self._running is not None:
            self._running.close(force=True)
        own = [module for module in list(sys.modules.values()) if self._is_own(module)]
        for module in own:
            for value in list(vars(module).values()):
                if isinstance(value, (App, sqlite3.Connection)):  # 3.13 complains of those left to the collector
                    value.close()
            del sys.modules[module.__name__]

    def _is_own(self, module: Any) -> bool:
        return module is self._module or str(getattr(module, "__file__", "") or "").startswith(str(self.folder))


def _reflowed(help_text: str) -> str:
    """Without what Python 3.13 writes otherwise: `-q, --queue Q` for `-q Q, --queue Q`, and its breaks."""
    return re.sub(r"\s+", " ", re.sub(r"(-\w) (\S+), (--[\w-]+) \2", r"\1, \3 \2", help_text)).strip()


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _url_in(text: str) -> str:
    return text.partition("memory: ")[2].partition(";")[0]


def _plain(text: Any) -> str:
    return str(text).replace("\r", "")
