"""The house laws: who may import whom, who owns the outside world, and what an import may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import faktory
from tests.rooms import ROOMS

ROOT = Path(__file__).parent.parent / "faktory"

# Who may import whom, besides `errors`. A package's own rooms may import one another as they are listed.
# Rooms beyond the first drawing, and why:
# * `options` is imported by rings 1 and 3 too: it is the one place for limits and defaults.
# * the consumer is several rooms, not one: `consumer` (the public face), `shift` (one call of `run`), `crew` (what the
#   threads share, under the lock), `overdue` (which FETCH hangs, for both crews and for `health`), `signals`
#   (what they ask for), `worker` (a thread over its slot), `heart` (beats) and `dialler` (reconnecting): an idea each.
# * typed jobs are rooms, not one: `scalars`, `shapes`, `models` and `convert` take values through JSON by their
#   annotations, `signature` whole calls; `typed` is a job and its handler, `delivery` where jobs go (and so the reader
#   of FAKTORY_MODE), `background` and `foreground` the modes without a server, `app` the door to all of it, `branches`
#   how apps include one another.
# * `callables` knows what a call of the user's functions does, `chain` whether a job ran within its middleware,
#   `pushing` whether it was pushed within its `on_push` functions; `again` what an exception asks for, which
#   `settling` does.
# * `diagnosis` names what broken connections are called, and `outage` remembers losses: for both shells to say alike.
# * `aio` takes from `shift` and `consumer` what a shift, a summary and a health are, and from `heart` the thread that
#   beats also while a handler blocks the loop; `client` has the checks and the chunks of its twin.
# * `override` is where the test kit takes over where jobs go, and what time it is: asked by whoever connects or pushes.
# * `edition` knows which settings an open-source server ignores: for both clients, and for a job's progress. `hand` is
#   the job that runs, as clients may know it, who must not push it again.
# * `blotting` keeps passwords out of reports and of log lines.
# * the connection is four rooms: `dialling` (names, TCP, TLS), `stream` (bytes within time limits), `signalled` (what a
#   signal handler raises is not the network's) and `connection` (handshake and exchanges).
# * `greenlets` knows gevent and eventlet.
# * `logs` writes the lines of threads that must not wait; `forks` is about how copies of this process end.
# * `lending` decides for both pools which connections may be lent.
# * `failure` turns an exception into a FAIL; `hooks` and `managed` are the user's callbacks and values; `context` is
#   what a running handler can know, whatever runs it.
LAW: dict[str, set[str]] = {
    "errors": set(),
    "ticking": set(),
    "options": set(),
    # ring 1
    "override": {"address"},
    "moments": {"override"},
    "job": {"moments"},
    "address": set(),
    "wire": set(),
    "handshake": {"options", "wire"},
    "commands": {"job", "options", "wire"},
    # ring 2
    "lifecycle": set(),
    "settings": set(),
    "memory": set(),
    "backoff": {"options"},
    "queues": set(),
    "callables": set(),
    "chain": {"callables"},
    "pushing": {"callables", "job", "options"},
    "again": {"job", "options"},
    "hand": {"job"},
    "edition": {"again", "commands", "job"},
    "registry": {"callables", "chain", "job"},
    "blotting": set(),
    "lending": set(),
    "outbox": {"commands", "options"},
    "slot": {"job", "options", "outbox"},
    "overdue": set(),
    "fetched": {"commands", "job", "options", "registry", "wire"},
    "failure": {"blotting", "commands", "job", "options"},
    "scalars": set(),
    "shapes": {"scalars"},
    "models": {"scalars"},
    "branches": set(),
    "convert": {"models", "scalars", "shapes"},
    "signature": {"convert", "scalars", "shapes"},
    # ring 3, blocking
    "diagnosis": {"address", "options"},
    "greenlets": set(),
    "signalled": set(),
    "stream": {"diagnosis", "signalled"},
    "dialling": {"address", "diagnosis", "signalled", "stream"},
    "loading": set(),
    "connection": {
        "address", "blotting", "commands", "diagnosis", "dialling", "handshake", "loading", "options", "stream", "wire",
    },
    "pool": {"connection", "edition", "lending", "options"},
    "client": {
        "address", "backoff", "commands", "connection", "edition", "hand", "job", "moments", "options", "override",
        "pool", "signalled",
    },
    "isolation": {
        "address", "again", "backoff", "callables", "chain", "context", "failure", "hooks", "job", "launch", "logs",
        "memory", "options", "override", "registry", "values",
    },
    "logs": set(),
    "forks": set(),
    "hooks": {"callables", "chain", "forks", "job"},
    "values": {"callables"},
    "context": {"again", "client", "hand", "job", "values"},
    "settling": {"again", "client", "failure", "job"},
    "crew": {
        "chain", "commands", "connection", "context", "failure", "hooks", "isolation", "job", "lifecycle", "logs",
        "options", "outage", "outbox", "overdue", "registry", "shift", "slot", "values",
    },
    "shift": {"chain", "commands", "failure", "job", "logs", "options", "outbox", "queues", "slot"},
    "launch": set(),
    "signals": {"launch", "options"},
    "outage": {"backoff", "options"},
    "dialler": {"connection"},
    "worker": {
        "backoff", "chain", "commands", "connection", "context", "crew", "failure", "fetched", "forks", "isolation",
        "job", "options", "outbox", "registry", "settling", "shift", "slot", "wire",
    },
    "heart": {
        "backoff", "commands", "connection", "crew", "launch", "lifecycle", "logs", "memory", "options", "outage",
        "outbox",
    },
    "consumer": {
        "crew", "dialler", "failure", "heart", "hooks", "isolation", "launch", "lifecycle", "memory", "options",
        "queues", "shift", "signals", "worker",
    },
    # ring 3, async
    "aio": {
        "address", "backoff", "blotting", "callables", "chain", "client", "commands", "connection", "consumer",
        "context", "diagnosis", "dialling", "edition", "failure", "fetched", "forks", "handshake", "heart", "hooks",
        "isolation", "job", "lending", "lifecycle", "logs", "memory", "moments", "options", "outage", "outbox",
        "overdue", "override", "queues", "registry", "settling", "shift", "signalled", "signals", "slot", "values",
        "wire",
    },
    # observing: the seam, and what hangs on it
    "observe": {"again", "hand", "job", "loading"},
    "asyncio": {"aio", "dialling", "stream"},
    "trio": {"aio", "dialling", "stream"},
    # the doors
    "builder": {
        "address", "aio", "asyncio", "callables", "client", "connection", "consumer", "crew", "greenlets", "handshake",
        "hooks", "isolation", "options", "override", "registry", "settling", "trio", "values",
    },
    "background": {"job", "override"},
    "foreground": {"job"},
    "typed": {
        "address", "again", "background", "callables", "chain", "client", "context", "job", "registry", "settling",
        "signature", "slot", "values",
    },
    "delivery": {
        "address", "background", "callables", "chain", "client", "commands", "context", "foreground", "forks",
        "job", "values", "override", "registry", "slot",
    },
    "app": {
        "address", "background", "branches", "builder", "callables", "client", "context", "delivery", "hooks", "job",
        "values", "pushing", "registry", "settings", "signature", "slot", "typed",
    },
    "": {"app", "builder", "client", "commands", "consumer", "context", "job", "lifecycle", "loading", "typed"},
    "__main__": {"cli"},
    "testing": {
        "address", "app", "builder", "callables", "client", "commands", "consumer", "context", "foreground",
        "isolation", "job", "loading", "values", "moments", "override", "server", "slot", "typed",
    },
}  # fmt: skip

# Types only: a worker and its crew, or dialler, know each other. Listed here because they are cycles on paper.
TYPES_ONLY = {("crew", "worker"), ("dialler", "crew"), ("dialler", "worker"), ("worker", "dialler")}

# What is imported only when it is used: `connect_asyncio` and `connect_trio`.
LAZY = {("builder", "asyncio"), ("builder", "trio")}

SERVER_MAY = {"errors", "job", "wire"}

OWNERS: dict[str, set[str]] = {
    # trio: to close a socket when its loop has ended
    # observe: probes and scrapes, and the service manager
    "socket": {"connection", "dialling", "observe", "stream", "isolation", "server", "asyncio", "trio"},
    # aio, trio, builder, client and testing: for the type alone
    "ssl": {
        "connection", "dialling", "diagnosis", "server", "builder", "client", "cli", "aio", "asyncio", "trio",
        "testing",
    },
    "select": {"stream", "isolation"},
    "selectors": {"isolation", "observe", "server"},
    "threading": {
        "dialling", "pool", "values", "isolation", "crew", "worker", "heart", "dialler", "consumer", "server", "cli",
        "background", "foreground", "aio", "signals", "launch", "testing", "logs", "observe",
    },
    "queue": {"cli", "crew", "consumer", "aio", "isolation", "logs"},
    "multiprocessing": set(),
    # background, delivery: lazily, for `aenqueue` and for async jobs that are run at once; server: for `await_idle`
    # testing: async jobs of a test that is not
    # values: for what a worker of threads has to await at its end
    # cli: to run a worker's pool
    "asyncio": {"asyncio", "cli", "background", "delivery", "server", "testing", "values"},
    "trio": {"cli", "trio"},
    # testing: ends a drain that hangs
    "signal": {"signalled", "signals", "cli", "isolation", "testing"},
    # for what is no deadline; those are on the clock of `ticking`
    "time": {"client", "cli", "observe", "server", "testing", "ticking"},
    "random": {"backoff", "queues", "server", "settling"},
    "secrets": {"job", "options", "builder", "server"},
    "logging": {
        "blotting", "connection", "hooks", "values", "isolation", "crew", "shift", "worker", "heart", "outage",
        "consumer", "server", "cli", "aio", "context", "pushing", "background", "foreground", "delivery", "settling",
        "signals", "logs", "edition", "observe",
    },
    "argparse": {"cli"},
    "ctypes": {"isolation"},
    "subprocess": {"cli", "isolation"},
    "runpy": {"isolation"},
    # testing: brings exceptions from the children of a test, by files in a folder of its own
    "pickle": {"testing"},
}  # fmt: skip

# Libraries that a module imports when it is asked to work with them.
FOREIGN = {"prometheus_client"}

FILES = sorted(path for path in ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if len(parts) > 1:
        return parts[0]
    return "" if parts == ("__init__",) else parts[0]


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module, whole dotted names for ours, with whether only a type checker sees it."""
    tree = ast.parse(path.read_text())
    package = ["faktory", *path.relative_to(ROOT).parent.parts]
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in for_types
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            if node.module is None or module == "faktory":
                for alias in node.names:
                    yield f"{module}.{alias.name}", id(node) in for_types
            else:
                yield module, id(node) in for_types


