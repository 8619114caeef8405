"""Do the tests see? `python -m tests.mutants [--rooms state,pool] [--sample 50] [--seed 1] [--jobs 2]`.

Makes small mistakes in the code one at a time (a comparison turned, a call left out, a number one higher), runs the
tests of the room that it is in, and lists the mistakes that no test has noticed. Each runs on a copy of the tree.

A mutant that changes nothing a user or the server could see is no fault of the tests: `tests/equivalent.txt` lists
those, each with its reason.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.rooms import PACKAGE, ROOMS, ROOT, Room

EQUIVALENT = ROOT / "tests" / "equivalent.txt"
LONGEST = 240.0
"""Seconds after which the tests of one mutant count as failed: it hangs."""
HANG = "a hang of"

COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
COMPUTED: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Mod: "*"}
SWAPPED = {"min": "max", "max": "min", "popleft": "pop", "appendleft": "append"}
QUIET = {"debug", "info", "warning", "error", "exception", "log_rarely", "add_note"}
"""Calls that only tell people something: leaving one out is no fault that these tests are for."""
SKIPPED_FUNCTIONS = {"__repr__", "__dir__"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: where, and what stands there instead."""

    room: Room
    path: Path
    function: str
    line: int
    start: int
    """Byte offset in the file."""
    end: int
    text: str

    def source(self) -> bytes:
        """Return the whole file with the mistake in it."""
        data = self.path.read_bytes()
        return data[: self.start] + self.text.encode() + data[self.end :]

    def own_tests(self) -> list[list[str]]:
        """Return the test file that is called as the module, where a package is taken as one room."""
        own = ROOT / "tests" / self.path.relative_to(PACKAGE).with_name(f"test_{self.path.stem}.py")
        return [[str(own.relative_to(ROOT))]] if own.exists() and (PACKAGE / self.room.name).is_dir() else []

    def what(self) -> str:
        """Return the mistake as one line: `function: before -> after`."""
        before = " ".join(self.path.read_bytes()[self.start : self.end].decode().split())
        return f"{self.function}: {before} -> {' '.join(self.text.split())}"

    def key(self) -> str:
        """Return how `equivalent.txt` names it: without line numbers, which move."""
        return f"{self.path.relative_to(PACKAGE)} {self.what()}"

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.what()}"


class Finder:
    """Finds the mistakes that could be made in one file."""

    def __init__(self, room: Room, path: Path) -> None:
        self._room = room
        self._path = path
        self._source = path.read_text()
        lines = self._source.encode().split(b"\n")
        self._offsets = [0]
        for line in lines:
            self._offsets.append(self._offsets[-1] + len(line) + 1)
        self._function = "module"

    def mutants(self) -> Iterator[Mutant]:
        """Yield every mutant of the file, in order."""
        yield from self._block(ast.parse(self._source))

    def _block(self, node: ast.AST) -> Iterator[Mutant]:
        for child in ast.iter_child_nodes(node):
            yield from self._node(child, node)

    def _node(self, node: ast.AST, parent: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name not in SKIPPED_FUNCTIONS:
                outer, self._function = self._function, node.name
                for statement in node.body:
                    yield from self._node(statement, node)
                self._function = outer
            return
        if _is_for_readers(node):
            return
        yield from self._here(node, parent)
        if isinstance(node, ast.AnnAssign):
            if node.value is not None and self._function != "module":
                yield from self._node(node.value, node)
            return
        yield from self._block(node)

    def _here(self, node: ast.AST, parent: ast.AST) -> Iterator[Mutant]:
        match node:
            case ast.Compare(ops=[op]) if type(op) in COMPARED:
                left, right = self._text(node.left), self._text(node.comparators[0])
                yield self._mutant(node, f"{left} {COMPARED[type(op)]} {right}")
            case ast.BoolOp():
                other = " or " if isinstance(node.op, ast.And) else " and "
                yield self._mutant(node, "(" + other.join(f"({self._text(value)})" for value in node.values) + ")")
            case ast.UnaryOp(op=ast.Not()):
                yield self._mutant(node, f"bool({self._text(node.operand)})")
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if _is_plain(test):
                yield self._mutant(test, f"(not {self._text(test)})")
            case ast.BinOp() if type(node.op) in COMPUTED and not _has_text(node):
                left, right = self._text(node.left), self._text(node.right)
                yield self._mutant(node, f"({left} {COMPUTED[type(node.op)]} {right})")
            case ast.AugAssign() if type(node.op) in COMPUTED and not _has_text(node):
                yield self._mutant(
                    node, f"{self._text(node.target)} {COMPUTED[type(node.op)]}= {self._text(node.value)}"
                )
            case ast.Constant(value=bool() as value) if self._function != "module":
                yield self._mutant(node, str(not value))
            case ast.Constant(value=int() | float() as value) if self._function != "module":
                yield self._mutant(node, str(value + 1))
            case ast.Name(id=name) if name in SWAPPED and isinstance(parent, ast.Call):
                yield self._mutant(node, SWAPPED[name])
            case ast.Break():
                yield self._mutant(node, "continue")
            case ast.Continue():
                yield self._mutant(node, "break")
            case ast.Expr(value=ast.Call() | ast.Await()):
                yield self._mutant(node, "pass")
            case ast.Assign(targets=[ast.Attribute()]) if self._function != "__init__":
                yield self._mutant(node, "pass")
            case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
                yield self._mutant(value, "None")

    def _mutant(self, node: ast.AST, text: str) -> Mutant:
        start, end = self._span(node)
        line: int = node.lineno  # type: ignore[attr-defined]
        return Mutant(self._room, self._path, self._function, line, start, end, text)

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        text = self._source.encode()[start:end].decode()
        return f"({text})" if "\n" in text or isinstance(node, (ast.Lambda, ast.IfExp, ast.NamedExpr)) else text

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, (ast.expr, ast.stmt))
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._offsets[node.lineno - 1] + node.col_offset
        return start, self._offsets[node.end_lineno - 1] + node.end_col_offset