def ours(path: Path) -> Iterator[tuple[str, bool]]:
    for name, for_types in imports_of(path):
        if name.startswith("faktory."):
            yield name.removeprefix("faktory.").split(".")[0], for_types


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_the_law_allows(path: Path) -> None:
    room = room_of(path)
    for name, for_types in ours(path):
        if name in ("errors", "ticking", room):  # the clock is for all
            continue
        if room == "server":
            assert name in SERVER_MAY, f"server/ may not know {name}: a mistake in one is seen by the other"
        elif room == "cli":
            continue  # the last door: it may open all the others
        else:
            allowed = name in LAW[room] or (for_types and (room, name) in TYPES_ONLY)
            assert allowed, f"{room} may not import {name}"


def test_lazy_imports_are_inside_functions() -> None:
    for room, name in LAZY:
        tree = ast.parse((ROOT / f"{room}.py").read_text())
        eager = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == name]
        assert not eager, f"{room} imports {name} when it is imported itself"


def test_there_is_no_import_cycle() -> None:
    edges: dict[str, set[str]] = {}
    for path in FILES:
        room = room_of(path)
        found = {name for name, _ in ours(path) if name != room and (room, name) not in TYPES_ONLY}
        edges.setdefault(room, set()).update(found)

    def visit(room: str, trail: tuple[str, ...]) -> None:
        assert room not in trail, f"a cycle: {' -> '.join([*trail, room])}"
        for name in edges.get(room, ()):
            visit(name, (*trail, room))

    for room in edges:
        visit(room, ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_outside_world_has_owners(path: Path) -> None:
    room = room_of(path)
    for name, _ in imports_of(path):
        top = name.split(".")[0]
        if top == "pytest" and path.parent.name == "testing":
            assert path.stem in ("plugin", "remote"), f"testing/{path.name} may not import pytest"
            continue
        if top in FOREIGN:
            assert room == "observe" or path.stem == top, f"{path.name} may not import {top}"
            continue
        if top in OWNERS:
            assert room in OWNERS[top], f"{room} may not import {top}"
        assert top in ("faktory", "__future__", "trio") or top in sys.stdlib_module_names, (
            f"{top} is no standard library"
        )


def test_the_environment_is_read_only_where_it_should_be() -> None:
    readers = {room_of(path) for path in FILES if re.search(r"\benviron\b", path.read_text())}
    # builder: FAKTORY_ISOLATION changes a program that does not know it; delivery: FAKTORY_MODE does so, too; testing
    # sets FAKTORY_URL for a test
    assert readers <= {"address", "builder", "cli", "delivery", "settings", "testing"}


def test_only_the_end_of_the_process_calls_exit() -> None:
    callers = {room_of(path) for path in FILES if "sys.exit(" in path.read_text() or "os._exit(" in path.read_text()}
    # isolation: the nursery and its children; forks: copies of the process that a job has made
    assert callers <= {"consumer", "aio", "cli", "isolation", "__main__", "forks"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_outgrows_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def test_each_room_has_its_tests() -> None:
    tests = Path(__file__).parent
    wanted = {room for room in LAW if room not in ("", "__main__")}
    missing = {room for room in wanted if not (tests / f"test_{room}.py").exists() and not (tests / room).is_dir()}
    assert not missing


def test_each_file_is_looked_after_by_tests() -> None:
    """That its branches are covered, `python -m tests.coverage` shows."""
    assert {path for room in ROOMS for path in room.files} == set(FILES)


IMPORT_PROBE = """
import sys, threading, signal, os
handlers = [signal.getsignal(s) for s in signal.valid_signals()]
class Environ(dict):
    pass
import faktory
faktory.Client, faktory.ConsumerBuilder, faktory.current_job  # names are imported when they are used
slow = {"asyncio", "ssl", "multiprocessing", "trio", "http", "ctypes", "urllib.parse", "pathlib", "difflib"}
slow |= {"subprocess", "runpy", "decimal", "uuid", "faktory.app", "faktory.convert"}
print(sorted(slow & set(sys.modules)))
print(threading.active_count())
print(handlers == [signal.getsignal(s) for s in signal.valid_signals()])
"""


def test_importing_the_package_is_cheap_and_has_no_side_effect() -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT.parent)!r})\n{IMPORT_PROBE}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert result.stdout.split("\n")[:3] == ["[]", "1", "True"], result.stdout + result.stderr


def test_the_drawing_has_no_idle_lines() -> None:
    """Every import the law allows is used: a line nobody needs is an invitation."""
    used: dict[str, set[str]] = {}
    for path in FILES:
        used.setdefault(room_of(path), set()).update(name for name, _ in ours(path))
    idle = {room: extra for room, allowed in LAW.items() if (extra := allowed - used.get(room, set()))}
    assert not idle


def test_every_public_name_is_found_where_type_checkers_are_told() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    told = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname is None  # not what the package needs itself
    }
    assert sorted(faktory.__all__) == sorted(told)
    assert {name: home.lstrip(".") for name, home in faktory._HOMES.items()} == told
    for name in faktory.__all__:
        assert getattr(faktory, name) is not None
        assert name in dir(faktory)
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        faktory.Clinet  # noqa: B018


def test_who_only_pushes_does_not_import_what_runs_jobs() -> None:
    probe = "import sys, faktory; faktory.Client, faktory.Job; print('faktory.consumer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