def _is_for_readers(node: ast.AST) -> bool:
    """True for what runs at no time, or only tells somebody something."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Raise() | ast.Assert() | ast.arguments():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))) if name in QUIET:
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))) if name.startswith("log_"):
            return True
    return False


def _is_plain(test: ast.expr) -> bool:
    return not isinstance(test, (ast.Compare, ast.BoolOp, ast.Constant)) and not (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    )


def _has_text(node: ast.AST) -> bool:
    """True where + and % work on text rather than numbers."""
    return any(
        isinstance(inner, ast.JoinedStr) or (isinstance(inner, ast.Constant) and isinstance(inner.value, (str, bytes)))
        for inner in ast.walk(node)
    )


class Bench:
    """A copy of the tree in which one mutant at a time is tried."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._writes = 0
        keep = shutil.ignore_patterns("__pycache__", "*.pyc", "*.svg")
        for name in ("faktory", "tests", "examples"):
            shutil.copytree(ROOT / name, home / name, ignore=keep)
        for name in ("pyproject.toml", "README.md", "tox.ini", "CHANGELOG.md"):
            shutil.copy(ROOT / name, home / name)

    def noticed_by(self, mutant: Mutant) -> str:
        """Return the test that fails with the mutant in place; empty when there is none.

        It has to fail twice, the second time alone: on a busy machine a test may fail for want of time.
        """
        place = self._home / mutant.path.relative_to(ROOT)
        original = place.read_bytes()
        self._write(place, mutant.source())
        try:
            for arguments in [*mutant.own_tests(), *mutant.room.arguments]:
                if test := self._fails_twice(arguments):
                    return test
            return ""
        finally:
            self._write(place, original)

    def healthy(self, rooms: list[Room]) -> str:
        """Run the tests of some rooms without a mistake: what fails then would be taken for a test that sees."""
        tests = {tuple(arguments): None for room in rooms for arguments in room.arguments}
        return next((test for arguments in tests if (test := self._fails_twice(list(arguments)))), "")

    def _fails_twice(self, arguments: list[str]) -> str:
        for _ in range(3):
            shutil.rmtree(self._home / "cache", ignore_errors=True)
            test = self.failed(arguments)
            alone = [] if test.startswith(HANG) else ["--last-failed", "--last-failed-no-failures", "none"]
            if not test or self.failed([*alone, *arguments]):
                return test
        return ""

    def _write(self, place: Path, source: bytes) -> None:
        place.write_bytes(source)
        # Python knows by the second of its last change, and by its size, that a file must be compiled anew.
        self._writes += 1
        os.utime(place, (self._writes, self._writes))

    def failed(self, arguments: list[str]) -> str:
        """Run some tests until one fails, and return its name; a hang is a failure."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not real", "-o", f"cache_dir={self._home}/cache"]
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(self._home / "pyc")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with (self._home / "output").open("w+") as output:
            running = subprocess.Popen(
                [*command, *arguments],
                cwd=self._home,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                code = running.wait(LONGEST)
            except subprocess.TimeoutExpired:
                return f"{HANG} {' '.join(arguments)}"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)  # what a broken worker has left running
                running.wait()
            output.seek(0)
            lines = output.read().splitlines()
        if code in (0, 5):  # 5: nothing selected
            return ""
        failures = (line for line in lines if line.startswith(("FAILED tests/", "ERROR tests/")))
        return next(failures, f"{' '.join(arguments)}: {code}")


def find(rooms: list[Room]) -> list[Mutant]:
    """Return all mutants of some rooms."""
    return [mutant for room in rooms for path in room.files for mutant in Finder(room, path).mutants()]


def equivalent() -> set[str]:
    """Return the keys of the mutants that are known to change nothing."""
    lines = EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []
    return {line for line in lines if line and not line.startswith("#")}


def try_all(mutants: list[Mutant], jobs: int) -> list[Mutant]:
    """Return those that no test has noticed."""
    waiting: queue.SimpleQueue[tuple[int, Mutant]] = queue.SimpleQueue()
    for numbered in enumerate(mutants, 1):
        waiting.put(numbered)
    survivors: list[Mutant] = []
    rooms = list({mutant.room.name: mutant.room for mutant in mutants}.values())

    def work(home: Path) -> None:
        bench = Bench(home)
        while True:
            try:
                number, mutant = waiting.get_nowait()
            except queue.Empty:
                return
            started = time.monotonic()
            test = bench.noticed_by(mutant)
            if not test:
                survivors.append(mutant)
            word = "noticed " if test else "SURVIVED"
            print(f"{number:4} {word} {time.monotonic() - started:5.1f} s  {mutant}", flush=True)
            if test:
                print(f"{'':24}{test[:160]}", flush=True)

    with tempfile.TemporaryDirectory(prefix="faktory-mutants-") as directory:
        if test := Bench(Path(directory) / "healthy").healthy(rooms):
            raise SystemExit(f"without any mistake there fails already: {test}")
        threads = [threading.Thread(target=work, args=[Path(directory) / str(n)]) for n in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return survivors


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rooms", help="comma list of rooms, as in tests/rooms.py; all by default")
    parser.add_argument("--sample", type=int, help="how many mutants to draw; all by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--at-most", type=float, default=5.0, help="per cent that may survive (5)")
    parser.add_argument("--list", action="store_true", help="only say what would be tried")
    options = parser.parse_args()
    names = options.rooms.split(",") if options.rooms else None
    known = {room.name for room in ROOMS}
    if names is not None and (unknown := set(names) - known):
        parser.error(f"unknown rooms: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    mutants = find([room for room in ROOMS if names is None or room.name in names])
    total = len(mutants)
    if options.sample is not None and options.sample < total:
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    if options.list:
        print("\n".join(map(str, mutants)))
        return 0
    survivors = try_all(mutants, options.jobs)
    excused = equivalent()
    blind = [mutant for mutant in survivors if mutant.key() not in excused]
    share = 100 * len(blind) / len(mutants) if mutants else 0.0
    print(f"\n{len(mutants)} of {total} mutants tried (seed {options.seed}); {len(survivors)} survived, of which")
    print(f"{len(survivors) - len(blind)} are known to change nothing; {len(blind)} ({share:.1f} %) were not noticed:")
    for mutant in blind:
        print(f"  {mutant.key()}   (line {mutant.line})")
    return 1 if share > options.at_most else 0


if __name__ == "__main__":
    raise SystemExit(main())
